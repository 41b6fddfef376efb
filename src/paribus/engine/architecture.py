"""The model of a learner: drawn, and changed as its configuration says."""

from __future__ import annotations

import torch
from torch import nn

from paribus.engine.configuration import Configuration
from paribus.engine.data import preserved_draws
from paribus.engine.model import torch_dtype
from paribus.engine.preparation import prepared
from paribus.engine.state import make_optimizer
from paribus.engine.work import Work
from paribus.interventions.sites import Probe


def build_model(work: Work, configuration: Configuration) -> nn.Module:
    """Return a new model, its weights drawn from the ``init`` stream."""
    return _changed(work.model.build(configuration.seeds.init), work, configuration)


def blank_model(work: Work, configuration: Configuration) -> nn.Module:
    """Return a new model whose weights are about to be overwritten."""
    return _changed(work.model.blank(), work, configuration)


def probe_of(work: Work, configuration: Configuration) -> Probe:
    """Return how changes of the architecture try a model: on the learner's first batch."""
    device, dtype = torch.device(configuration.numerics.device), torch_dtype(configuration.numerics.dtype)
    seeds = configuration.seeds
    source = prepared(work, configuration)["train"].placed(device, dtype)
    batch = next(iter(source.training(seeds, configuration.training.batch_size, 0, 1)))
    return Probe(
        batch, work.objective.loss, lambda model: make_optimizer(model, configuration.optimizer), seeds.init
    )


def _changed(model: nn.Module, work: Work, configuration: Configuration) -> nn.Module:
    numerics = configuration.numerics
    model = model.to(torch.device(numerics.device), torch_dtype(numerics.dtype)).train()
    if configuration.architecture:
        probe = probe_of(work, configuration)
        with preserved_draws():
            for change in configuration.architecture:
                model = change.edit(model, probe)
    return model.train()

"""The model of a learner: drawn, and changed as its configuration says."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn

from paribus.engine.building.data import preserved_draws
from paribus.engine.building.model import torch_dtype
from paribus.engine.building.optimizer import make_optimizer
from paribus.engine.building.preparation import prepared, shapes_of
from paribus.engine.building.work import Work
from paribus.engine.learners.configuration import Configuration
from paribus.interventions.features.fitting import fit_input
from paribus.interventions.sites import Probe


def build_model(work: Work, configuration: Configuration) -> nn.Module:
    """Return a new model, its weights drawn from the ``init`` stream."""
    return _changed(work.model.build(configuration.seeds.init), work, configuration)


def model_digest(configuration: Configuration) -> bytes:
    """Digest what decides a learner's model beside its weights: its architecture and its data."""
    parts = configuration.components
    return parts["architecture"].digest + parts["preparation"].digest


def given_model(work: Work, configuration: Configuration) -> nn.Module:
    """Return a new model as it is drawn, before anything of it is changed."""
    return _placed(work.model.build(configuration.seeds.init), configuration)


def unchanged_model(work: Work, configuration: Configuration) -> nn.Module:
    """Return a new model, drawn and fitted to the learner's data, before the changes of its architecture."""
    return _fitted(given_model(work, configuration), work, configuration)


def blank_model(work: Work, configuration: Configuration) -> nn.Module:
    """Return a new model whose weights are about to be overwritten."""
    return _changed(work.model.blank(), work, configuration)


def drawn_model(work: Work, configuration: Configuration, seed: int) -> nn.Module:
    """Return a new model, its weights drawn under a seed, also where learners start from weights given."""
    return _changed(work.model.redraw(seed), work, configuration)


def probe_of(work: Work, configuration: Configuration) -> Probe:
    """Return how changes of the architecture try a model: on the learner's first batch."""
    device, dtype = torch.device(configuration.numerics.device), torch_dtype(configuration.numerics.dtype)
    source = prepared(work, configuration)["train"].placed(device, dtype)
    batch = next(iter(source.training(configuration.course, 0, 1)))
    seed = configuration.seeds.init
    return Probe(
        batch, work.objective.loss, lambda model: make_optimizer(model, configuration.optimizer), seed
    )


def is_reshaped(work: Work, configuration: Configuration) -> bool:
    """Tell whether a learner's samples have another shape than those given."""
    changed = bool(configuration.preparation)
    return changed and shapes_of(prepared(work, configuration)) != shapes_of(work.splits)


def _changed(model: nn.Module, work: Work, configuration: Configuration) -> nn.Module:
    model = _fitted(_placed(model, configuration), work, configuration)
    if not configuration.architecture:
        return model
    probe = probe_of(work, configuration)
    with preserved_draws():
        for change in configuration.architecture:
            model = change.edit(model, probe)
    return model.train()


def _fitted(model: nn.Module, work: Work, configuration: Configuration) -> nn.Module:
    if not is_reshaped(work, configuration):
        return model
    with preserved_draws():
        return fit_input(model, probe_of(work, configuration)).train()


def _placed(model: nn.Module, configuration: Configuration) -> nn.Module:
    device, dtype = torch.device(configuration.numerics.device), torch_dtype(configuration.numerics.dtype)
    if any(not _is_placed(tensor, device, dtype) for tensor in chain(model.parameters(), model.buffers())):
        model = model.to(device, dtype)
    return model.train()


def _is_placed(tensor: torch.Tensor, device: torch.device, dtype: torch.dtype) -> bool:
    casts = tensor.is_floating_point() or tensor.is_complex()
    return tensor.device == device and (not casts or tensor.dtype == dtype)

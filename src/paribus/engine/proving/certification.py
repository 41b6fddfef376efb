"""Changes of the architecture, proven before training and told: each distinct one, on copies."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from torch import nn

from paribus.engine.building.architecture import (
    given_model,
    is_reshaped,
    model_digest,
    probe_of,
    unchanged_model,
)
from paribus.engine.building.work import Work
from paribus.engine.learners.configuration import Configuration
from paribus.engine.training.segment import numerics
from paribus.interventions.features.fitting import fitting
from paribus.interventions.layers import AblateLayers, Change, SetModule
from paribus.interventions.layers.change import compared, describe
from paribus.interventions.layers.gate import certify
from paribus.interventions.layers.surgery import copied, operate
from paribus.interventions.sites import ArchitectureIntervention, Probe


def certify_architectures(work: Work, configurations: Iterable[Configuration]) -> None:
    """Make each distinct change of the architecture once, and prove that it can be trained and is a change.

    Raises:
        AblationError: It is none, or cannot be trained; the class says which.
        LevelError: It names layers that the model does not have.
    """
    distinct = {model_digest(each): each for each in configurations if each.architecture}
    for configuration in distinct.values():
        with numerics(configuration.numerics):
            probe = probe_of(work, configuration)
            _certify(unchanged_model(work, configuration), configuration, probe)


def described(work: Work, configuration: Configuration) -> list[Change]:
    """Say what is done to a learner's model before training, change by change.

    Raises:
        AblationError: A change cannot be made; the class says why.
    """
    told: list[Change] = []
    with numerics(configuration.numerics):
        model, probe = given_model(work, configuration), probe_of(work, configuration)
        if is_reshaped(work, configuration):
            surgery = fitting(model, probe)
            told.append(describe(model, surgery, probe))
            model = operate(model, surgery, probe.seed)
        for change in configuration.architecture:
            told.append(_told(change, model, probe))
            model = change.edit(model, probe).train()
    return told


def _told(change: ArchitectureIntervention, model: nn.Module, probe: Probe) -> Change:
    if isinstance(change, AblateLayers | SetModule):
        return change.describe(model, probe)
    return compared(model, change.edit(copied(model), probe), probe, way=_written(change))


def _certify(model: nn.Module, configuration: Configuration, probe: Probe) -> None:
    for change in configuration.architecture:
        before = copied(model)
        model = change.edit(model, probe).train()
        certify(before, model, probe, name=_written(change))


def _written(change: ArchitectureIntervention) -> str:
    """Write a change as the user would: without what is left at its default."""
    defaults = {field.name: field.default for field in dataclasses.fields(change)}  # type: ignore[arg-type]
    given = {
        n: value for n, value in change.parameters().items() if defaults.get(n, dataclasses.MISSING) != value
    }
    return f"{type(change).__name__}({', '.join(f'{n}={value!r}' for n, value in given.items())})"

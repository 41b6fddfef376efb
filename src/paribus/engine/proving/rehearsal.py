"""Changes of states and optimizers tried before training, on models that nobody trains."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import torch
from torch import nn

from paribus.engine.building.architecture import blank_model, model_digest
from paribus.engine.building.optimizer import make_optimizer
from paribus.engine.building.work import Work
from paribus.engine.learners.configuration import Configuration, Event, setting_at
from paribus.engine.proving.trial import users_errors_wait
from paribus.engine.training.changes import Given
from paribus.engine.training.segment import numerics
from paribus.errors import LevelError, ParibusError
from paribus.interventions.momentum import MomentumBufferIntervention
from paribus.interventions.selection import selected_parameters
from paribus.interventions.settings import OptimizerSetting
from paribus.interventions.sites import ConstraintIntervention, HyperparameterIntervention
from paribus.interventions.states import Drawn, LearnerState, StateIntervention, StateReader


def rehearse(work: Work, configurations: Iterable[Configuration]) -> None:
    """Make each distinct change of weights, optimizer and its buffers once, for each distinct model.

    Where the user's own code raises, the learner fails with that when its turn comes, and stops nobody else.

    Raises:
        LevelError: A change names layers that the model does not have, or cannot be made.
    """
    rehearsal = _Rehearsal(work)
    for configuration in configurations:
        if configuration.timeline or configuration.optimizer.groups:
            with numerics(configuration.numerics):
                rehearsal.try_all(configuration)


@final
class _Rehearsal:
    """Remembers what was tried, and the models that it was tried on."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._models: dict[bytes, nn.Module] = {}
        self._tried: set[tuple[bytes, object]] = set()

    def try_all(self, configuration: Configuration) -> None:
        """Try the changes of one configuration that are new."""
        self._try_optimizer(configuration, -1)
        for event in configuration.timeline:
            if event.start >= configuration.total:
                continue
            if isinstance(event.intervention, HyperparameterIntervention):
                self._try_optimizer(configuration, event.start)
            if isinstance(event.intervention, MomentumBufferIntervention):
                self._try_buffers(configuration, event, event.intervention)
            if isinstance(event.intervention, StateIntervention | ConstraintIntervention):
                self._try_state(configuration, event)

    def _is_new(self, configuration: Configuration, what: object) -> bool:
        memo = model_digest(configuration), what
        new = memo not in self._tried
        self._tried.add(memo)
        return new

    def _model(self, configuration: Configuration) -> nn.Module:
        key = model_digest(configuration)
        if key not in self._models:
            self._models[key] = blank_model(self._work, configuration)
        return self._models[key]

    def _try_optimizer(self, configuration: Configuration, step: int) -> None:
        setting = setting_at(configuration, step)
        if (setting.groups or step >= 0) and self._is_new(configuration, repr(setting)):
            _make(self._model(configuration), setting, configuration.optimizer)

    def _try_buffers(
        self, configuration: Configuration, event: Event, intervention: MomentumBufferIntervention
    ) -> None:
        setting = setting_at(configuration, event.start)
        if not setting.momentum and "momentum" in dict(setting.hyperparameters):
            raise LevelError(
                f"{type(intervention).__name__}: {setting.kind.__name__} has momentum 0 at step "
                f"{event.start} and keeps no buffer; give it momentum, or leave the intervention out"
            )
        if intervention.layers and self._is_new(configuration, event.digest):
            names = dict(self._model(configuration).named_parameters())
            selected_parameters(names, intervention.layers, type(intervention).__name__)

    def _try_state(self, configuration: Configuration, event: Event) -> None:
        if not self._is_new(configuration, event.digest):
            return
        own = _state(self._model(configuration))
        reads = iter(event.reads)
        change = event.intervention
        with users_errors_wait():
            named = change.reads() if isinstance(change, StateReader) else ()
            given = Given(self._work, configuration, {})
            read = [
                given.drawn(each)
                if isinstance(each, Drawn)
                else _state(self._model(next(reads).configuration))
                for each in named
            ]
            with torch.no_grad():
                if isinstance(change, StateIntervention):
                    change.change(own, read)
                elif isinstance(change, ConstraintIntervention):
                    change.edit(own.parameters, change.prepare(own, read))


def _state(model: nn.Module) -> LearnerState:
    """Show a copy of a model's state: what is tried on it is tried on it alone."""
    parameters = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    return LearnerState(parameters, buffers, {name: {} for name in parameters})


def _make(model: nn.Module, setting: OptimizerSetting, base: OptimizerSetting) -> Any:
    try:
        return make_optimizer(model, setting, base)
    except (TypeError, ValueError) as error:
        if isinstance(error, ParibusError):
            raise
        raise LevelError(f"{setting.kind.__name__}: {error}; give a value that it accepts") from error

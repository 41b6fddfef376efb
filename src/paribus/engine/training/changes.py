"""What interventions do to a learner's state where a segment begins, and what they hold while it lasts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import nn

from paribus.engine.building.architecture import drawn_model
from paribus.engine.building.work import Work
from paribus.engine.learners.configuration import Configuration, Event
from paribus.engine.training.state import Kept, State, kept_in
from paribus.interventions.sites import ConstraintIntervention
from paribus.interventions.states import Drawn, LearnerState, StateIntervention, StateReader


@final
class Given:
    """The states that a learner's interventions read, on its device.

    Args:
        work: What all learners share.
        configuration: The learner's.
        states: Those of other trajectories, by key.
    """

    def __init__(self, work: Work, configuration: Configuration, states: Mapping[str, State]) -> None:
        self._work = work
        self._configuration = configuration
        self._device = torch.device(configuration.numerics.device)
        self._states = states

    def to(self, event: Event, own: LearnerState) -> list[LearnerState]:
        """Return what an event reads, in the order in which it names it."""
        if not isinstance(event.intervention, StateReader):
            return []
        reads = iter(event.reads)
        return [
            self.drawn(each)
            if isinstance(each, Drawn)
            else _of(self._states[next(reads).key], own, self._device)
            for each in event.intervention.reads()
        ]

    def drawn(self, drawn: Drawn) -> LearnerState:
        """Return weights as the source draws them."""
        seed = self._configuration.seeds.init if drawn.seed is None else drawn.seed
        model = drawn_model(self._work, self._configuration, seed)
        return LearnerState(dict(model.named_parameters()), dict(model.named_buffers()))


def _of(state: State, own: LearnerState, device: torch.device) -> LearnerState:
    """Show a state as interventions see it, in the order of the learner's own model: that of files varies."""
    places = {name: place for place, name in enumerate([*own.parameters, *own.buffers])}
    model: dict[str, torch.Tensor] = {}
    optimizer: dict[str, dict[str, object]] = {}
    for path, value in sorted({**state.tensors, **state.plain}.items(), key=lambda item: item[0]):
        room, _, rest = path.partition("/")
        name, _, entry = rest.rpartition("/")
        if room == "model":
            model[rest] = value.to(device)
        if room == "optimizer":
            optimizer.setdefault(name, {})[entry] = value
    names = sorted(model, key=lambda name: places.get(name, len(places)))
    return LearnerState(
        {name: model[name] for name in names if name not in own.buffers},
        {name: model[name] for name in names if name in own.buffers},
        optimizer,
        list(kept_in(state, device).values()),
    )


@final
class Constraints:
    """The constraints in force, with what they keep.

    Attributes:
        kept: By the digest of the event in hex; part of the state.
    """

    def __init__(self, model: nn.Module, kept: Kept, held: Sequence[Event] = ()) -> None:
        """Hold the events given; what others keep is only handed on."""
        self.kept = kept
        self._parameters = dict(model.named_parameters()) if held else {}
        self._held = [(event.intervention, kept.get(event.digest.hex(), {})) for event in held]

    @torch.no_grad()
    def hold(self) -> None:
        """Project the parameters."""
        for intervention, kept in self._held:
            intervention.edit(self._parameters, kept)  # type: ignore[attr-defined]


def begin(
    start: int,
    configuration: Configuration,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    kept: Kept,
    given: Given,
) -> Constraints:
    """Make the changes that happen once at a step, and return the constraints in force from it on.

    Args:
        start: The step; -1 for the initial state.
        configuration: The learner's.
        model: Its model, changed in place.
        optimizer: Its optimizer, likewise.
        kept: What constraints kept before the step.
        given: The states that interventions read.
    """
    held = [e for e in configuration.active(start) if isinstance(e.intervention, ConstraintIntervention)]
    once = [e for e in _beginning(configuration, start) if isinstance(e.intervention, StateIntervention)]
    if not held and not once:
        return Constraints(model, {})
    going = {name: kept[name] for name in (e.digest.hex() for e in held if e.start < start) if name in kept}
    own = _seen(model, optimizer, list(going.values()))
    with torch.no_grad():
        for event in once:
            event.intervention.change(own, given.to(event, own))  # type: ignore[attr-defined]
        for name, parameter in own.parameters.items() if once else ():
            optimizer.state.pop(parameter, None)
            if own.optimizer[name]:
                optimizer.state[parameter] = own.optimizer[name]
        for event in (e for e in held if e.start == start):
            fixed = event.intervention.prepare(own, given.to(event, own))  # type: ignore[attr-defined]
            going[event.digest.hex()] = {name: tensor.clone() for name, tensor in fixed.items()}
            own = dataclasses.replace(own, kept=list(going.values()))
    constraints = Constraints(model, going, held)
    if once or any(event.start == start for event in held):
        # Not otherwise: they are met, and where a run is cut must not show in one that is not idempotent.
        constraints.hold()
    return constraints


def _beginning(configuration: Configuration, start: int) -> list[Event]:
    return [event for event in configuration.timeline if event.start == start]


def _seen(
    model: nn.Module, optimizer: torch.optim.Optimizer, kept: Sequence[Mapping[str, torch.Tensor]]
) -> LearnerState:
    """Show a learner as interventions see it: its own tensors."""
    parameters = dict(model.named_parameters())
    entries = {name: dict(optimizer.state.get(parameter, {})) for name, parameter in parameters.items()}
    return LearnerState(parameters, dict(model.named_buffers()), entries, kept)

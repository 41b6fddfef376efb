"""How interventions become a configuration: applied, ordered, without those that change nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from paribus.engine.learners.configuration import (
    WINDOWED,
    Component,
    Configuration,
    Data,
    Event,
    Read,
    value_at,
)
from paribus.errors import LevelError
from paribus.interventions.base import Edit, Intervention, TimedIntervention
from paribus.interventions.settings import Budget
from paribus.interventions.sites import DataIntervention
from paribus.interventions.states import Sibling, StateReader


@final
class Resolver:
    """Applies interventions to configurations, each distinct edit once.

    A grid of 100,000 cells has a few hundred distinct edits: components are replaced by reference and
    digested once, so that a cell costs a dictionary copy and one hash.

    Args:
        count: Counts the training samples after changes of the data; ``None``: there are none of those.
    """

    def __init__(self, count: Callable[[tuple[DataIntervention, ...]], int] | None = None) -> None:
        self._count = count
        self._counted: dict[bytes, Component] = {}
        self._prepared: dict[int, _Prepared] = {}
        self._edited: dict[tuple[int, str, bytes], Component] = {}
        self._canonical: dict[tuple[object, ...], tuple[Event, ...]] = {}
        self._open: list[tuple[object, ...]] = []

    def apply(self, configuration: Configuration, intervention: Intervention) -> Configuration:
        """Return the configuration with one intervention more."""
        prepared = self._prepared.get(id(intervention)) or self._prepare(intervention)
        if prepared.event is not None:
            return Configuration(configuration.components, (*configuration.timeline, prepared.event))
        components = dict(configuration.components)
        for name, edit in prepared.edits:
            if name not in components:
                raise LevelError(
                    f"{type(intervention).__name__}: the engine trains, and reads no {name}; give the "
                    "function that does, Experiment(train=…)"
                )
            old = components[name]
            memo = (id(intervention), name, old.digest)
            new = self._edited.get(memo)
            if new is None:
                new = self._edited[memo] = Component.of(edit(old.value))
            components[name] = new
            if name == "preparation":
                components["data"] = self._data_after(new, components["data"])
        return Configuration(components, configuration.timeline)

    def _data_after(self, preparation: Component, data: Component) -> Component:
        """Return the data with as many samples as its preparation leaves; its identity stays."""
        if self._count is None:
            return data
        if preparation.digest not in self._counted:
            samples = self._count(preparation.value)
            self._counted[preparation.digest] = Component(Data(data.value.fingerprint, samples), data.digest)
        return self._counted[preparation.digest]

    def _prepare(self, intervention: Intervention) -> _Prepared:
        edits = intervention.edits()
        timed = isinstance(intervention, TimedIntervention) and "timeline" in edits
        event = Event.of(intervention) if timed else None  # type: ignore[arg-type]
        prepared = _Prepared(intervention, event, tuple(edits.items()))
        self._prepared[id(intervention)] = prepared
        return prepared

    def canonical(self, configuration: Configuration) -> Configuration:
        """Order the timeline by start and class, and drop what changes nothing."""
        if not configuration.timeline:
            return configuration
        memo = (configuration.family, configuration.total, *map(_whole, configuration.timeline))
        if memo in self._open:
            names = {type(e.intervention).__name__ for e in configuration.timeline if _is_reader(e)}
            raise LevelError(
                f"{', '.join(sorted(names))}: reads a state that is made with what it reads, without end; "
                "let it read an earlier step, or a learner without it"
            )
        if memo not in self._canonical:
            self._open.append(memo)
            self._canonical[memo] = _effective(self.resolved(configuration))
            self._open.pop()
        return Configuration(configuration.components, self._canonical[memo])

    def resolved(self, configuration: Configuration) -> Configuration:
        """Name the states that events read; what never happens reads none."""
        events = []
        for event in configuration.timeline:
            if _is_reader(event) and event.start < configuration.total:
                named = event.intervention.reads()  # type: ignore[attr-defined]
                siblings = [each for each in named if isinstance(each, Sibling)]
                event = event.reading(tuple(self._read(configuration, event, each) for each in siblings))
            events.append(event)
        return Configuration(configuration.components, tuple(events))

    def _read(self, configuration: Configuration, event: Event, sibling: Sibling) -> Read:
        total = configuration.total
        step = total if sibling.step is None else sibling.step
        past = tuple(other for other in configuration.timeline if other is not event and other.start < step)
        read = Configuration(configuration.components, past)
        for change in sibling.changes:
            read = self.apply(read, change)
        if step > read.total:
            schedule = read.training.schedule
            if schedule is not None and schedule.reads_total:
                raise LevelError(
                    f"{type(event.intervention).__name__}: it reads the state at step {step} of a run of "
                    f"{read.total} steps, whose schedule {schedule!r} ends there; give a step of that run"
                )
            budget = Component.of(Budget(steps=step))
            read = Configuration({**read.components, "budget": budget}, read.timeline)
        return Read(self.canonical(read), step)


def _place(event: Event) -> tuple[int, int, str]:
    return event.start, event.intervention.stage, type(event.intervention).__name__


def _whole(event: Event) -> bytes:
    return event.restricted(2**62)


def _is_reader(event: Event) -> bool:
    return isinstance(event.intervention, StateReader)


def _effective(configuration: Configuration) -> tuple[Event, ...]:
    """Drop events that change nothing beside those before them: null in the base may be none in a window."""
    kept = Configuration(configuration.components)
    for event in sorted(configuration.timeline, key=_place):
        marks = {
            event.start,
            *(mark for e in kept.timeline for mark in (e.start, e.stop) if mark is not None),
        }
        inside = [m for m in marks if event.start <= m and (event.stop is None or m < event.stop)]
        if not all(event.intervention.is_null(_values_at(kept, mark)) for mark in inside):
            kept = Configuration(kept.components, (*kept.timeline, event))
    return kept.timeline


def _values_at(configuration: Configuration, step: int) -> dict[str, Any]:
    values = {name: component.value for name, component in configuration.components.items()}
    return values | {name: value_at(configuration, name, step) for name in WINDOWED}


@final
@dataclass(frozen=True, slots=True)
class _Prepared:
    """An intervention with what it does; it is kept alive, so that its ``id`` stays its own."""

    intervention: Intervention
    event: Event | None
    edits: tuple[tuple[str, Edit], ...]

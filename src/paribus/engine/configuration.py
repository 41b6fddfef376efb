"""A learner as a value: its configuration, the canonical form of it, and its keys.

The key of a state at step t is the hash of the configuration *restricted to the steps before t*: timed
interventions that start later are not in it, those that end later are cut off at t, and the length of the
run counts only where a schedule reads it. A learner's key is the key of its last state.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import xxhash

from paribus.engine.keys import event_bytes, state_key
from paribus.engine.once import once
from paribus.identity import Fingerprint, digest
from paribus.interventions.base import Edit, Intervention, TimedIntervention
from paribus.interventions.settings import Budget, Numerics, OptimizerSetting, Seeds, Training
from paribus.interventions.sites import (
    ArchitectureIntervention,
    DataIntervention,
    HyperparameterIntervention,
)

FINGERPRINTED = ("model", "data", "objective", "code")
_CHANGES = ("architecture", "preparation", "terms")
_STATIC = (*FINGERPRINTED, *_CHANGES, "optimizer", "seeds", "training", "numerics")


@final
@dataclass(frozen=True)
class Component:
    """A part of a configuration with its digest (16 bytes)."""

    value: Any
    digest: bytes

    @classmethod
    def of(cls, value: object) -> Component:
        """Digest a value."""
        return cls(value, value.digest if isinstance(value, Fingerprint) else digest(value))

    @once
    def text(self) -> str:
        """The component in a manifest."""
        return _json({"digest": self.digest.hex(), "value": describe(self.value)})


@final
@dataclass(frozen=True, slots=True)
class Data:
    """What a configuration holds of the data: its identity and the number of training samples."""

    fingerprint: Fingerprint
    samples: int


@final
@dataclass(frozen=True, slots=True)
class Event:
    """A timed intervention in the steps ``[start, stop)``; the initial state has ``(-1, 0)``."""

    intervention: TimedIntervention
    start: int
    stop: int | None
    digest: bytes

    @classmethod
    def of(cls, intervention: TimedIntervention) -> Event:
        """Split an intervention into the change and its span."""
        start, stop = intervention.span
        return cls(intervention, start, stop, digest(intervention.clipped()))

    @property
    def is_empty(self) -> bool:
        """Whether the span holds no step."""
        return self.stop is not None and self.stop <= self.start

    def restricted(self, step: int) -> bytes:
        """Return the bytes of this event as the steps before ``step`` see it."""
        stop = step if self.stop is None else min(self.stop, max(step, 0))
        return event_bytes(self.digest, self.start, stop)


@final
@dataclass(frozen=True)
class Configuration:
    """Everything that decides the bits of a run; canonical, so that equal runs are equal values.

    Attributes:
        components: ``model``, ``data``, ``objective``, ``code`` (what the user declared besides); what
            interventions change of them, ``architecture``, ``preparation``, ``terms``; ``optimizer``,
            ``seeds``, ``training``, ``numerics``, ``budget`` by name.
        timeline: The timed interventions, in the order in which they are applied.
    """

    components: Mapping[str, Component]
    timeline: tuple[Event, ...] = field(default=())

    def fingerprints(self) -> dict[str, Fingerprint]:
        """Return the components that are fingerprints of the user's code and data, by name."""
        values = {name: self.components[name].value for name in FINGERPRINTED}
        return {name: v.fingerprint if isinstance(v, Data) else v for name, v in values.items()}

    @property
    def optimizer(self) -> OptimizerSetting:
        """The optimizer outside all windows."""
        value: OptimizerSetting = self.components["optimizer"].value
        return value

    @property
    def seeds(self) -> Seeds:
        """The seeds of all streams."""
        value: Seeds = self.components["seeds"].value
        return value

    @property
    def training(self) -> Training:
        """Batch size and schedule."""
        value: Training = self.components["training"].value
        return value

    @property
    def architecture(self) -> tuple[ArchitectureIntervention, ...]:
        """The changes of the model before training, in the order in which they are made."""
        value: tuple[ArchitectureIntervention, ...] = self.components["architecture"].value
        return value

    @property
    def preparation(self) -> tuple[DataIntervention, ...]:
        """The changes of the data before training, in the order in which they are made."""
        value: tuple[DataIntervention, ...] = self.components["preparation"].value
        return value

    @property
    def terms(self) -> Mapping[str, float]:
        """The weights of the objective's named terms; a name that is absent has weight 1."""
        value: Mapping[str, float] = self.components["terms"].value
        return value

    @property
    def numerics(self) -> Numerics:
        """Device type, dtype, threads, determinism."""
        value: Numerics = self.components["numerics"].value
        return value

    @once
    def steps_per_epoch(self) -> int:
        """Steps in one epoch, the last smaller batch included."""
        data: Data = self.components["data"].value
        return math.ceil(data.samples / self.training.batch_size)

    @once
    def total(self) -> int:
        """Length of the run in steps."""
        budget: Budget = self.components["budget"].value
        return budget.steps or budget.total(self.steps_per_epoch)

    @once
    def family(self) -> bytes:
        """Digest of what all states of the trajectory have in common (16 bytes)."""
        parts = [self.components[name].digest for name in _STATIC]
        schedule = self.training.schedule
        if schedule is not None and schedule.reads_total:
            parts.append(self.total.to_bytes(8, "big"))
        return xxhash.xxh3_128_digest(b"".join(parts))

    def key(self, step: int | None = None) -> str:
        """Return the key (32 hex digits) of the state at a step; of the last one, the learner's key."""
        return self._final_key if step is None or step == self.total else self._key(step)

    @once
    def _final_key(self) -> str:
        return self._key(self.total)

    def _key(self, at: int) -> str:
        # A grid has this in its innermost loop, mostly without a timeline.
        past = b"".join([e.restricted(at) for e in self.timeline if e.start < at]) if self.timeline else b""
        return state_key(self.family, at, past)

    def edges(self) -> list[int]:
        """Return the steps in ``(0, total]`` at which a segment of this run ends, ascending."""
        if not self.timeline:
            return [self.total]
        marks = {mark for event in self.timeline for mark in (event.start, event.stop) if mark is not None}
        return sorted(mark for mark in marks | {self.total} if 0 < mark <= self.total)

    @property
    def late(self) -> tuple[Event, ...]:
        """The events that begin after the last step, and so never happen."""
        return tuple(event for event in self.timeline if event.start >= self.total)

    def active(self, step: int) -> tuple[Event, ...]:
        """Return the events whose span holds a step."""
        if not self.timeline:
            return ()
        return tuple(e for e in self.timeline if e.start <= step and (e.stop is None or step < e.stop))

    def manifest(self, step: int) -> str:
        """Write the restricted configuration as canonical JSON: what a hit is compared with."""
        events = [e for e in self.timeline if e.start < step]
        components = ",".join(f'"{name}":{self.components[name].text}' for name in sorted(_STATIC))
        timeline = [{"bytes": e.restricted(step).hex(), "value": describe(e.intervention)} for e in events]
        return (
            f'{{"components":{{{components}}},"family":"{self.family.hex()}",'
            f'"step":{step},"timeline":{_json(timeline)}}}'
        )


def identity_of(manifest: str) -> object:
    """Return what must be equal for a hit: every digest of a manifest, without the words for people."""
    document = json.loads(manifest)
    components = {name: part["digest"] for name, part in document["components"].items()}
    return (
        components,
        document["family"],
        document["step"],
        [event["bytes"] for event in document["timeline"]],
    )


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def describe(value: object) -> Any:
    """Describe a component for people, as JSON."""
    match value:
        case Fingerprint():
            return value.label
        case Data():
            return {"label": value.fingerprint.label, "samples": value.samples}
        case OptimizerSetting():
            return {"kind": value.kind.__name__} | {n: describe(v) for n, v in value.hyperparameters}
        case Intervention():
            return {"kind": type(value).__name__} | {n: describe(v) for n, v in value.parameters().items()}
        case Seeds() | Training() | Numerics():
            return {name: describe(getattr(value, name)) for name in type(value).__dataclass_fields__}
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case tuple() | list():
            return [describe(item) for item in value]
        case Mapping():
            return {str(name): describe(item) for name, item in value.items()}
        case type():
            return value.__name__
        case _:
            return getattr(value, "__name__", None) or repr(type(value).__name__)


@final
class Resolver:
    """Applies interventions to configurations, each distinct edit once.

    A grid of 100,000 cells has a few hundred distinct edits: components are replaced by reference and
    digested once, so that a cell costs a dictionary copy and one hash.
    """

    def __init__(self) -> None:
        self._prepared: dict[int, _Prepared] = {}
        self._edited: dict[tuple[int, str, bytes], Component] = {}
        self._canonical: dict[tuple[bytes, ...], tuple[Event, ...]] = {}

    def apply(self, configuration: Configuration, intervention: Intervention) -> Configuration:
        """Return the configuration with one intervention more."""
        prepared = self._prepared.get(id(intervention)) or self._prepare(intervention)
        if prepared.event is not None:
            return Configuration(configuration.components, (*configuration.timeline, prepared.event))
        components = dict(configuration.components)
        for name, edit in prepared.edits:
            old = components[name]
            memo = (id(intervention), name, old.digest)
            new = self._edited.get(memo)
            if new is None:
                new = self._edited[memo] = Component.of(edit(old.value))
            components[name] = new
        return Configuration(components, configuration.timeline)

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
        memo = (configuration.family, *(e.restricted(2**62) for e in configuration.timeline))
        if memo not in self._canonical:
            self._canonical[memo] = _effective(configuration)
        return Configuration(configuration.components, self._canonical[memo])


def _effective(configuration: Configuration) -> tuple[Event, ...]:
    """Drop events that change nothing beside those before them: null in the base may be none in a window."""
    kept = Configuration(configuration.components)
    for event in sorted(configuration.timeline, key=lambda e: (e.start, type(e.intervention).__name__)):
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
    return values | {"optimizer": setting_at(configuration, step)}


def setting_at(configuration: Configuration, step: int) -> OptimizerSetting:
    """Return the optimizer's setting at a step, its windows applied."""
    setting = configuration.optimizer
    for event in configuration.active(step):
        if isinstance(event.intervention, HyperparameterIntervention):
            setting = event.intervention.edit(setting)
    return setting


@final
@dataclass(frozen=True, slots=True)
class _Prepared:
    """An intervention with what it does; it is kept alive, so that its ``id`` stays its own."""

    intervention: Intervention
    event: Event | None
    edits: tuple[tuple[str, Edit], ...]


def base_configuration(
    *,
    model: Fingerprint,
    data: Data,
    objective: Fingerprint,
    code: Fingerprint,
    optimizer: OptimizerSetting,
    seeds: Seeds,
    training: Training,
    numerics: Numerics,
    budget: Budget,
) -> Configuration:
    """Assemble the configuration that interventions change."""
    values: Iterable[tuple[str, object]] = {
        "model": model,
        "objective": objective,
        "code": code,
        "optimizer": optimizer,
        "seeds": seeds,
        "training": training,
        "numerics": numerics,
        "budget": budget,
        "architecture": (),
        "preparation": (),
        "terms": {},
    }.items()
    components = {name: Component.of(value) for name, value in values}
    components["data"] = Component(data, data.fingerprint.digest)
    return Configuration(components)

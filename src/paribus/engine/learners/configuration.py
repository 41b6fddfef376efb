"""A learner as a value: its configuration, the canonical form of it, and its keys.

The key of a state at step t is the hash of the configuration *restricted to the steps before t*: timed
interventions that start later are not in it, those that end later are cut off at t, and the length of the
run counts only where a schedule reads it. A learner's key is the key of its last state.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, final

import xxhash

from paribus.engine.learners.course import Course, Phase
from paribus.engine.learners.keys import event_bytes, state_key
from paribus.engine.learners.once import once
from paribus.identity import Fingerprint, digest
from paribus.interventions.base import Intervention, TimedIntervention
from paribus.interventions.features import Feature
from paribus.interventions.settings import Budget, Numerics, OptimizerSetting, Seeds, Training
from paribus.interventions.sites import (
    ArchitectureIntervention,
    DataIntervention,
    SeedsIntervention,
    SettingIntervention,
    TrainingIntervention,
)

_GIVEN = ("model", "data", "objective", "code")
FINGERPRINTED = (*_GIVEN, "train")
_OPAQUE = ("train", "options")
_FAST = ("tier",)
_CHANGES = ("architecture", "preparation", "terms")
WINDOWED = ("optimizer", "training", "seeds", "terms")
_STATIC = (*_GIVEN, *_CHANGES, "optimizer", "seeds", "training", "numerics")
_static = itemgetter(*_STATIC)


def _manifest_of(names: Iterable[str]) -> tuple[Callable[[Mapping[str, Any]], tuple[Any, ...]], str]:
    """Return what takes components in their order in a manifest, and the form in which they are written."""
    ordered = sorted(names)
    written = ",".join([f'"{name}":%s' for name in ordered])
    return itemgetter(*ordered), f'{{"components":{{{written}}},"family":"%s","step":%d,"timeline":%s}}'


_MANIFESTS: Mapping[tuple[str, ...], tuple[Callable[[Mapping[str, Any]], tuple[Any, ...]], str]] = {
    more: _manifest_of((*_STATIC, *more)) for more in ((), _OPAQUE, _FAST)
}


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
    """What a configuration holds of the data: its identity, and the training samples that are prepared."""

    fingerprint: Fingerprint
    samples: int


@final
@dataclass(frozen=True, slots=True)
class Event:
    """A timed intervention in the steps ``[start, stop)``; the initial state has ``(-1, 0)``.

    Attributes:
        intervention: What it does.
        start: Its first step.
        stop: The step after its last one; ``None``: it lasts to the end.
        digest: Of the change, and of the keys of the states that it reads.
        reads: The states of other trajectories that it reads.
    """

    intervention: TimedIntervention
    start: int
    stop: int | None
    digest: bytes
    reads: tuple[Read, ...] = ()

    @classmethod
    def of(cls, intervention: TimedIntervention) -> Event:
        """Split an intervention into the change and its span."""
        start, stop = intervention.span
        return cls(intervention, start, stop, digest(intervention.clipped()))

    def reading(self, reads: tuple[Read, ...]) -> Event:
        """Return the event with the states that it reads."""
        keys = b"".join(bytes.fromhex(read.key) for read in reads)
        own = digest(self.intervention.clipped())
        return dataclasses.replace(self, digest=xxhash.xxh3_128_digest(own + keys), reads=reads)

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
            ``seeds``, ``training``, ``numerics``, ``budget`` by name; where the user's own function trains,
            ``train`` and the ``options`` that it reads; where it need not be exact, the ``tier``.
        timeline: The timed interventions, in the order in which they are applied.
    """

    components: Mapping[str, Component]
    timeline: tuple[Event, ...] = field(default=())

    def fingerprints(self) -> dict[str, Fingerprint]:
        """Return the components that are fingerprints of the user's code and data, by name."""
        names = (name for name in FINGERPRINTED if name in self.components)
        values = {name: self.components[name].value for name in names}
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

    @property
    def is_opaque(self) -> bool:
        """Whether the user's own function trains it: of its states, only the first and the last are seen."""
        return "train" in self.components

    @property
    def is_exact(self) -> bool:
        """Whether it has the bits that it has alone, whoever it is trained with."""
        return "tier" not in self.components

    @property
    def _more(self) -> tuple[str, ...]:
        return _OPAQUE if self.is_opaque else () if self.is_exact else _FAST

    def visible(self, steps: Iterable[int]) -> list[int]:
        """Return those of some steps at which its state is seen, ascending."""
        return sorted(step for step in steps if not self.is_opaque or step in (0, self.total))

    @property
    def samples(self) -> int:
        """Training samples, as prepared."""
        data: Data = self.components["data"].value
        return data.samples

    @once
    def steps_per_epoch(self) -> int:
        """Steps in one epoch outside all windows, the last smaller batch included."""
        return math.ceil(self.samples / self.training.batch_size)

    @once
    def course(self) -> Course:
        """The walk over the training samples."""
        marks = {0}
        for event in self.timeline:
            if isinstance(event.intervention, SeedsIntervention | TrainingIntervention):
                marks |= {event.start} if event.stop is None else {event.start, event.stop}
        return Course(self.samples, tuple(_phase(self, mark) for mark in sorted(marks)))

    @property
    def varies(self) -> bool:
        """Whether epochs differ in length, since the batch size changes."""
        timeline = self.timeline
        return bool(timeline) and any(isinstance(e.intervention, TrainingIntervention) for e in timeline)

    @once
    def total(self) -> int:
        """Length of the run in steps."""
        budget: Budget = self.components["budget"].value
        if budget.epochs is not None and self.varies:
            return self.course.end_of(budget.epochs)
        return budget.steps or budget.total(self.steps_per_epoch)

    @once
    def family(self) -> bytes:
        """Digest of what all states of the trajectory have in common (16 bytes)."""
        parts = [component.digest for component in _static(self.components)]
        schedule = self.training.schedule
        parts += [self.components[name].digest for name in self._more]
        if self.is_opaque or (schedule is not None and schedule.reads_total):
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

    def readers(self, step: int) -> tuple[Event, ...]:
        """Return the events that begin before a step and read states of other trajectories."""
        return tuple(event for event in self.timeline if event.reads and event.start < step)

    @property
    def late(self) -> tuple[Event, ...]:
        """The events that begin after the last step, and so never happen."""
        return tuple([event for event in self.timeline if event.start >= self.total])

    def active(self, step: int) -> tuple[Event, ...]:
        """Return the events whose span holds a step."""
        if not self.timeline:
            return ()
        return tuple(e for e in self.timeline if e.start <= step and (e.stop is None or step < e.stop))

    def manifest(self, step: int) -> str:
        """Write the restricted configuration as canonical JSON: what a hit is compared with."""
        events = [e for e in self.timeline if e.start < step]
        timeline = [{"bytes": e.restricted(step).hex(), "value": describe(e.intervention)} for e in events]
        named, form = _MANIFESTS[self._more]
        texts = [component.text for component in named(self.components)]
        return form % (*texts, self.family.hex(), step, _json(timeline) if timeline else "[]")


@final
@dataclass(frozen=True)
class Read:
    """A state that an event of another trajectory, or a later one of its own, reads.

    Attributes:
        configuration: Whose state.
        step: Optimizer steps taken.
    """

    configuration: Configuration
    step: int

    @once
    def key(self) -> str:
        """Key of the state."""
        return self.configuration.key(self.step)


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
            own = {"groups": describe(value.groups)} if value.groups else {}
            return {"kind": value.kind.__name__} | {n: describe(v) for n, v in value.hyperparameters} | own
        case Intervention():
            return {"kind": type(value).__name__} | {n: describe(v) for n, v in value.parameters().items()}
        case Seeds() | Training() | Numerics():
            return {name: describe(getattr(value, name)) for name in type(value).__dataclass_fields__}
        case None | bool() | int() | str():
            return value
        case Feature():
            return str(value)
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


def value_at(configuration: Configuration, component: str, step: int) -> Any:
    """Return a setting at a step, its windows applied."""
    value = configuration.components[component].value
    for event in configuration.active(step):
        change = event.intervention
        if isinstance(change, SettingIntervention) and change.component == component:
            value = change.edit(value)
    return value


def seeds_at(configuration: Configuration, step: int) -> Seeds:
    """Return the seeds at a step, their windows applied."""
    seeds: Seeds = value_at(configuration, "seeds", step)
    return seeds


def _phase(configuration: Configuration, step: int) -> Phase:
    seeds, training = seeds_at(configuration, step), value_at(configuration, "training", step)
    return Phase(step, seeds.order, seeds.augment, training.batch_size)


def setting_at(configuration: Configuration, step: int) -> OptimizerSetting:
    """Return the optimizer's setting at a step, its windows applied."""
    setting: OptimizerSetting = value_at(configuration, "optimizer", step)
    return setting


def terms_at(configuration: Configuration, step: int) -> Mapping[str, float]:
    """Return the weights of the objective's terms at a step, windows applied."""
    weights: Mapping[str, float] = value_at(configuration, "terms", step)
    return weights


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
    train: Fingerprint | None = None,
    exact: bool = True,
) -> Configuration:
    """Assemble the configuration that interventions change; `train` is of the user's own training."""
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
        **({} if train is None else {"train": train, "options": {}}),
        **({} if exact else {"tier": {"exact": False}}),
    }.items()
    components = {name: Component.of(value) for name, value in values}
    components["data"] = Component(data, data.fingerprint.digest)
    return Configuration(components)

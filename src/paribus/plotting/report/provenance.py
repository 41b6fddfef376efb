"""Where an experiment's numbers come from: fingerprints, seeds, software, and steps that were saved."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, final

from paribus.engine.learners.configuration import Configuration
from paribus.engine.planning.plan import Plan
from paribus.store import Record

_NOTHING = ("", "[]", "{}")
_MACHINE = ("host",)  # who computed it says nothing about the numbers


@final
@dataclass(frozen=True)
class Component:
    """One component of the configurations, over all learners.

    Attributes:
        name: Such as ``"model"``.
        digests: The distinct ones, 32 hex digits each; none where it has no fingerprint.
        value: In words; what varies among the learners is counted.
    """

    name: str
    digests: tuple[str, ...]
    value: str


@final
@dataclass(frozen=True)
class Provenance:
    """Where the numbers come from.

    Attributes:
        components: What decides the bits.
        software: Each environment in words, with the number of segments that were trained in it.
        steps_asked: Steps of all learners, each counted alone.
        steps_distinct: Steps of the tree that they share.
        steps_stored: Those of them that the store holds, and that no later run trains.
        version: Of Paribus.
    """

    components: tuple[Component, ...]
    software: tuple[tuple[str, int], ...]
    steps_asked: int
    steps_distinct: int
    steps_stored: int
    version: str

    @classmethod
    def of(
        cls, configurations: Sequence[Configuration], plan: Plan, records: Mapping[str, Record]
    ) -> Provenance:
        """Read it from the configurations, their plan, and what the store holds of them."""
        steps = dict.fromkeys(f"{each.total:,} steps" for each in configurations)
        named = [
            _component(name, configurations) for name in configurations[0].components if name != "budget"
        ]
        return cls(
            components=(
                *(each for each in named if each.value not in _NOTHING),
                Component("length", (), ", ".join(steps)),
            ),
            software=_software(records[s.key] for s in plan.segments if s.key in records),
            steps_asked=plan.steps_asked,
            steps_distinct=plan.steps_distinct,
            steps_stored=plan.steps_distinct - plan.steps_to_train,
            version=version("paribus"),
        )


def _component(name: str, configurations: Iterable[Configuration]) -> Component:
    texts = {each.components[name].digest.hex(): each.components[name].text for each in configurations}
    return Component(name, tuple(texts), _in_words([json.loads(text)["value"] for text in texts.values()]))


def _in_words(values: Sequence[Any]) -> str:
    """Write a value; of several, what is equal, and how many values the rest has."""
    if not all(isinstance(value, dict) for value in values):
        distinct = dict.fromkeys(_text(value) for value in values)
        return next(iter(distinct)) if len(distinct) == 1 else f"{len(distinct)} values"
    names = dict.fromkeys(name for value in values for name in value)
    return ", ".join(f"{name}: {_in_words([value.get(name) for value in values])}" for name in names)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _software(records: Iterable[Record]) -> tuple[tuple[str, int], ...]:
    counts: Counter[str] = Counter()
    for record in records:
        if isinstance(record.environment, dict):
            told = {name: text for name, text in record.environment.items() if name not in _MACHINE}
            counts[", ".join(f"{name} {text}" for name, text in told.items())] += 1
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

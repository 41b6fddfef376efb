"""Are cached results what training gives? Learners trained once more, and compared to the bit."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import xxhash

from paribus.engine.building.work import Work
from paribus.engine.learners.configuration import Configuration
from paribus.engine.training.checkpoint import replay
from paribus.engine.training.environment import environment
from paribus.errors import ExecutionError
from paribus.store import Record


@final
@dataclass(frozen=True)
class Reexecution:
    """A cached learner that was trained once more.

    Attributes:
        key: Its key.
        stored: Digest of the stored final state.
        again: Digest of the final state now; ``None`` where it was not reached.
        why: What may explain a difference: the error, or software and hardware that changed since.
    """

    key: str
    stored: str
    again: str | None
    why: str = ""

    @property
    def same(self) -> bool:
        """Whether the two states are equal to the last bit."""
        return self.stored == self.again

    def __str__(self) -> str:
        if self.same:
            return f"{self.key}: equal to the bit"
        return f"{self.key}: differs ({self.why})" if self.why else f"{self.key}: differs"


def reexecute(
    configurations: Sequence[Configuration],
    records: Mapping[str, Record],
    work: Work,
    count: int,
    seed: int = 0,
) -> list[Reexecution]:
    """Train cached learners from their first step, and compare their final states with the stored ones.

    Nothing is read from a store and nothing written: a pure function of its arguments, apart from the time.

    Args:
        configurations: The learners of an experiment.
        records: What a store has of them, by key; those without a final state are passed over.
        work: What all learners share.
        count: How many to train; where fewer are cached, all of them.
        seed: Of the choice.
    """
    cached = [c for c in configurations if c.key() in records and "state" in records[c.key()].references]
    chosen = random.Random(seed).sample(cached, min(count, len(cached)))
    return [_trained(configuration, records[configuration.key()], work) for configuration in chosen]


def _trained(configuration: Configuration, record: Record, work: Work) -> Reexecution:
    key, stored = record.key, record.references["state"]
    try:
        state = replay(configuration, configuration.total, work)
    except ExecutionError as error:
        return Reexecution(key, stored, None, str(error))
    again = None if state is None else xxhash.xxh3_128_hexdigest(state.to_bytes())
    changes = _changes(record.environment) if configuration.is_exact else "exact=False"
    return Reexecution(key, stored, again, "" if again == stored else changes)


def _changes(then: Any) -> str:
    """Say in which software and hardware differ from what a record was made on."""
    now = environment()
    changed = [f"{name} {then[name]} → {now[name]}" for name in now if then.get(name, now[name]) != now[name]]
    return ", ".join(changed) or "on equal software and hardware"

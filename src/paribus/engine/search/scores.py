"""What the store knows of how learners did: the status, and values of metrics at steps."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal, final

from paribus.engine.building.work import REPORTED
from paribus.engine.learners.configuration import Configuration
from paribus.engine.planning.known import Known
from paribus.store import Record, Store, unpack

Status = Literal["open", "done", "diverged", "failed"]


@final
@dataclass(frozen=True)
class Score:
    """How a learner did so far.

    Attributes:
        status: ``"done"`` once its run is over; ``"open"`` before.
        values: The metrics that were asked for, at its last step; empty where one was not recorded.
    """

    status: Status
    values: tuple[float, ...] = ()


@final
class Scores:
    """Reads how learners did; what is over is read once.

    Args:
        store: Where results are.
        digests: The digests of the metrics that count, in hex.
    """

    def __init__(self, store: Store, digests: Collection[str]) -> None:
        self._store = store
        self._digests = frozenset(digests)
        self._known: dict[bytes, Known] = {}
        self._over: dict[tuple[str, tuple[str, ...]], Score] = {}
        self._values: dict[tuple[str, str], float] = {}

    def forget(self) -> None:
        """Read the store anew from here on, but for what is over."""
        self._known = {}

    def read(self, configurations: Iterable[Configuration]) -> None:
        """Read what the store holds of some learners, in one query."""
        families = {each.family for each in configurations} - self._known.keys()
        if not families:
            return
        found: dict[str, dict[str, Record]] = {family.hex(): {} for family in families}
        for key, record in self._store.relatives(found).items():
            found[record.family][key] = record
        self._known |= {family: Known(found[family.hex()]) for family in families}

    def of(self, configuration: Configuration, names: tuple[str, ...]) -> Score:
        """Tell how a learner did."""
        memo = (configuration.key(), names)
        if memo not in self._over:
            self.read([configuration])
            score = self._score(configuration, names)
            if score.status in ("open", "failed"):
                return score
            self._over[memo] = score
        return self._over[memo]

    def at(self, configuration: Configuration, name: str, step: int) -> float | None:
        """Return the value of a metric at a step; ``None`` where it was not recorded."""
        memo = (configuration.key(step), name)
        if memo not in self._values:
            self.read([configuration])
            record = self._known[configuration.family].record(memo[0], configuration.family, step)
            value = None if record is None else self._value(record, name, step)
            if value is None:
                return None
            self._values[memo] = value
        return self._values[memo]

    def _score(self, configuration: Configuration, names: tuple[str, ...]) -> Score:
        known, total = self._known[configuration.family], configuration.total
        last = known.record(configuration.key(), configuration.family, total)
        if last is None or last.status != "done":
            statuses = {r.status for r in known.records.values() if _is_on_the_way(r, configuration)}
            return Score(
                "diverged" if "diverged" in statuses else "failed" if "failed" in statuses else "open"
            )
        if last.key == configuration.key() and not _body(last)["finite"]:
            return Score("diverged")
        values = [self._value(last, name, total) for name in names]
        if None not in values:
            return Score("done", tuple(value for value in values if value is not None))
        steps = last.columns.layout.steps
        looked = all(total in steps.get(digest, ()) for digest in self._digests - {REPORTED})
        return Score("done" if looked else "open")  # else a metric is still to be evaluated

    def _value(self, record: Record, name: str, step: int) -> float | None:
        for digest, recording in unpack(record.columns).items():
            column = recording["values"].get(name)
            if digest in self._digests and column is not None and step in recording["steps"]:
                value = column[recording["steps"].index(step)]
                return value if isinstance(value, float) else None
        return None


def _is_on_the_way(record: Record, configuration: Configuration) -> bool:
    stop = _body(record)["stop"]
    return stop <= configuration.total and configuration.key(stop) == record.key


def _body(record: Record) -> Any:
    return record.body

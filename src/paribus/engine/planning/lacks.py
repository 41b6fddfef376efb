"""What each learner lacks: segments to train, and metrics to evaluate at stored states. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import final

from paribus.engine.learners.configuration import Configuration
from paribus.engine.planning.known import Known, Stored
from paribus.engine.planning.segments import Segment


@final
@dataclass(frozen=True, slots=True)
class Need:
    """What a learner lacks.

    Attributes:
        places: Places on its path that must be trained.
        reason: Why.
        evaluations: Where metrics need only be evaluated: place, step and names.
        trained: How many places were trained before.
    """

    places: frozenset[int]
    reason: str
    evaluations: tuple[tuple[int, int, frozenset[str]], ...] = ()
    trained: int = 0

    @property
    def draws(self) -> bool:
        """Whether a metric is to be evaluated at the initial state."""
        return any(step == 0 for _, step, _ in self.evaluations)


@cache
def _cached(trained: int) -> Need:
    return Need(frozenset(), "cached", trained=trained)


@cache
def _new(length: int) -> Need:
    return Need(frozenset(range(length)), _NEW)


_NEW = "new: not in the store"
_Missing = Mapping[int, frozenset[str]]


@final
class Look:
    """Looks up what is stored of each learner; learners that recorded the same are compared once."""

    def __init__(self, known: Known, digests: Mapping[str, str]) -> None:
        self._known = known
        self._digests = digests
        self._compared: dict[tuple[int, ...], _Missing] = {}

    def need(
        self, configuration: Configuration, path: Sequence[Segment], due: Mapping[str, Sequence[int]]
    ) -> Need:
        """Find what is missing along a path."""
        if not path or not self._known:
            return _new(len(path))
        family, total = configuration.family, path[-1].stop
        stored = self._known.stored
        entries = [stored(segment.key, family, segment.stop) for segment in path]
        done = [entry for entry in entries if entry is not None and entry.status == "done"]
        if len(done) == len(path) and not self._missing(configuration, total, due, done):
            return _cached(len(path))
        for place, entry in enumerate(entries):
            if entry is not None and entry.status == "diverged":
                path, entries = path[: place + 1], entries[: place + 1]
                total = entry.step
                break
        trained = max(
            (p for p, e in enumerate(entries) if e is not None and e.status != "failed"), default=-1
        )
        reach = total if trained == len(path) - 1 else path[trained].stop
        missing = self._missing(configuration, reach, due, entries) if trained >= 0 else {}
        places = set(range(trained + 1, len(path)))
        evaluations = []
        for step, names in missing.items():
            place = bisect_left(path, step, key=lambda segment: segment.stop)
            entry = entries[place]
            if step == 0 or (path[place].stop == step and entry is not None and entry.state is not None):
                evaluations.append((place, step, names))
            else:
                places.add(place)
        if not places and not evaluations:
            return _cached(trained + 1)
        reason = _reason(entries, trained, len(path), missing, replayed=bool(places))
        return Need(frozenset(places), reason, tuple(evaluations), trained + 1)

    def _missing(
        self,
        configuration: Configuration,
        reach: int,
        due: Mapping[str, Sequence[int]],
        entries: Sequence[Stored | None],
    ) -> _Missing:
        """List, for each step up to ``reach``, the metrics that are due and not recorded."""
        recorded = [entry.recorded for entry in entries if entry is not None]
        missing = self._compare(reach, due, recorded)
        if 0 in missing:
            start = self._known.stored(configuration.key(0), configuration.family, 0)
            if start is not None:
                return self._compare(reach, due, [*recorded, start.recorded])
        return missing

    def _compare(
        self, reach: int, due: Mapping[str, Sequence[int]], recorded: Sequence[Mapping[str, frozenset[int]]]
    ) -> _Missing:
        memo = (reach, id(due), *map(id, recorded))
        if memo not in self._compared:
            missing: dict[int, frozenset[str]] = {}
            for name, steps in due.items():
                found = frozenset().union(*(each.get(self._digests[name], ()) for each in recorded))
                for step in steps:
                    if step <= reach and step not in found:
                        missing[step] = missing.get(step, frozenset()) | {name}
            self._compared[memo] = missing
        return self._compared[memo]


def _reason(
    entries: Sequence[Stored | None],
    trained: int,
    length: int,
    missing: Mapping[int, frozenset[str]],
    *,
    replayed: bool,
) -> str:
    if any(entry is not None and entry.status == "failed" for entry in entries):
        return "failed before: tried again"
    if trained == length - 1:
        names = ", ".join(map(repr, sorted(frozenset[str]().union(*missing.values()))))
        how = "replayed from the nearest stored state" if replayed else "evaluated at stored states"
        return f"trained, but {names} was not recorded: {how}"
    if trained >= 0:
        return "goes on from a stored state"
    return _NEW

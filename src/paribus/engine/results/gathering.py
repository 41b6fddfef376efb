"""What was recorded along the paths of learners, gathered into one frame, column by column."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias, final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from paribus.engine.building.work import REPORTED
from paribus.engine.learners.configuration import Configuration
from paribus.engine.planning.known import Known
from paribus.engine.planning.plan import Plan
from paribus.errors import MetricError
from paribus.store import SCALAR, Columns, Layout, Recording

Due: TypeAlias = Mapping[str, Sequence[int]]
Place: TypeAlias = tuple[int, int]
_Floats: TypeAlias = NDArray[np.float64]
_Integers: TypeAlias = NDArray[np.int64]
ABSENT = -2
# Shorter runs of records are copied into one table, which is quicker than to go through so many.
_RUN = 8


@final
@dataclass(frozen=True, eq=False)
class Pattern:
    """Learners whose metrics are due at the same steps, and whose records have the same layouts.

    Where one of them has a value, all have it: the place is looked up once, and the values of all are taken
    at once.

    Attributes:
        learners: Their indices.
        steps: Steps at which something that is due was recorded.
        places: For each value by name, by step: where its first number is, and its width.
        columns: What the records on their paths hold, one after the other.
    """

    learners: tuple[int, ...]
    steps: tuple[int, ...]
    places: Mapping[str, Mapping[int, Place]]
    columns: Sequence[Columns]

    @classmethod
    def of(
        cls,
        due: Due,
        members: Mapping[int, Sequence[Columns]],
        digests: Mapping[str, str],
        once: Collection[str],
    ) -> Pattern:
        """Find where the values that are due lie.

        Args:
            due: For each metric by name, the steps at which it is the learners'.
            members: For each learner, what the records on its path hold, the first step first.
            digests: The digest of each metric by name, in hex.
            once: The metrics that have values at one step only, the first.
        """
        recordings = list(_placed(next(iter(members.values()))))
        if reported := _reported(recordings):
            due, digests = {**due, REPORTED: reported}, {**digests, REPORTED: REPORTED}
        steps: set[int] = set()
        places: dict[str, dict[int, Place]] = {}
        for metric, asked in due.items():
            own = [(at, recording) for at, recording in recordings if recording.metric == digests[metric]]
            wanted = frozenset(_first(asked, own) if metric in once else asked)
            for at, recording in own:
                if not wanted.isdisjoint(recording.steps):
                    steps.update(wanted.intersection(recording.steps))
                    for name, step, place in _values(at, recording):
                        found = places.setdefault(name, {})
                        if step in wanted and place is not None:
                            found[step] = place
        columns = [each for columns in members.values() for each in columns]
        return cls(tuple(members), tuple(sorted(steps)), places, columns)

    @property
    def height(self) -> int:
        """Rows of the frame: one per learner and step."""
        return len(self.learners) * len(self.steps)

    @cached_property
    def tables(self) -> list[_Floats]:
        """The numbers of the learners, in tables of (learners, numbers)."""
        count, width = len(self.learners), self.columns[0].layout.size
        if len(self.columns) == count and width:
            # One record each, and those of a bundle lie behind each other.
            runs = list(_runs(self.columns))
            if _RUN * len(runs) < count:
                return [np.frombuffer(run, "<f8").reshape(-1, width) for run in runs]
        numbers = np.frombuffer(b"".join([each.numbers for each in self.columns]), "<f8")
        return [numbers.reshape(count, len(numbers) // count)]

    def taken(self, name: str) -> _Floats:
        """Return the numbers of a value, row after row."""
        places = self._places(name)
        index = [at + entry for at, width in places if width != ABSENT for entry in range(abs(width))]
        first, stop = (index[0], index[0] + len(index)) if index else (0, 0)
        # Mostly neighbours, since a value's numbers are: a slice is copied faster than places are looked up.
        adjacent = index == list(range(first, stop))
        taken = [table[:, first:stop] if adjacent else table[:, index] for table in self.tables]
        return (taken[0] if len(taken) == 1 else np.concatenate(taken)).reshape(-1)

    def widths(self, name: str) -> _Integers:
        """Return the width of a value at each step: ``ABSENT`` where there is none."""
        return np.array([width for _, width in self._places(name)], np.int64)

    def _places(self, name: str) -> list[Place]:
        own = self.places.get(name, {})
        return [own.get(step, (0, ABSENT)) for step in self.steps]


def gathered(
    configurations: Sequence[Configuration],
    plan: Plan,
    known: Known,
    digests: Mapping[str, str],
    once: Collection[str] = (),
    names: Collection[str] | None = None,
) -> pl.DataFrame:
    """Make one row per learner and step at which something that is the learner's was recorded.

    Args:
        configurations: One per learner.
        plan: Their paths, and the steps at which metrics are theirs.
        known: What the store holds of their trajectories.
        digests: The digest of each metric by name, in hex.
        once: The metrics that have values at one step only, the first.
        names: The values that are asked for; ``None``: all.

    Returns:
        ``learner``, ``step``, and a column for each value, null where it was not recorded: floats, or for
        vectors lists of floats.
    """
    found = [p for p in patterns(configurations, plan, known, digests, once) if p.height]
    there = dict.fromkeys(name for pattern in found for name in pattern.places)
    learners = [np.repeat(np.array(p.learners, np.int64), len(p.steps)) for p in found]
    steps = [np.tile(np.array(p.steps, np.int64), len(p.learners)) for p in found]
    nothing = np.empty(0, np.int64)
    frame = pl.DataFrame(
        {
            "learner": np.concatenate([nothing, *learners]),
            "step": np.concatenate([nothing, *steps]),
            **{name: _column(name, found) for name in there if names is None or name in names},
        }
    )
    return frame if len(found) <= 1 else frame.sort("learner", maintain_order=True)


def patterns(
    configurations: Sequence[Configuration],
    plan: Plan,
    known: Known,
    digests: Mapping[str, str],
    once: Collection[str] = (),
) -> list[Pattern]:
    """Group learners by what they recorded; arguments are those of `gathered`."""
    held = _held(plan, known)
    shapes = {place: id(columns.layout) for place, columns in held.items()}
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, (learner, due) in enumerate(zip(plan.learners, plan.due, strict=True)):
        shape = (id(due), *[shapes.get(place, 0) for place in learner.path])
        groups.setdefault(shape, []).append(index)
    found = []
    for members in groups.values():
        due, first = plan.due[members[0]], next(map(held.get, plan.learners[members[0]].path), None)
        paths = {i: [held[p] for p in plan.learners[i].path if p in held] for i in members}
        if first is not None and not _lacks_start(due, first.layout, digests):
            found.append(Pattern.of(due, paths, digests, once))
            continue
        parted: dict[int, dict[int, list[Columns]]] = {}
        for index, columns in paths.items():
            start = known.record(configurations[index].key(0), configurations[index].family, 0)
            before = [] if start is None else [start.columns]
            parted.setdefault(id(start and start.columns.layout), {})[index] = before + columns
        found += [Pattern.of(due, part, digests, once) for part in parted.values()]
    return found


def _held(plan: Plan, known: Known) -> dict[int, Columns]:
    """Return what the records on the paths of learners hold, by the place of their segment."""
    held = {}
    for place in dict.fromkeys(place for learner in plan.learners for place in learner.path):
        segment = plan.segments[place]
        record = known.record(segment.key, segment.configuration.family, segment.stop)
        if record is not None:
            held[place] = record.columns
    return held


def _lacks_start(due: Due, layout: Layout, digests: Mapping[str, str]) -> bool:
    """Tell whether a layout lacks the initial state, which another record may have."""
    return any(
        steps and steps[0] == 0 and 0 not in layout.steps.get(digests[metric], ())
        for metric, steps in due.items()
    )


def _runs(columns: Sequence[Columns]) -> Iterator[memoryview]:
    """Yield the numbers of records of one layout, those that lie behind each other in memory as one."""
    size = len(columns[0].numbers)
    start = 0
    for at, (one, other) in enumerate(pairwise(columns), 1):
        if other.place != one.place + size or _memory(other) is not _memory(one):
            yield _run(columns[start:at], size)
            start = at
    yield _run(columns[start:], size)


def _run(columns: Sequence[Columns], size: int) -> memoryview:
    first = columns[0]
    memory = memoryview(_memory(first))
    return memory[first.place : first.place + size * len(columns)]


def _memory(columns: Columns) -> Any:
    return columns.numbers.obj if isinstance(columns.numbers, memoryview) else columns.numbers


def _placed(columns: Sequence[Columns]) -> Iterator[tuple[int, Recording]]:
    """Yield recordings, each with the place of its first number."""
    at = 0
    for each in columns:
        for recording in each.layout.recordings:
            yield at, recording
            at += recording.size


def _reported(recordings: Sequence[tuple[int, Recording]]) -> list[int]:
    """List the steps at which the user's own training reported; it and no metric may use its names.

    Raises:
        MetricError: A metric recorded a value of a name that was reported.
    """
    found = [recording for _, recording in recordings if recording.metric == REPORTED]
    names = {name for recording in found for name in recording.widths}
    for _, recording in recordings if names else ():
        both = names & recording.widths.keys()
        if both and recording.metric != REPORTED:
            raise MetricError(
                f"{recording.name}: {min(both)!r} was reported by train=, too; rename the metric, or report "
                "it under another name"
            )
    return [step for recording in found for step in recording.steps]


def _values(at: int, recording: Recording) -> Iterator[tuple[str, int, Place | None]]:
    """Yield name, step and place of each value of a recording that begins somewhere."""
    for name, widths in recording.widths.items():
        for step, width in zip(recording.steps, widths, strict=True):
            yield name, step, None if width is None else (at, width)
            at += 0 if width is None else abs(width)


def _first(asked: Sequence[int], recordings: Sequence[tuple[int, Recording]]) -> Sequence[int]:
    """Find the first step that has a value; there is none as long as one before it was not recorded."""
    looked = {step for _, recording in recordings for step in recording.steps}
    found = (value for at, recording in recordings for value in _values(at, recording))
    there = {step for _, step, place in found if place is not None}
    for step in asked:
        if step in there or step not in looked:
            return [step] if step in there else []
    return []


def _column(name: str, patterns: Sequence[Pattern]) -> pl.Series:
    """Join a value of all patterns to one column."""
    parts = [pattern.taken(name) for pattern in patterns]
    numbers = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if all((pattern.widths(name) == SCALAR).all() for pattern in patterns):
        return pl.Series(numbers)
    widths = np.concatenate([np.tile(p.widths(name), len(p.learners)) for p in patterns])
    if (widths >= 0).any():
        return _vectors(numbers, widths)
    column = np.zeros(len(widths))
    column[widths == SCALAR] = numbers
    return pl.select(pl.when(pl.Series(widths == SCALAR)).then(pl.Series(column))).to_series()


def _vectors(numbers: _Floats, widths: _Integers) -> pl.Series:
    """Cut numbers into lists, null where a row has none."""
    rows = np.arange(len(widths))
    counts = np.where(widths == ABSENT, 0, np.abs(widths))
    lists = (
        pl.DataFrame({"row": rows.repeat(counts), "value": numbers})
        .group_by("row", maintain_order=True)
        .agg("value")
    )
    empty = pl.lit([], pl.List(pl.Float64))
    return (
        pl.DataFrame({"row": rows, "there": widths != ABSENT})
        .join(lists, on="row", how="left", maintain_order="left")
        .select(pl.when("there").then(pl.col("value").fill_null(empty)))
        .to_series()
    )

"""What was recorded along the paths of learners, gathered into one frame, column by column."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from paribus.engine.learners.configuration import Configuration
from paribus.engine.planning.known import Known
from paribus.engine.planning.plan import Plan
from paribus.store import SCALAR, Columns, Layout, Recording
from paribus.store.columns import NUMBER_BYTES

Due: TypeAlias = Mapping[str, Sequence[int]]
Place: TypeAlias = tuple[int, int]
_Floats: TypeAlias = NDArray[np.float64]
_Integers: TypeAlias = NDArray[np.int64]
ABSENT = -2


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
        table: What the records on their paths hold, (learners, numbers).
    """

    learners: tuple[int, ...]
    steps: tuple[int, ...]
    places: Mapping[str, Mapping[int, Place]]
    table: _Floats

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
        numbers = b"".join([each.numbers for columns in members.values() for each in columns])
        width = len(numbers) // NUMBER_BYTES // len(members)
        table = np.frombuffer(numbers, "<f8").reshape(len(members), width)
        return cls(tuple(members), tuple(sorted(steps)), places, table)

    @property
    def height(self) -> int:
        """Rows of the frame: one per learner and step."""
        return len(self.learners) * len(self.steps)

    def taken(self, name: str) -> tuple[_Floats, _Integers]:
        """Return the numbers of a value, row after row, and its width in each: ``ABSENT`` where none is."""
        places = [self.places.get(name, {}).get(step, (0, ABSENT)) for step in self.steps]
        index = [at + entry for at, width in places if width != ABSENT for entry in range(abs(width))]
        widths = np.array([width for _, width in places], np.int64)
        return self.table[:, index].reshape(-1), np.tile(widths, len(self.learners))


def gathered(
    configurations: Sequence[Configuration],
    plan: Plan,
    known: Known,
    digests: Mapping[str, str],
    once: Collection[str] = (),
) -> pl.DataFrame:
    """Make one row per learner and step at which something that is the learner's was recorded.

    Args:
        configurations: One per learner.
        plan: Their paths, and the steps at which metrics are theirs.
        known: What the store holds of their trajectories.
        digests: The digest of each metric by name, in hex.
        once: The metrics that have values at one step only, the first.

    Returns:
        ``learner``, ``step``, and a column for each value, null where it was not recorded: floats, or for
        vectors lists of floats.
    """
    patterns = [p for p in _patterns(configurations, plan, known, digests, once) if p.height]
    names = dict.fromkeys(name for pattern in patterns for name in pattern.places)
    learners = [np.repeat(np.array(p.learners, np.int64), len(p.steps)) for p in patterns]
    steps = [np.tile(np.array(p.steps, np.int64), len(p.learners)) for p in patterns]
    nothing = np.empty(0, np.int64)
    frame = pl.DataFrame(
        {
            "learner": np.concatenate([nothing, *learners]),
            "step": np.concatenate([nothing, *steps]),
            **{name: _column(name, patterns) for name in names},
        }
    )
    return frame if len(patterns) <= 1 else frame.sort("learner", maintain_order=True)


def _patterns(
    configurations: Sequence[Configuration],
    plan: Plan,
    known: Known,
    digests: Mapping[str, str],
    once: Collection[str],
) -> list[Pattern]:
    lacking = _Start(digests)
    groups: dict[tuple[int, ...], dict[int, list[Columns]]] = {}
    for index, (configuration, learner, due) in enumerate(
        zip(configurations, plan.learners, plan.due, strict=True)
    ):
        family = configuration.family
        segments = [plan.segments[place] for place in learner.path]
        records = [known.record(segment.key, family, segment.stop) for segment in segments]
        if records[0] is None or lacking(due, records[0].columns.layout):
            records.insert(0, known.record(configuration.key(0), family, 0))
        columns = [record.columns for record in records if record is not None]
        memo = (id(due), *[id(each.layout) for each in columns])
        groups.setdefault(memo, {})[index] = columns
    return [Pattern.of(plan.due[next(iter(members))], members, digests, once) for members in groups.values()]


@final
class _Start:
    """Tells whether a layout lacks the initial state, which another record may have; asked once for each."""

    def __init__(self, digests: Mapping[str, str]) -> None:
        self._digests = digests
        self._told: dict[tuple[int, int], bool] = {}

    def __call__(self, due: Due, layout: Layout) -> bool:
        memo = (id(due), id(layout))
        if memo not in self._told:
            self._told[memo] = any(
                steps and steps[0] == 0 and 0 not in layout.steps.get(self._digests[metric], ())
                for metric, steps in due.items()
            )
        return self._told[memo]


def _placed(columns: Sequence[Columns]) -> Iterator[tuple[int, Recording]]:
    """Yield recordings, each with the place of its first number."""
    at = 0
    for each in columns:
        for recording in each.layout.recordings:
            yield at, recording
            at += recording.size


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
    numbers = np.concatenate([part[0] for part in parts])
    widths = np.concatenate([part[1] for part in parts])
    if (widths >= 0).any():
        return _vectors(numbers, widths)
    if (widths == SCALAR).all():
        return pl.Series(numbers)
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

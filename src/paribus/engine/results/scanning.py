"""The frame of many learners, read in batches of learners when it is collected."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import polars as pl
from polars.io.plugins import register_io_source

from paribus.engine.learners.configuration import Configuration
from paribus.engine.learners.designs import Cell
from paribus.engine.planning.known import Known
from paribus.engine.planning.plan import Plan
from paribus.engine.results.frames import History, beside, learner_frame, pair_columns, timed_rows, with_pairs
from paribus.engine.results.gathering import gathered, patterns
from paribus.store import Record

_LEARNERS = 512
_VECTOR = pl.List(pl.Float64)


@final
@dataclass(frozen=True, eq=False)
class Scan:
    """What is needed to read the rows of any learners.

    Attributes:
        cells: The learners.
        histories: How each ended.
        plan: Their paths, and the steps at which metrics are theirs.
        known: Their records; the numbers need not be in them.
        digests: The digest of each metric by name, in hex.
        once: The metrics that have values at one step only, the first.
        pairs: For each learner, by step, the values of its pair metrics.
        read: Reads the records of some learners, with their numbers.
    """

    cells: Sequence[Cell]
    histories: Sequence[History]
    plan: Plan
    known: Known
    digests: Mapping[str, str]
    once: Collection[str]
    pairs: Mapping[int, Mapping[int, Mapping[str, Any]]]
    read: Callable[[Sequence[Configuration]], Mapping[str, Record]]

    def lazy(self) -> pl.LazyFrame:
        """Return the frame of all learners; nothing of it is read before it is collected."""
        return register_io_source(self._batches, schema=self.schema)

    @cached_property
    def schema(self) -> pl.Schema:
        """The columns of the frame, found from the layouts of the records."""
        scalars = {"step": pl.Int64(), "epoch": pl.Float64()}
        return pl.Schema({**self._ends.schema, **scalars, **self._metrics})

    @cached_property
    def _ends(self) -> pl.DataFrame:
        return learner_frame(self.cells, self.histories)

    @cached_property
    def _metrics(self) -> dict[str, pl.DataType]:
        configurations = [cell.configuration for cell in self.cells]
        found = [
            pattern
            for pattern in patterns(configurations, self.plan, self.known, self.digests, self.once)
            if pattern.height
        ]
        names = dict.fromkeys(name for pattern in found for name in pattern.places)
        vectors = {name for pattern in found for name in names if (pattern.widths(name) >= 0).any()}
        types = {name: _VECTOR if name in vectors else pl.Float64() for name in names}
        pairs = {name: series.dtype for name, series in pair_columns(self.pairs).items()}
        return {name: kind for name, kind in types.items() if name not in pairs} | pairs

    def _batches(
        self, columns: list[str] | None, predicate: pl.Expr | None, count: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        """Yield the rows that are asked for, a batch of learners at a time."""
        wanted = self.schema.names() if columns is None else columns
        needed = {*wanted, *([] if predicate is None else predicate.meta.root_names())}
        # Polars takes the first rows before it filters them, and hands down no filter that comes before.
        chosen = self._chosen(predicate if count is None else None)
        left = count
        for start in range(0, max(1, len(chosen)), _LEARNERS):  # one at least, for the types
            rows = self._rows(chosen[start : start + _LEARNERS], needed)
            if left is not None:
                rows = rows.head(left)
                left -= rows.height
            yield (rows if predicate is None else rows.filter(predicate)).select(wanted)
            if left == 0:
                return

    def _chosen(self, predicate: pl.Expr | None) -> list[int]:
        """Return the learners whose levels and status fulfil what is asked of these alone."""
        own = self._ends.columns
        told = [part for part in conjuncts(predicate) if set(part.meta.root_names()) <= set(own)]
        return self._ends.filter(*told)["learner"].to_list() if told else list(range(len(self.cells)))

    def _rows(self, learners: Sequence[int], names: Collection[str]) -> pl.DataFrame:
        cells = [self.cells[index] for index in learners]
        configurations = [cell.configuration for cell in cells]
        plan = dataclasses.replace(
            self.plan,
            learners=tuple(self.plan.learners[index] for index in learners),
            due=[self.plan.due[index] for index in learners],
        )
        known = Known(self.read(configurations))
        metrics = {name: kind for name, kind in self._metrics.items() if name in names}
        recorded = gathered(configurations, plan, known, self.digests, self.once, metrics)
        pairs = {place: self.pairs[index] for place, index in enumerate(learners) if index in self.pairs}
        timed = timed_rows(cells, with_pairs(recorded, pairs))
        typed = [_typed(timed, name, kind) for name, kind in metrics.items()]
        return beside(self._ends[learners], timed.select("learner", "step", "epoch", *typed))


def conjuncts(predicate: pl.Expr | None) -> list[pl.Expr]:
    """Take a condition apart into those that must all hold.

    >>> len(conjuncts((pl.col("a") > 1) & (pl.col("b") | pl.col("c")) & pl.col("d")))
    3
    """
    if predicate is None:
        return []
    inputs = predicate.meta.pop()
    match inputs:
        case [right, left] if (left & right).meta.eq(predicate):
            return [*conjuncts(left), *conjuncts(right)]
        case _:
            return [predicate]


def _typed(rows: pl.DataFrame, name: str, kind: pl.DataType) -> pl.Expr:
    """Give a column the type that it has among all learners: a batch may have none of it, or only numbers."""
    if name not in rows.columns:
        return pl.lit(None, kind).alias(name)
    if kind == _VECTOR and rows.schema[name] != _VECTOR:
        return pl.when(pl.col(name).is_not_null()).then(pl.concat_list(name)).alias(name)
    return pl.col(name)

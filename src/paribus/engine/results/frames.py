"""Results as polars frames: one row per learner, or one per learner and step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import polars as pl
import polars.selectors as cs

from paribus.engine.learners.collection import collection_paused
from paribus.engine.learners.configuration import Configuration, describe
from paribus.engine.learners.designs import Cell, Level
from paribus.engine.planning.known import Known
from paribus.engine.planning.plan import Plan, Planned
from paribus.engine.planning.segments import Segment
from paribus.interventions.schedules import LearningRateSchedule

_WINDOW = 2


@final
@dataclass(frozen=True)
class History:
    """What is known of one learner.

    Attributes:
        key: Its key.
        status: ``done``, ``pruned``, ``diverged``, ``failed`` or ``missing``.
        error: The exception's last line, where it failed.
        traceback: The whole traceback, where it failed.
        step: The step at which it was pruned.
    """

    key: str
    status: str
    error: str = ""
    traceback: str = ""
    step: int | None = None


def histories(cells: Sequence[Cell], plan: Plan, known: Known) -> list[History]:
    """Tell how each learner ended.

    Args:
        cells: The learners.
        plan: Their paths.
        known: What the store holds of their trajectories.
    """
    return [
        _history(learner, plan.segments, cell.configuration, known)
        for cell, learner in zip(cells, plan.learners, strict=True)
    ]


def _history(
    learner: Planned, segments: Sequence[Segment], configuration: Configuration, known: Known
) -> History:
    """Tell how a learner ended, from the records on its path and the one that knows its last state."""
    key, stop = learner.key, learner.stop
    if stop is not None and stop.pruned:
        return History(key, "pruned", step=stop.step)
    last = known.record(key, configuration.family, configuration.total)
    told: Any = None if last is None else last.body
    if last is not None and last.status == "done":
        passed_through = last.key != key
        return History(key, "done" if passed_through or told["finite"] else "diverged")
    path = (segments[place].key for place in learner.path)
    found = [known.records[each] for each in path if each in known.records]
    if any(record.status == "diverged" for record in found):
        return History(key, "diverged")
    for record in found:
        if record.status == "failed":
            told = record.body
            return History(key, "failed", told.get("error", ""), told.get("traceback", ""))
    return History(key, "missing")


@collection_paused()
def results_frame(cells: Sequence[Cell], known: Sequence[History], recorded: pl.DataFrame) -> pl.DataFrame:
    """Make one row per learner: its status, its levels, and the scalar metrics at its last step."""
    totals = _each(cells, "total")
    ends = learner_frame(cells, known).with_columns(step=totals)
    last = recorded["step"] == totals.gather(recorded["learner"])
    scalars = recorded.select("learner", "step", cs.float()).filter(last)
    joined = ends.join(scalars, on=["learner", "step"], how="left", maintain_order="left")
    return joined.drop("step")


@collection_paused()
def tidy_frame(cells: Sequence[Cell], known: Sequence[History], recorded: pl.DataFrame) -> pl.DataFrame:
    """Make one row per learner and recorded step; a metric is null at steps where it was not recorded."""
    return beside(learner_frame(cells, known), timed_rows(cells, recorded))


def timed_rows(cells: Sequence[Cell], recorded: pl.DataFrame) -> pl.DataFrame:
    """Add epochs to what was recorded, by learner and step."""
    # numpy divides; polars would multiply by the reciprocal, and be off in the last bit.
    learners, steps = recorded["learner"].to_numpy(), recorded["step"].to_numpy()
    epochs = steps / _each(cells, "steps_per_epoch").to_numpy()[learners]
    for index, course in ((i, c.configuration.course) for i, c in enumerate(cells) if c.configuration.varies):
        own = learners == index
        epochs[own] = [course.epoch(step) for step in steps[own].tolist()]
    return recorded.clone().insert_column(2, pl.Series("epoch", epochs, dtype=pl.Float64))


def beside(ends: pl.DataFrame, timed: pl.DataFrame) -> pl.DataFrame:
    """Put each learner's levels beside its rows, in the order of learners; one without rows has a null one.

    A join would do the same, at ten times the cost.
    """
    learners = timed["learner"].to_numpy()
    counts = np.bincount(learners, minlength=ends.height)
    own = timed.drop("learner")
    if not counts.all():
        rows = np.repeat(np.arange(ends.height), np.maximum(counts, 1))
        there = counts[rows] > 0
        places = pl.select(pl.when(pl.Series(there)).then(pl.Series(np.cumsum(there) - 1))).to_series()
        return ends[rows].hstack(own.select(pl.all().gather(places)))
    return ends[learners].hstack(own)


def with_pairs(recorded: pl.DataFrame, rows: Mapping[int, Mapping[int, Mapping[str, Any]]]) -> pl.DataFrame:
    """Join values of pair metrics, by learner and step, to what was recorded."""
    flat = [(learner, step, row) for learner, steps in rows.items() for step, row in steps.items()]
    if not flat:
        return recorded
    columns = pair_columns(rows)
    pairs = pl.DataFrame(
        {
            "learner": pl.Series([learner for learner, _, _ in flat], dtype=pl.Int64),
            "step": pl.Series([step for _, step, _ in flat], dtype=pl.Int64),
            **columns,
        }
    )
    both = recorded.drop(name for name in columns if name in recorded.columns)
    return both.join(pairs, on=["learner", "step"], how="full", coalesce=True).sort("learner", "step")


def pair_columns(rows: Mapping[int, Mapping[int, Mapping[str, Any]]]) -> dict[str, pl.Series]:
    """Return the values of pair metrics as columns, by learner and step."""
    flat = [row for steps in rows.values() for row in steps.values()]
    names = dict.fromkeys(name for row in flat for name in row)
    return {name: _metric_column([row.get(name) for row in flat]) for name in names}


def of_learner(recorded: pl.DataFrame, index: int) -> pl.DataFrame:
    """Return what was recorded of one learner, as that of learner 0, without the values that it never had."""
    own = recorded.filter(pl.col("learner") == index).with_columns(learner=pl.lit(0, pl.Int64))
    return own.select(name for name in own.columns if not own.height or own[name].count())


def learner_frame(cells: Sequence[Cell], known: Sequence[History]) -> pl.DataFrame:
    """Make one row per learner: its key, its status, and its levels."""
    adaptive = [cell.adaptive for cell in cells]
    marked = {"adaptive": pl.Series(adaptive)} if any(adaptive) else {}
    if any(history.status == "pruned" for history in known):
        marked["pruned"] = pl.Series([history.step for history in known], dtype=pl.Int64)
    return pl.DataFrame(
        {
            "learner": pl.Series(range(len(cells)), dtype=pl.Int64),
            "key": pl.Series([history.key for history in known], dtype=pl.String),
            "status": pl.Series([history.status for history in known], dtype=pl.String),
            **marked,
            **level_columns(cells),
        }
    )


def _each(cells: Sequence[Cell], name: str) -> pl.Series:
    return pl.Series([getattr(cell.configuration, name) for cell in cells], dtype=pl.Int64)


def _metric_column(values: list[Any]) -> pl.Series:
    vector = any(isinstance(value, list) for value in values)
    return pl.Series(values, dtype=pl.List(pl.Float64) if vector else pl.Float64)


def level_columns(cells: Sequence[Cell]) -> dict[str, pl.Series]:
    """Return each factor's parameters as typed columns, null where a cell has no such level."""
    values = {id(level): printed(level) for level in distinct_levels(cells)}
    names = dict.fromkeys(name for value in values.values() for name in value)
    columns: dict[str, list[object]] = {name: [None] * len(cells) for name in names}
    for row, cell in enumerate(cells):
        for level in cell.levels:
            for name, value in values[id(level)].items():
                columns[name][row] = value
    return {name: _level_column(column) for name, column in columns.items()}


def distinct_levels(cells: Sequence[Cell]) -> list[Level]:
    """List the levels of some cells, each once: a grid of 100,000 cells has a few hundred."""
    return list({id(level): level for cell in cells for level in cell.levels}.values())


def printed(level: Level) -> dict[str, object]:
    """Return a level's parameters that the user wrote, as values of a table, by column name."""
    parameters = level.intervention.parameters()
    return {f"{level.factor}.{name}": _printable(parameters[name]) for name in level.given}


def _printable(value: object) -> object:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case tuple() if len(value) == _WINDOW and all(isinstance(v, int | None) for v in value):
            start, stop = value
            return f"{start}–{'end' if stop is None else stop}"
        case LearningRateSchedule():
            return repr(value)
        case _:
            return str(describe(value))


def _level_column(values: list[object]) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pl.Series([None if value is None else float(value) for value in values])  # type: ignore[arg-type]
    if len(kinds) > 1:
        return pl.Series([None if value is None else str(value) for value in values])
    return pl.Series(values)

"""Results as polars frames: one row per learner, or one per learner and step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import polars as pl
import polars.selectors as cs

from paribus.engine.learners.configuration import Configuration, describe
from paribus.engine.learners.designs import Cell, Level
from paribus.engine.planning.known import Known
from paribus.engine.planning.plan import Plan
from paribus.interventions.schedules import LearningRateSchedule

_WINDOW = 2


@final
@dataclass(frozen=True)
class History:
    """What is known of one learner.

    Attributes:
        key: Its key.
        status: ``done``, ``diverged``, ``failed`` or ``missing``.
        error: The exception's last line, where it failed.
        traceback: The whole traceback, where it failed.
    """

    key: str
    status: str
    error: str = ""
    traceback: str = ""


def histories(cells: Sequence[Cell], plan: Plan, known: Known) -> list[History]:
    """Tell how each learner ended.

    Args:
        cells: The learners.
        plan: Their paths.
        known: What the store holds of their trajectories.
    """
    return [
        _history([plan.segments[place].key for place in learner.path], cell.configuration, known)
        for cell, learner in zip(cells, plan.learners, strict=True)
    ]


def _history(path: Sequence[str], configuration: Configuration, known: Known) -> History:
    """Tell how a learner ended, from the records on its path and the one that knows its last state."""
    key = path[-1]
    last = known.record(key, configuration.family, configuration.total)
    told: Any = None if last is None else last.body
    if last is not None and last.status == "done":
        passed_through = last.key != key
        return History(key, "done" if passed_through or told["finite"] else "diverged")
    found = [known.records[each] for each in path if each in known.records]
    if any(record.status == "diverged" for record in found):
        return History(key, "diverged")
    for record in found:
        if record.status == "failed":
            told = record.body
            return History(key, "failed", told.get("error", ""), told.get("traceback", ""))
    return History(key, "missing")


def results_frame(cells: Sequence[Cell], known: Sequence[History], recorded: pl.DataFrame) -> pl.DataFrame:
    """Make one row per learner: its status, its levels, and the scalar metrics at its last step."""
    ends = _learner_frame(cells, known).with_columns(step=_each(cells, "total"))
    scalars = recorded.select("learner", "step", cs.float())
    joined = ends.join(scalars, on=["learner", "step"], how="left", maintain_order="left")
    return joined.drop("step")


def tidy_frame(cells: Sequence[Cell], known: Sequence[History], recorded: pl.DataFrame) -> pl.DataFrame:
    """Make one row per learner and recorded step; a metric is null at steps where it was not recorded."""
    # numpy divides; polars would multiply by the reciprocal, and be off in the last bit.
    learners, steps = recorded["learner"].to_numpy(), recorded["step"].to_numpy()
    epochs = steps / _each(cells, "steps_per_epoch").to_numpy()[learners]
    for index, course in ((i, c.configuration.course) for i, c in enumerate(cells) if c.configuration.varies):
        own = learners == index
        epochs[own] = [course.epoch(step) for step in steps[own].tolist()]
    timed = recorded.clone().insert_column(2, pl.Series("epoch", epochs, dtype=pl.Float64))
    return _learner_frame(cells, known).join(timed, on="learner", how="left", maintain_order="left_right")


def with_pairs(recorded: pl.DataFrame, rows: Mapping[int, Mapping[int, Mapping[str, Any]]]) -> pl.DataFrame:
    """Join values of pair metrics, by learner and step, to what was recorded."""
    flat = [(learner, step, row) for learner, steps in rows.items() for step, row in steps.items()]
    if not flat:
        return recorded
    names = dict.fromkeys(name for _, _, row in flat for name in row)
    pairs = pl.DataFrame(
        {
            "learner": pl.Series([learner for learner, _, _ in flat], dtype=pl.Int64),
            "step": pl.Series([step for _, step, _ in flat], dtype=pl.Int64),
            **{name: _metric_column([row.get(name) for _, _, row in flat]) for name in names},
        }
    )
    both = recorded.drop(name for name in names if name in recorded.columns)
    return both.join(pairs, on=["learner", "step"], how="full", coalesce=True).sort("learner", "step")


def of_learner(recorded: pl.DataFrame, index: int) -> pl.DataFrame:
    """Return what was recorded of one learner, as that of learner 0, without the values that it never had."""
    own = recorded.filter(pl.col("learner") == index).with_columns(learner=pl.lit(0, pl.Int64))
    return own.select(name for name in own.columns if not own.height or own[name].count())


def _learner_frame(cells: Sequence[Cell], known: Sequence[History]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "learner": pl.Series(range(len(cells)), dtype=pl.Int64),
            "key": pl.Series([history.key for history in known], dtype=pl.String),
            "status": pl.Series([history.status for history in known], dtype=pl.String),
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
    rows = [{n: v for level in cell.levels for n, v in values[id(level)].items()} for cell in cells]
    names = dict.fromkeys(name for value in values.values() for name in value)
    return {name: _level_column([row.get(name) for row in rows]) for name in names}


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

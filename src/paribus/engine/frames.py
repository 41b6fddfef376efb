"""Results as polars frames: one row per learner, or one per learner and step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import polars as pl

from paribus.engine.configuration import describe
from paribus.engine.designs import Cell, Level
from paribus.engine.ledger import by_state, learner_rows
from paribus.engine.plan import Plan
from paribus.interventions.schedules import LearningRateSchedule
from paribus.store import Record

_WINDOW = 2


@final
@dataclass(frozen=True)
class History:
    """What is known of one learner.

    Attributes:
        key: Its key.
        status: ``done``, ``diverged``, ``failed`` or ``missing``.
        rows: What was recorded, by step.
        total: Length of its run in steps.
        steps_per_epoch: Steps in one epoch.
        error: The exception's last line, where it failed.
        traceback: The whole traceback, where it failed.
    """

    key: str
    status: str
    rows: Mapping[int, Mapping[str, Any]]
    total: int
    steps_per_epoch: int
    error: str = ""
    traceback: str = ""


def histories(
    cells: Sequence[Cell],
    plan: Plan,
    records: Mapping[str, Record],
    digests: Mapping[str, str],
    extra: Mapping[int, Mapping[int, Mapping[str, Any]]],
) -> list[History]:
    """Gather what the store's records say of each learner.

    Args:
        cells: The learners.
        plan: Their paths, and the steps at which metrics are theirs.
        records: What the store holds of their trajectories.
        digests: The digest of each metric by name, in hex.
        extra: Values of pair metrics, by learner and step.
    """
    gathered = []
    known = by_state(records)
    for index, (cell, learner, due) in enumerate(zip(cells, plan.learners, plan.due, strict=True)):
        configuration = cell.configuration
        keys = [plan.segments[place].key for place in learner.path]
        status, told = _status([records[key] for key in keys if key in records], known.get(learner.key))
        rows = learner_rows([known[k] for k in (configuration.key(0), *keys) if k in known], due, digests)
        for step, values in extra.get(index, {}).items():
            rows.setdefault(step, {}).update(values)
        error, traceback = (
            (told.get("error", ""), told.get("traceback", "")) if status == "failed" else ("", "")
        )
        gathered.append(
            History(
                learner.key,
                status,
                dict(sorted(rows.items())),
                configuration.total,
                configuration.steps_per_epoch,
                error,
                traceback,
            )
        )
    return gathered


def _status(found: Sequence[Record], last: Record | None) -> tuple[str, Mapping[str, Any]]:
    """Tell how a learner ended, from the records on its path and the one that knows its last state."""
    if last is None or last.status != "done":  # what failed on the way and was passed since is no failure
        for wanted in ("diverged", "failed"):
            for record in found:
                if record.status == wanted:
                    body: Any = record.body
                    return wanted, body
    if last is None:
        return "missing", {}
    told: Any = last.body
    passed_through = not found or found[-1] is not last
    return ("done" if passed_through or told["finite"] else "diverged"), told


def results_frame(cells: Sequence[Cell], known: Sequence[History]) -> pl.DataFrame:
    """Make one row per learner: its status, its levels, and the scalar metrics at its last step."""
    finals = [_scalars(history.rows.get(history.total, {})) for history in known]
    columns = {
        "learner": pl.Series(range(len(cells)), dtype=pl.Int64),
        "key": pl.Series([history.key for history in known], dtype=pl.String),
        "status": pl.Series([history.status for history in known], dtype=pl.String),
        **level_columns(cells),
    }
    names = dict.fromkeys(
        name for history in known for row in history.rows.values() for name in _scalars(row)
    )
    for name in names:
        columns[name] = pl.Series([final.get(name) for final in finals], dtype=pl.Float64)
    return pl.DataFrame(columns)


def tidy_frame(cells: Sequence[Cell], known: Sequence[History]) -> pl.DataFrame:
    """Make one row per learner and recorded step; a metric is null at steps where it was not recorded."""
    index, steps, epochs, rows = [], [], [], []
    for learner, history in enumerate(known):
        for step, row in history.rows.items():
            index.append(learner)
            steps.append(step)
            epochs.append(step / history.steps_per_epoch)
            rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    recorded = pl.DataFrame(
        {
            "learner": pl.Series(index, dtype=pl.Int64),
            "step": pl.Series(steps, dtype=pl.Int64),
            "epoch": pl.Series(epochs, dtype=pl.Float64),
            **{name: _metric_column([row.get(name) for row in rows]) for name in names},
        }
    )
    levels = pl.DataFrame(
        {
            "learner": pl.Series(range(len(cells)), dtype=pl.Int64),
            "key": pl.Series([history.key for history in known], dtype=pl.String),
            "status": pl.Series([history.status for history in known], dtype=pl.String),
            **level_columns(cells),
        }
    )
    return levels.join(recorded, on="learner", how="left", maintain_order="left_right")


def _metric_column(values: list[Any]) -> pl.Series:
    vector = any(isinstance(value, list) for value in values)
    return pl.Series(values, dtype=pl.List(pl.Float64) if vector else pl.Float64)


def _scalars(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if not isinstance(value, list)}


def level_columns(cells: Sequence[Cell]) -> dict[str, pl.Series]:
    """Return each factor's parameters as typed columns, null where a cell has no such level."""
    found: dict[str, dict[int, object]] = {}
    for row, cell in enumerate(cells):
        for level in cell.levels:
            for name, value in printed(level).items():
                found.setdefault(name, {})[row] = value
    return {
        name: _level_column([values.get(row) for row in range(len(cells))]) for name, values in found.items()
    }


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

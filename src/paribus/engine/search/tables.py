"""Trials as frames: all of them, the best, and those on the front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from paribus.engine.learners.configuration import describe
from paribus.engine.search.studies import Study
from paribus.engine.search.trials import Trial


def trials_frame(
    trials: Sequence[Trial],
    studies: Sequence[Study],
    values: Mapping[str, Sequence[float | None]],
    learners: Mapping[str, int],
) -> pl.DataFrame:
    """Make one row per trial: study, cell, trial, status, dimensions, metrics, learners.

    Args:
        trials: The trials.
        studies: Their studies.
        values: For each metric, the value of each trial.
        learners: The index of each learner by its key.
    """
    arms = [studies[trial.study].arms[trial.suggestion.arm] for trial in trials]
    names = dict.fromkeys(name for study in studies for arm in study.arms for name in arm.space)
    indices = [[learners[cell.configuration.key()] for cell in trial.cells] for trial in trials]
    return pl.DataFrame(
        {
            "study": pl.Series([trial.study for trial in trials], dtype=pl.Int64),
            "cell": pl.Series([arm.label for arm in arms], dtype=pl.String),
            "trial": pl.Series([trial.number for trial in trials], dtype=pl.Int64),
            "status": pl.Series([trial.status for trial in trials], dtype=pl.String),
            **{name: _column([trial.suggestion.values.get(name) for trial in trials]) for name in names},
            **{name: pl.Series(column, dtype=pl.Float64) for name, column in values.items()},
            "learners": pl.Series(indices, dtype=pl.List(pl.Int64)),
        }
    )


def fronts(frame: pl.DataFrame, directions: Mapping[str, str | None]) -> pl.DataFrame:
    """Keep, of each study, the trials that no other one is better than in all metrics.

    Args:
        frame: What `trials_frame` makes.
        directions: ``"minimize"`` or ``"maximize"`` by metric.
    """
    done = frame.filter(pl.col("status") == "done").drop_nulls(list(directions))
    signs = np.array([-1.0 if direction == "maximize" else 1.0 for direction in directions.values()])
    kept = [
        study.filter(pl.Series(_undominated(study.select(directions.keys()).to_numpy() * signs)))
        for study in done.partition_by("study", maintain_order=True)
    ]
    return pl.concat(kept) if kept else done


def _undominated(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell for each row of (trials, metrics), to be small, whether no other is as good in all and better."""
    return np.array(
        [not ((values <= row).all(axis=1) & (values < row).any(axis=1)).any() for row in values], np.bool_
    )


def _column(values: Sequence[object]) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and len(kinds) == 2:
        return pl.Series(values, dtype=pl.Float64, strict=False)
    if len(kinds) == 1 and kinds <= {int, float, str, bool}:
        return pl.Series(values)
    return pl.Series([None if value is None else str(describe(value)) for value in values], dtype=pl.String)

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from analysis_cases import ACCURACY, INIT, INITS, learners
from scipy import stats

from paribus.analysis import Factor, aggregate, profile
from paribus.errors import AnalysisError

KIND, TASKS = "Opt.kind", ("digits", "letters", "faces")
FACTORS = [Factor("Opt", (KIND,)), INITS]


def several(
    rng: np.random.Generator, effects: dict[str, float], runs: int = 8, metric: str = ACCURACY
) -> pl.DataFrame:
    cells = [(task, kind, seed) for task in TASKS for kind in effects for seed in range(runs)]
    return learners(
        {"task": task, KIND: kind, INIT: seed, metric: 0.5 + effects[kind] + rng.normal(0, 0.05)}
        for task, kind, seed in cells
    )


def test_planted_truth_the_interquartile_mean_is_that_of_the_middle_half() -> None:
    results = several(np.random.default_rng(0), {"sgd": 0.0, "adam": 0.1})
    row = aggregate(results, ACCURACY, FACTORS, task="task").frame.row(0, named=True)
    values = results.filter(pl.col(KIND) == "sgd")[ACCURACY].to_numpy()
    assert row["iqm"] == pytest.approx(np.sort(values)[6:18].mean())
    assert row["iqm"] == pytest.approx(stats.trim_mean(values, 0.25))
    assert (row["tasks"], row["n"], row["of"]) == (3, 24, 24)
    assert row["low"] < row["iqm"] < row["high"]


def test_planted_truth_the_bootstrap_covers() -> None:
    """A percentile bootstrap of 3 × 8 runs covers a little less than it states; far less would be a fault."""
    trials, covered, rng = 200, 0, np.random.default_rng(1)
    for _ in range(trials):
        row = aggregate(several(rng, {"sgd": 0.0}), ACCURACY, FACTORS, task="task").frame.row(0, named=True)
        covered += row["low"] <= 0.5 <= row["high"]
    assert covered > 0.90 * trials - 4 * math.sqrt(trials * 0.90 * 0.10)


def test_a_quarter_may_diverge() -> None:
    results = several(np.random.default_rng(2), {"sgd": 0.0, "lion": 0.1}).with_columns(
        pl.when((pl.col(KIND) == "lion") & (pl.col(INIT) < 2))
        .then(pl.lit("diverged"))
        .otherwise("status")
        .alias("status")
    )
    table = aggregate(results, ACCURACY, FACTORS, task="task")
    row = table.frame.row(1, named=True)
    assert (row["n"], row["of"], row["mean"]) == (18, 24, None)
    assert row["iqm"] == pytest.approx(0.6, abs=0.06)
    assert any("6 of 48 runs diverged" in note for note in table.notes)
    assert profile(results, ACCURACY, FACTORS, task="task").frame.filter(pl.col(KIND) == "lion")[
        "share"
    ].max() == pytest.approx(0.75)


def test_more_than_half_lost_has_no_mean() -> None:
    results = several(np.random.default_rng(3), {"sgd": 0.0}).with_columns(
        pl.when(pl.col(INIT) < 5).then(pl.lit("failed")).otherwise("status").alias("status")
    )
    row = aggregate(results, ACCURACY, FACTORS, task="task").frame.row(0, named=True)
    assert row["iqm"] is row["mean"] is row["low"] is None


def test_a_scale_makes_tasks_comparable() -> None:
    results = several(np.random.default_rng(4), {"sgd": 0.0}).with_columns(
        pl.when(pl.col("task") == "faces").then(pl.col(ACCURACY) * 100).otherwise(ACCURACY).alias(ACCURACY)
    )
    scale = dict.fromkeys(TASKS, (0.0, 1.0)) | {"faces": (0.0, 100.0)}
    table = aggregate(results, ACCURACY, FACTORS, task="task", scale=scale)
    assert table.frame["iqm"].item() == pytest.approx(0.5, abs=0.05)
    assert not any("not normalised" in note for note in table.notes)
    with pytest.raises(AnalysisError, match="no range for the task 'faces'"):
        aggregate(results, ACCURACY, FACTORS, task="task", scale={"digits": (0, 1), "letters": (0, 1)})


@pytest.mark.parametrize(("metric", "better"), [(ACCURACY, "adam"), ("test/loss", "sgd")])
def test_a_profile_falls_and_the_better_one_lies_above(metric: str, better: str) -> None:
    frame = profile(
        several(np.random.default_rng(5), {"sgd": 0.0, "adam": 0.2}, metric=metric),
        metric,
        FACTORS,
        task="task",
    ).frame
    curves = {kind: frame.filter(pl.col(KIND) == kind)["share"].to_numpy() for kind in ("sgd", "adam")}
    other = "sgd" if better == "adam" else "adam"
    assert (curves[better] >= curves[other]).all()
    steps = np.diff(curves[better]) * (-1 if metric == ACCURACY else 1)
    assert (steps >= 0).all()
    assert ((frame["low"] <= frame["share"]) & (frame["share"] <= frame["high"])).mean() > 0.95


def test_a_task_may_be_a_factor() -> None:
    results = several(np.random.default_rng(6), {"sgd": 0.0, "adam": 0.1})
    factors = [*FACTORS, Factor("Data", ("task",))]
    assert aggregate(results, ACCURACY, factors, task="task").frame[KIND].to_list() == ["sgd", "adam"]


def test_seeds_alone_make_one_row() -> None:
    results = several(np.random.default_rng(7), {"sgd": 0.0})
    assert aggregate(results, ACCURACY, [INITS], task="task").frame.height == 1


def test_an_unknown_task_column_is_named() -> None:
    with pytest.raises(AnalysisError, match="did you mean 'task'"):
        aggregate(several(np.random.default_rng(8), {"sgd": 0.0}), ACCURACY, FACTORS, task="tasks")

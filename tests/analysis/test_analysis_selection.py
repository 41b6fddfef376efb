"""What may choose, and what is said of learners that a sampler placed or that ran elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from analysis_cases import ACCURACY, EPSILON, INIT, INITS, PLAIN_PERTURB, paired

from paribus.analysis import aggregate, anova, at_best, compare, leave_one_out, tuned, variance
from paribus.errors import AnalysisError

VALIDATION = "validation/accuracy"
FACTORS = [INITS, PLAIN_PERTURB]


def over_time() -> pl.DataFrame:
    steps = pl.DataFrame(
        {"step": [0, 1, 2, 3], VALIDATION: [0.1, 0.8, 0.8, 0.5], ACCURACY: [0.1, 0.7, 0.6, 0.9]}
    )
    return pl.DataFrame({"learner": [0, 1], "status": ["done", "done"]}).join(steps, how="cross")


def test_the_best_step_is_the_earliest_best_of_validation() -> None:
    assert at_best(over_time(), ACCURACY, by=VALIDATION).select("step", ACCURACY).rows() == [(1, 0.7)] * 2


def test_only_steps_with_the_metric_count() -> None:
    frame = over_time().with_columns(
        pl.when(pl.col("step") == 1).then(None).otherwise(ACCURACY).alias(ACCURACY)
    )
    assert at_best(frame, ACCURACY, by=VALIDATION)["step"].to_list() == [2, 2]


def test_a_learner_without_validation_keeps_its_row() -> None:
    frame = over_time().with_columns(
        pl.when(pl.col("learner") == 1).then(None).otherwise(VALIDATION).alias(VALIDATION)
    )
    assert at_best(frame, ACCURACY, by=VALIDATION).select("learner", ACCURACY).rows() == [(0, 0.7), (1, None)]


@pytest.mark.parametrize("by", ["test/loss", "train/accuracy", ACCURACY])
def test_only_validation_chooses(by: str) -> None:
    frame = over_time().with_columns(pl.lit(0.5).alias("test/loss"), pl.lit(0.5).alias("train/accuracy"))
    with pytest.raises(AnalysisError, match=r"cannot (both )?choose"):
        at_best(frame, ACCURACY, by=by)
    with pytest.raises(AnalysisError, match=r"cannot (both )?choose"):
        tuned(paired([0.1], 3, np.random.default_rng(0)), ACCURACY, FACTORS, over=[EPSILON], by=by)


ANALYSES: dict[str, Callable[..., Any]] = {
    "compare": compare,
    "anova": anova,
    "variance": variance,
    "leave_one_out": leave_one_out,
    "aggregate": lambda *rows, **options: aggregate(*rows, task="task", **options),
    "tuned": lambda *rows, **options: tuned(*rows, over=[EPSILON], by=VALIDATION, **options),
}


@pytest.mark.parametrize("name", ANALYSES)
def test_rows_of_adaptive_samplers_are_refused_unless_allowed(name: str) -> None:
    results = paired([0.1], 4, np.random.default_rng(0)).with_columns(
        pl.lit("one").alias("task"), pl.lit(0.5).alias(VALIDATION), (pl.col(INIT) == 0).alias("adaptive")
    )
    with pytest.raises(AnalysisError, match=r"adaptive sampler.*2 of 8 learners.*allow_adaptive=True"):
        ANALYSES[name](results, ACCURACY, FACTORS)
    table = ANALYSES[name](results, ACCURACY, FACTORS, allow_adaptive=True)
    assert any("adaptive sampler" in note for note in table.notes)
    plain = results.with_columns(pl.lit(value=False).alias("adaptive"))
    assert not any("adaptive" in note for note in ANALYSES[name](plain, ACCURACY, FACTORS).notes)


def test_pairs_across_environments_are_counted() -> None:
    results = paired([0.1], 4, np.random.default_rng(0))
    one = results.with_columns(pl.lit("torch 2.14").alias("environment"))
    assert not any("environment" in note for note in compare(one, ACCURACY, FACTORS).notes)
    two = one.with_columns(
        pl.when(pl.col("learner").is_in([1, 2]))
        .then(pl.lit("torch 2.15"))
        .otherwise("environment")
        .alias("environment")
    )
    (note,) = (note for note in compare(two, ACCURACY, FACTORS).notes if "environment" in note)
    assert "torch 2.14 (6); torch 2.15 (2)" in note
    assert "2 of 4 pairs are across them" in note

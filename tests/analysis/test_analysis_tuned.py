from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
from analysis_cases import ACCURACY, INIT, INITS, learners
from hypothesis import given, settings
from hypothesis import strategies as st

from paribus.analysis import Factor, tuned
from paribus.analysis.tuned import expected_best
from paribus.errors import AnalysisError

OPTIMIZER, RATE, VALIDATION = "SetOptimizer.optimizer", "SetOptimizer.lr", "val/accuracy"
FACTORS = [Factor("SetOptimizer", (OPTIMIZER, RATE)), INITS]
PLANTED = {("sgd", 0.1): 0.9, ("sgd", 0.01): 0.8, ("adam", 0.1): 0.5, ("adam", 0.01): 0.95}


def searched(noise: float = 0.001) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return learners(
        {
            OPTIMIZER: optimizer,
            RATE: rate,
            INIT: seed,
            VALIDATION: truth + 0.03 + rng.normal(0, noise),
            ACCURACY: truth + rng.normal(0, noise),
        }
        for ((optimizer, rate), truth), seed in itertools.product(PLANTED.items(), range(5))
    )


def test_planted_truth_each_condition_gets_its_own_best() -> None:
    frame = tuned(searched(), ACCURACY, FACTORS, over=[RATE], by=VALIDATION).frame
    assert frame.select(OPTIMIZER, RATE).rows() == [("sgd", 0.1), ("adam", 0.01)]
    assert frame["mean"].to_list() == pytest.approx([0.9, 0.95], abs=0.002)
    assert frame["n"].to_list() == [5, 5]
    assert frame["best of 1"].to_list() == pytest.approx([0.85, 0.725], abs=0.002)
    assert frame["best of 2"].to_list() == pytest.approx(frame["mean"].to_list())


def test_the_test_metric_has_no_say() -> None:
    flattered = searched().with_columns(
        pl.when(pl.col(RATE) == 0.01).then(0.99).otherwise(ACCURACY).alias(ACCURACY)
    )
    frame = tuned(flattered, ACCURACY, FACTORS, over=[RATE], by=VALIDATION).frame
    assert frame[RATE].to_list() == [0.1, 0.01]


def test_a_configuration_that_lost_a_learner_ranks_last() -> None:
    lossy = searched().with_columns(
        pl.when(pl.col("learner") == 0).then(pl.lit("diverged")).otherwise("status").alias("status")
    )
    table = tuned(lossy, ACCURACY, FACTORS, over=[RATE], by=VALIDATION)
    assert table.frame[RATE].to_list() == [0.01, 0.01]
    assert any("1 of 4 configurations lost a learner" in note for note in table.notes)


def test_tuning_over_everything_leaves_one_row() -> None:
    table = tuned(searched(), ACCURACY, FACTORS, over=[OPTIMIZER, RATE], by=VALIDATION)
    assert table.frame.select(OPTIMIZER, RATE).rows() == [("adam", 0.01)]
    assert "optimizer = adam, lr = 0.01" in str(table)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 6))
def test_the_expected_best_enumerates_all_draws(values: list[int], k: int) -> None:
    if k > len(values):
        assert expected_best(values, len(values), k) is None
        return
    draws = [values[min(draw)] for draw in itertools.combinations(range(len(values)), k)]
    assert expected_best(values, len(values), k) == pytest.approx(np.mean(draws))


def test_choosing_and_reporting_by_one_metric_is_refused() -> None:
    with pytest.raises(AnalysisError, match="cannot both choose and report"):
        tuned(searched(), ACCURACY, FACTORS, over=[RATE], by=ACCURACY)


def test_what_was_tuned_must_be_a_treatment() -> None:
    with pytest.raises(AnalysisError, match=r"did you mean 'SetOptimizer\.lr'"):
        tuned(searched(), ACCURACY, FACTORS, over=["SetOptimizer.lrr"], by=VALIDATION)

"""What is compared with what, where the user says so."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from analysis_cases import (
    ACCURACY,
    EPSILON,
    EPSILON_SEED,
    INIT,
    INITS,
    MOMENTUM,
    OPTIMIZER,
    PERTURB,
    learners,
)
from polars.testing import assert_frame_equal

from paribus.analysis import Factor, compare, sentences
from paribus.errors import AnalysisError

RATE, WHEN = "Decay.rate", "Decay.when"
DECAY = Factor("Decay", (RATE, WHEN))
FACTORS = [INITS, OPTIMIZER, DECAY]
ABSENT: dict[str, object] = {MOMENTUM: None, RATE: None, WHEN: None}
DECAYED = {RATE: 0.5, WHEN: "10–end"}


def one_at_a_time(gains: list[float], seeds: int = 8, noise: float = 0.01) -> pl.DataFrame:
    """An untouched learner, one whose rate decays (+0.02), and one of each momentum, alone, per block."""
    rng = np.random.default_rng(3)
    rows = []
    for seed, block in enumerate(rng.normal(0.9, 0.05, seeds)):
        rows.append(ABSENT | {INIT: seed, ACCURACY: block})
        rows.append(ABSENT | DECAYED | {INIT: seed, ACCURACY: block + 0.02})
        for momentum, gain in enumerate(gains):
            reached = block + gain + rng.normal(0, noise)
            rows.append(ABSENT | {INIT: seed, MOMENTUM: float(momentum), ACCURACY: reached})
    return learners(rows)


def test_planted_truth_treatments_of_two_factors_are_compared_at_the_stated_coverage() -> None:
    trials = 1000
    results = one_at_a_time([0.05] * trials)
    both = ("SetOptimizer", "Decay")
    frame = compare(results, ACCURACY, FACTORS, factor=both, against={RATE: 0.5}).frame
    assert frame["reference"].unique().to_list() == ["rate = 0.5, when = 10–end"]
    untouched, moved = frame.filter(pl.col(MOMENTUM).is_null()), frame.drop_nulls(MOMENTUM)
    assert untouched["difference"].to_list() == pytest.approx([-0.02])
    assert (moved["n"] == 8).all()
    covered = moved.filter(pl.lit(0.03).is_between("low", "high")).height
    assert abs(covered - 0.95 * trials) < 4 * math.sqrt(trials * 0.95 * 0.05)


def test_a_level_named_as_the_control_is_one_that_was_declared() -> None:
    rows = [
        {INIT: seed, EPSILON: epsilon, EPSILON_SEED: 0, MOMENTUM: momentum, ACCURACY: 0.9 - epsilon * seed}
        for seed in range(4)
        for momentum in (0.9, 0.99)
        for epsilon in (0.0, 0.1, 0.2)
    ]
    results = learners(rows)
    declared = Factor("PerturbWeights", (EPSILON,), (EPSILON_SEED,), control={EPSILON: 0.1})
    asked = compare(results, ACCURACY, [INITS, OPTIMIZER, PERTURB], against={EPSILON: 0.1})
    known = compare(results, ACCURACY, [INITS, OPTIMIZER, declared], factor="PerturbWeights")
    assert_frame_equal(asked.frame, known.frame)
    assert asked.frame["difference"].to_list() == pytest.approx([0.15, -0.15] * 2)


def test_one_factor_alone_is_compared_and_adjusted_for() -> None:
    results = one_at_a_time([0.05, 0.06])
    frame = compare(results, ACCURACY, FACTORS, factor="SetOptimizer").frame
    assert frame["factor"].unique().to_list() == ["SetOptimizer"]
    every = compare(results, ACCURACY, FACTORS).frame.filter(pl.col("factor") == "SetOptimizer")
    assert frame["p_t"].to_list() == every["p_t"].to_list()
    assert (frame["p_holm"] < every["p_holm"]).all(), "fewer comparisons are adjusted for"


def test_conditions_without_a_reference_are_counted_and_each_verdict_is_a_sentence() -> None:
    results = one_at_a_time([0.05, 0.06])
    third = Factor("Noise", ("Noise.share",))
    noisy = learners([ABSENT | {INIT: 0, "Noise.share": 0.1, ACCURACY: 0.5}])
    results = pl.concat(
        [results, noisy.with_columns(learner=pl.lit(99, dtype=pl.Int64))], how="diagonal_relaxed"
    )
    table = compare(
        results, ACCURACY, [*FACTORS, third], factor=["SetOptimizer", "Decay"], against={MOMENTUM: 1.0}
    )
    assert "One condition is left out: no learner at momentum = 1 is equal in all else." in table.notes
    said = sentences(table)
    assert len(said) == 3
    assert any(sentence.startswith("rate = 0.5 worsens") for sentence in said)


def test_what_the_reference_alone_has_is_told_too() -> None:
    both = ("SetOptimizer", "Decay")
    table = compare(one_at_a_time([0.05]), ACCURACY, FACTORS, factor=both, against={RATE: 0.5})
    assert table.cells.select("momentum", "rate").rows() == [("–", "–"), ("0", "–")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": "SetOptimiser"}, "did you mean 'SetOptimizer'"),
        ({"factor": "InitWeights"}, "no factor with a treatment"),
        ({"against": {}}, "names no level"),
        ({"against": {"Decay.rat": 1}}, "did you mean 'Decay.rate'"),
        ({"against": {RATE: 0.7}}, r"no learner is at rate = 0.7; there are rate = –; rate = 0.5"),
        ({"against": {RATE: "fast"}}, "values of their types"),
        (
            {"factor": "SetOptimizer", "against": {RATE: 0.5}},
            "a level of Decay, expected one of SetOptimizer",
        ),
        ({"against": {RATE: 0.5, WHEN: "10–end", MOMENTUM: 1.0}}, "no learner is at"),
    ],
    ids=["factor", "seeds", "empty", "column", "level", "type", "other", "nowhere"],
)
def test_what_cannot_be_compared_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        compare(one_at_a_time([0.05, 0.06]), ACCURACY, FACTORS, **options)

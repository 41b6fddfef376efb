from __future__ import annotations

import math
from collections.abc import Sequence

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
    PLAIN_PERTURB,
    first_snippet,
    learners,
    paired,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy import stats

from paribus.analysis import Table, compare, sentences
from paribus.analysis.inference import seeds_needed
from paribus.errors import AnalysisError

FACTORS = [INITS, PLAIN_PERTURB]


def only(table: Table) -> dict[str, object]:
    assert table.frame.height == 1
    return table.frame.row(0, named=True)


def from_differences(
    differences: Sequence[float | None], metric: str = ACCURACY, control: float = 0.5
) -> Table:
    """Compare one treatment over blocks with these differences; None: the treated learner diverged."""
    rows = []
    for seed, difference in enumerate(differences):
        rows.append({INIT: seed, EPSILON: 0.0, metric: control})
        lost = difference is None
        value = None if lost else control + difference
        rows.append({INIT: seed, EPSILON: 0.1, metric: value, "status": "diverged" if lost else "done"})
    return compare(learners(rows), metric, FACTORS)


# --- planted truth ---


def test_planted_truth_one_control_gives_three_conditions_of_ten_pairs() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.002, 10)
    table = compare(first_snippet(lambda e, s: 0.9 - 0.5 * e + noise[s] * (e > 0)), ACCURACY, [PERTURB])
    frame = table.frame
    assert frame[EPSILON].to_list() == [0.001, 0.01, 0.1]
    assert frame["n"].to_list() == frame["of"].to_list() == frame["pairs"].to_list() == [10, 10, 10]
    assert frame["difference"].to_list() == pytest.approx([noise.mean() - 0.5 * e for e in frame[EPSILON]])
    assert frame["verdict"][2] == "worsens"
    assert any("share one control" in note for note in table.notes)


def test_planted_truth_pairs_of_one_init_are_one_block() -> None:
    rng = np.random.default_rng(1)
    shift = dict(enumerate(rng.normal(0, 0.01, 50)))
    results = first_snippet(lambda e, s: 0.9 - e, inits=range(5)).with_columns(
        pl.col(ACCURACY) + pl.Series([rng.normal(0, 0.01) for _ in range(5 * 31)]) + shift[0]
    )
    table = compare(results, ACCURACY, [INITS, PERTURB])
    row = table.frame.row(0, named=True)
    assert (row["n"], row["of"], row["pairs"], row["pairs_of"]) == (5, 5, 50, 50)
    assert any("n counts blocks" in note for note in table.notes)
    pairs = table.contrast.pairs.filter(pl.col(EPSILON) == 0.001)
    means = pairs.group_by(INIT).agg(pl.col("difference").mean())["difference"].to_numpy()
    known = stats.ttest_1samp(means, 0)
    assert row["p_t"] == pytest.approx(known.pvalue)
    assert (row["low"], row["high"]) == pytest.approx(tuple(known.confidence_interval(0.95)))


@pytest.mark.parametrize("n", [3, 8])
def test_planted_truth_the_interval_covers_at_its_confidence(n: int) -> None:
    trials, effect = 1500, -0.02  # one table: the conditions' differences are independent of each other
    frame = compare(paired([effect] * trials, n, np.random.default_rng(n)), ACCURACY, FACTORS).frame
    covered = frame.filter(pl.lit(effect).is_between("low", "high")).height
    assert abs(covered - 0.95 * trials) < 4 * math.sqrt(trials * 0.95 * 0.05)


def test_planted_truth_the_interval_covers_where_learners_are_lost() -> None:
    trials, effect, rng = 1500, 0.03, np.random.default_rng(12)
    results = paired([effect] * trials, 10, rng)
    fate = rng.choice(["done", "diverged", "failed"], results.height, p=(0.7, 0.2, 0.1))
    kept = pl.Series(rng.random(results.height) < 0.9) | (results[EPSILON] == 0)
    lossy = results.with_columns(
        status=pl.when(pl.col(EPSILON) == 0).then(pl.lit("done")).otherwise(pl.Series(fate))
    ).filter(kept)
    frame = compare(lossy, ACCURACY, FACTORS).frame.filter(pl.col("n") > 1)
    assert frame["n"].mean() == pytest.approx(10 * 0.7 * 0.9, rel=0.05)
    assert (frame["n"] + frame["diverged"] + frame["failed"] == frame["of"]).all()
    covered = frame.filter(pl.lit(effect).is_between("low", "high")).height
    assert abs(covered - 0.95 * frame.height) < 4 * math.sqrt(frame.height * 0.95 * 0.05)


def test_planted_truth_the_seeds_that_it_names_find_the_effect() -> None:
    trials, effect, noise = 1500, 0.008, 0.01
    n = seeds_needed(effect, noise, 0.05)
    assert n is not None
    frame = compare(
        paired([effect] * trials, n, np.random.default_rng(13), noise=noise), ACCURACY, FACTORS
    ).frame
    found = frame.filter(pl.col("p_t") <= 0.05).height
    assert (
        abs(found - 0.8 * trials) < 4 * math.sqrt(trials * 0.8 * 0.2) + 0.02 * trials
    )  # the formula is rounded


def test_planted_truth_the_family_wise_error_is_held() -> None:
    trials, rng = 150, np.random.default_rng(7)
    wrong = 0
    for _ in range(trials):
        verdicts = compare(paired([0.0] * 8, 6, rng), ACCURACY, FACTORS).frame["verdict"]
        wrong += any(verdict in ("improves", "worsens") for verdict in verdicts)
    assert wrong < 0.05 * trials + 4 * math.sqrt(trials * 0.05 * 0.95)


def test_planted_truth_effects_are_found_and_nulls_are_not() -> None:
    rng = np.random.default_rng(11)
    frame = compare(paired([-0.05, 0.0, 0.05], 20, rng), ACCURACY, FACTORS).frame
    assert frame["verdict"][0] == "worsens"
    assert frame["verdict"][1].startswith("inconclusive (")
    assert frame["verdict"][2] == "improves"


def test_planted_truth_pairing_takes_the_blocks_out() -> None:
    rng = np.random.default_rng(5)
    results = paired([-0.02], 400, rng, block_sd=0.05, noise=0.01)
    assert only(compare(results, ACCURACY, FACTORS))["pairing_gain"] == pytest.approx(51, rel=0.3)


# --- what is said when ---


def test_identical_learners_are_called_identical() -> None:
    row = only(from_differences([0.0] * 5))
    assert row["verdict"] == "identical"
    assert (row["difference"], row["p_sign_flip"], row["low"]) == (0.0, 1.0, None)


def test_equal_differences_are_judged_by_their_signs() -> None:
    assert only(from_differences([0.01] * 3))["verdict"] == "inconclusive"
    assert only(from_differences([0.01] * 10))["verdict"] == "improves"


def test_one_pair_has_no_interval() -> None:
    row = only(from_differences([0.1]))
    assert row["verdict"] == "one pair: no interval"
    assert row["difference"] == pytest.approx(0.1)
    assert row["low"] is row["p_t"] is row["p_holm"] is row["sd"] is row["d_z"] is None


def test_divergence_is_counted_ranked_worst_and_told() -> None:
    row = only(from_differences([0.1, 0.12, 0.11, 0.1, None]))
    assert (row["n"], row["of"], row["diverged"]) == (4, 5, 1)
    assert row["p_better"] == pytest.approx(4 / 5)
    assert row["difference"] == pytest.approx(0.1075)
    assert row["verdict"] == "improves; 1 of 5 diverged"


def test_divergence_everywhere_worsens() -> None:
    row = only(from_differences([None] * 4))
    assert row["verdict"] == "worsens; 4 of 4 diverged"
    assert (row["n"], row["difference"], row["p_better"]) == (0, None, 0.0)


def test_a_diverged_control_loses_to_who_ended_well() -> None:
    results = learners(
        [
            {INIT: 0, EPSILON: 0.0, ACCURACY: None, "status": "diverged"},
            {INIT: 0, EPSILON: 0.1, ACCURACY: 0.1},
            {INIT: 1, EPSILON: 0.0, ACCURACY: None, "status": "diverged"},
            {INIT: 1, EPSILON: 0.1, ACCURACY: None, "status": "diverged"},
        ]
    )
    row = only(compare(results, ACCURACY, FACTORS))
    assert row["p_better"] == 0.75
    assert row["verdict"] == "no pair to compare; 1 of 2 diverged"


def test_failed_and_missing_learners_are_counted() -> None:
    rng = np.random.default_rng(2)
    results = paired([0.1], 6, rng).with_columns(
        pl.when(pl.col("learner") == 1)
        .then(pl.lit("failed"))
        .when(pl.col("learner") == 3)
        .then(pl.lit("missing"))
        .otherwise("status")
        .alias("status")
    )
    table = compare(results, ACCURACY, FACTORS)
    row = only(table)
    assert (row["n"], row["of"], row["failed"], row["missing"]) == (4, 6, 1, 1)
    assert row["verdict"] == "improves; 1 of 6 failed; 1 of 6 missing"
    assert row["p_better"] == pytest.approx(4 / 5)  # the failed one is worst; the missing one says nothing
    assert "4/6" in str(table)
    assert any(note.startswith("2 of 6 pairs have no difference") for note in table.notes)


def test_a_missing_control_is_a_lost_pair() -> None:
    results = paired([0.1], 5, np.random.default_rng(3)).filter(pl.col("learner") != 0)
    row = only(compare(results, ACCURACY, FACTORS))
    assert (row["n"], row["of"], row["pairs_of"]) == (4, 5, 5)


def test_lower_is_better_for_losses() -> None:
    assert only(from_differences([-0.1, -0.11, -0.12], metric="test/loss"))["verdict"] == "improves"
    assert only(from_differences([-0.1, -0.11, -0.12], metric="test/loss"))["p_better"] == 1.0


def test_equivalence_needs_a_margin_and_the_data_for_it() -> None:
    rng = np.random.default_rng(4)
    results = paired([0.0005], 20, rng, noise=0.002)
    assert only(compare(results, ACCURACY, FACTORS))["verdict"].startswith("inconclusive")
    assert only(compare(results, ACCURACY, FACTORS, margin=0.01))["verdict"] == "equivalent"
    assert only(compare(results, ACCURACY, FACTORS, margin=0.0005))["verdict"].startswith("inconclusive")


def test_inconclusive_names_the_seeds_that_it_would_take() -> None:
    row = only(from_differences([0.03, -0.02, 0.04, -0.01]))
    n = int(row["verdict"].removeprefix("inconclusive (≈ ").removesuffix(" seeds needed)"))
    assert n > 4


def test_an_undeclared_control_is_told() -> None:
    results = learners({MOMENTUM: m, INIT: s, ACCURACY: m + s} for m in (0.9, 0.99) for s in range(3))
    table = compare(results, ACCURACY, [OPTIMIZER, INITS])
    assert only(table)["reference"] == "momentum = 0.9"
    assert any("No control declared for SetOptimizer" in note for note in table.notes)


def test_every_treatment_has_its_typed_column() -> None:
    cells = [(m, e, s) for m in ("sgd", "adam") for e in (0.0, 0.1) for s in range(3)]
    results = learners({MOMENTUM: m, EPSILON: e, INIT: s, ACCURACY: e * s} for m, e, s in cells)
    frame = compare(results, ACCURACY, [OPTIMIZER, PLAIN_PERTURB, INITS]).frame
    assert frame.schema[MOMENTUM] == pl.String
    assert frame.schema[EPSILON] == pl.Float64
    assert frame.select("factor", MOMENTUM, EPSILON).rows() == [
        ("SetOptimizer", "adam", 0.0),
        ("SetOptimizer", "adam", 0.1),
        ("PerturbWeights", "sgd", 0.1),
        ("PerturbWeights", "adam", 0.1),
    ]


# --- in whole sentences ---


@pytest.mark.parametrize(
    ("differences", "sentence"),
    [
        (
            [-0.1, -0.11, -0.12, -0.1],
            "epsilon = 0.1 worsens test/accuracy against epsilon = 0: difference -0.107 [",
        ),
        ([0.1, 0.12, 0.11, 0.1, None], "n = 4, p < 0.001 (1 of 5 diverged)."),
        ([0.0] * 3, "epsilon = 0.1 changes no value of test/accuracy against epsilon = 0"),
        ([0.1], "epsilon = 0.1 has one pair on test/accuracy against epsilon = 0, which gives no interval"),
        ([0.03, -0.02, 0.04, -0.01], "shows no conclusive effect on test/accuracy against epsilon = 0 (≈ "),
        ([None, None], "epsilon = 0.1 worsens test/accuracy against epsilon = 0 (2 of 2 diverged)."),
    ],
)
def test_each_verdict_is_a_sentence(differences: list[float | None], sentence: str) -> None:
    (written,) = sentences(from_differences(differences))
    assert sentence in written
    assert written.endswith(".")


def test_a_table_without_pairs_has_no_sentences() -> None:
    with pytest.raises(AnalysisError, match="compare"):
        sentences(Table(pl.DataFrame({"a": [1]}), "No pairs."))


# --- properties ---


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(24)))
def test_the_order_of_rows_does_not_matter(order: list[int]) -> None:
    results = paired([0.01, -0.02, 0.0], 6, np.random.default_rng(6))
    assert_frame_equal(
        compare(results[order], ACCURACY, FACTORS).frame, compare(results, ACCURACY, FACTORS).frame
    )


@settings(max_examples=25, deadline=None)
@given(st.floats(-10, 10))
def test_a_constant_added_to_all_changes_no_difference(constant: float) -> None:
    results = paired([0.01, -0.02], 6, np.random.default_rng(8))
    columns = ["n", "difference", "low", "high", "p_t", "p_sign_flip", "p_holm", "d_z", "p_better", "verdict"]
    moved = compare(results.with_columns(pl.col(ACCURACY) + constant), ACCURACY, FACTORS)
    unmoved = compare(results, ACCURACY, FACTORS)
    assert_frame_equal(moved.frame.select(columns), unmoved.frame.select(columns), rel_tol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-1, 1)), min_size=1, max_size=12))
def test_any_mixture_of_runs_makes_a_table(differences: list[float | None]) -> None:
    row = only(from_differences(differences))
    assert row["n"] + row["diverged"] == row["of"] == len(differences)
    assert 0 <= row["p_better"] <= 1
    assert row["verdict"]


def test_swapping_the_direction_swaps_the_verdicts() -> None:
    results = paired([0.1, -0.1], 6, np.random.default_rng(9))
    higher = compare(results, ACCURACY, FACTORS).frame["verdict"].to_list()
    lower = compare(results, ACCURACY, FACTORS, better="lower").frame["verdict"].to_list()
    assert (higher, lower) == (["improves", "worsens"], ["worsens", "improves"])


# --- bad input ---


def test_a_name_without_direction_needs_better() -> None:
    results = learners([{EPSILON: 0.0, "weight_norm": 1.0}, {EPSILON: 0.1, "weight_norm": 2.0}])
    with pytest.raises(AnalysisError, match="better='higher'"):
        compare(results, "weight_norm", [PLAIN_PERTURB])
    assert compare(results, "weight_norm", [PLAIN_PERTURB], better="lower").frame.height == 1


@pytest.mark.parametrize("arguments", [{"margin": -0.1}, {"margin": float("nan")}, {"confidence": 95}])
def test_arguments_out_of_range_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(AnalysisError, match="expected"):
        compare(paired([0.1], 3, np.random.default_rng(0)), ACCURACY, FACTORS, **arguments)


def test_controls_alone_compare_nothing() -> None:
    results = learners({EPSILON: 0.0, EPSILON_SEED: seed, ACCURACY: 0.4} for seed in range(3))
    with pytest.raises(AnalysisError, match="every learner is at the control of PerturbWeights"):
        compare(results, ACCURACY, [PERTURB])

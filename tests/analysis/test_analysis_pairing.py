from __future__ import annotations

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
)
from hypothesis import given, settings
from hypothesis import strategies as st

from paribus.analysis import Factor, pair
from paribus.errors import AnalysisError


def test_one_control_serves_all_perturbation_seeds() -> None:
    pairs = pair(first_snippet(lambda epsilon, seed: 0.9 - epsilon), ACCURACY, [PERTURB])
    assert pairs.height == 30
    assert pairs["control_learner"].unique().to_list() == [0]
    assert pairs["reference"].unique().to_list() == ["epsilon = 0"]


def test_each_init_has_its_own_control() -> None:
    results = first_snippet(lambda epsilon, seed: 0.9 - epsilon, inits=range(5))
    pairs = pair(results, ACCURACY, [INITS, PERTURB])
    assert pairs.height == 5 * 30
    control_init = pairs.join(
        results.select(pl.col("learner").alias("control_learner"), pl.col(INIT).alias("of")),
        on="control_learner",
    )
    assert (control_init[INIT] == control_init["of"]).all()


def test_a_control_with_the_seed_is_matched_by_seed() -> None:
    cells = [(epsilon, seed) for epsilon in (0.0, 0.1) for seed in range(3)]
    results = learners({EPSILON: e, EPSILON_SEED: s, ACCURACY: 10 * s + e} for e, s in cells)
    assert pair(results, ACCURACY, [PERTURB])["difference"].round(9).to_list() == [0.1] * 3


def test_several_controls_never_serve_a_seed_that_none_of_them_has() -> None:
    cells = [(0.0, 0), (0.0, 1), (0.1, 0), (0.1, 7)]
    results = learners({EPSILON: e, EPSILON_SEED: s, ACCURACY: e} for e, s in cells)
    assert pair(results, ACCURACY, [PERTURB])["control_learner"].to_list() == [0, None]


def test_other_treatments_are_held_equal() -> None:
    cells = [(m, e) for m in (0.9, 0.99) for e in (0.0, 0.1)]
    results = learners({MOMENTUM: m, EPSILON: e, ACCURACY: 100 * m + e} for m, e in cells)
    pairs = pair(results, ACCURACY, [OPTIMIZER, PLAIN_PERTURB])
    by_factor = pairs.group_by("factor", maintain_order=True).agg(pl.col("difference").round(6))
    assert dict(by_factor.iter_rows()) == {"SetOptimizer": [9.0, 9.0], "PerturbWeights": [0.1, 0.1]}


def test_no_declared_control_takes_the_first_level_in_learner_order() -> None:
    results = learners({MOMENTUM: m, ACCURACY: m} for m in (0.99, 0.9, 0.999))
    pairs = pair(results.sort(MOMENTUM), ACCURACY, [OPTIMIZER])
    assert pairs["reference"].unique().to_list() == ["momentum = 0.99"]
    assert pairs[MOMENTUM].to_list() == [0.9, 0.999]


def test_no_declared_control_prefers_the_absent_intervention() -> None:
    results = learners({MOMENTUM: m, ACCURACY: 0.5} for m in (0.99, None, 0.999))
    assert pair(results, ACCURACY, [OPTIMIZER])["reference"].unique().to_list() == ["no SetOptimizer"]


def test_levels_computed_from_another_factor_are_compared_within_it() -> None:
    nested = Factor("PerturbMomentum", ("PerturbMomentum.momentum",))
    cells = [(m, m * k) for m in (0.5, 0.25) for k in (1.5, 1.25)]
    results = learners({MOMENTUM: m, "PerturbMomentum.momentum": p, ACCURACY: p} for m, p in cells)
    pairs = pair(results, ACCURACY, [OPTIMIZER, nested])
    assert pairs.filter(factor="PerturbMomentum")["reference"].to_list() == [
        "momentum = 0.75",
        "momentum = 0.375",
    ]
    assert pairs.filter(factor="SetOptimizer").is_empty()


def test_a_control_may_be_the_absence_of_an_intervention() -> None:
    control = {"PerturbMomentum.momentum": None, "PerturbMomentum.when": None}
    factor = Factor("PerturbMomentum", tuple(control), control=control)
    cells = [(None, None), (0.99, "0–100"), (0.99, "1000–1100")]
    results = learners(
        {"PerturbMomentum.momentum": m, "PerturbMomentum.when": w, ACCURACY: 0.5} for m, w in cells
    )
    pairs = pair(results, ACCURACY, [factor])
    assert pairs["control_learner"].to_list() == [0, 0]
    assert pairs["reference"].unique().to_list() == ["no PerturbMomentum"]


def test_a_missing_control_leaves_the_pair_open() -> None:
    results = first_snippet(lambda epsilon, seed: 0.9, inits=range(2)).filter(
        ~((pl.col(EPSILON) == 0) & (pl.col(INIT) == 1))
    )
    pairs = pair(results, ACCURACY, [INITS, PERTURB])
    assert pairs.height == 60
    assert pairs.filter(pl.col(INIT) == 1)["control_learner"].null_count() == 30
    assert pairs["reference"].null_count() == 0


@pytest.mark.parametrize(
    ("value", "status", "outcome"),
    [
        (0.5, "done", "done"),
        (None, "done", "missing"),
        (float("nan"), "done", "diverged"),
        (float("inf"), "done", "diverged"),
        (0.5, "diverged", "diverged"),
        (0.5, "failed", "failed"),
    ],
)
def test_only_a_learner_that_ended_well_has_a_difference(
    value: float | None, status: str, outcome: str
) -> None:
    results = learners([{EPSILON: 0.0, ACCURACY: 0.4}, {EPSILON: 0.1, ACCURACY: value, "status": status}])
    row = pair(results, ACCURACY, [PLAIN_PERTURB]).row(0, named=True)
    assert row["outcome"] == outcome
    assert (row["difference"] is not None) == (outcome == "done")


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(31)))
def test_the_order_of_rows_does_not_matter(order: list[int]) -> None:
    results = first_snippet(lambda epsilon, seed: 0.9 - epsilon * seed)
    assert pair(results[order], ACCURACY, [PERTURB]).equals(pair(results, ACCURACY, [PERTURB]))


def test_learners_that_no_factor_tells_apart_are_refused() -> None:
    results = learners([{EPSILON: 0.0, ACCURACY: 0.4}] * 2)
    with pytest.raises(AnalysisError, match="learners 0, 1 are equal in all factors"):
        pair(results, ACCURACY, [PLAIN_PERTURB])


def test_a_wrong_column_is_named_with_the_nearest_one() -> None:
    results = learners([{EPSILON: 0.0, ACCURACY: 0.4}])
    with pytest.raises(AnalysisError, match="did you mean 'test/accuracy'"):
        pair(results, "test/acuracy", [PLAIN_PERTURB])


def test_a_metric_must_be_a_number() -> None:
    results = learners([{EPSILON: 0.0, ACCURACY: "high"}])
    with pytest.raises(AnalysisError, match="not a number"):
        pair(results, ACCURACY, [PLAIN_PERTURB])


def test_an_empty_frame_is_refused() -> None:
    results = learners([{EPSILON: 0.0, ACCURACY: 0.4}]).clear()
    with pytest.raises(AnalysisError, match="no learner"):
        pair(results, ACCURACY, [PLAIN_PERTURB])


def test_seeds_alone_compare_nothing() -> None:
    results = learners({INIT: seed, ACCURACY: 0.4} for seed in range(3))
    with pytest.raises(AnalysisError, match="only seeds vary"):
        pair(results, ACCURACY, [INITS])


def test_a_control_outside_the_treatments_is_refused() -> None:
    with pytest.raises(AnalysisError, match="did you mean"):
        Factor("PerturbWeights", (EPSILON,), control={"PerturbWeights.epsilonn": 0.0})


def test_a_control_of_another_type_is_refused() -> None:
    results = learners({MOMENTUM: m, ACCURACY: 0.4} for m in ("low", "high"))
    with pytest.raises(AnalysisError, match="declare it with values of their types"):
        pair(results, ACCURACY, [Factor("SetOptimizer", (MOMENTUM,), control={MOMENTUM: 0.9})])


def test_treatments_that_the_control_leaves_open_are_matched_or_broadcast() -> None:
    at = "PerturbWeights.step"
    factor = Factor("PerturbWeights", (EPSILON, at), control={EPSILON: 0.0})
    cells = [(0.0, 0), (0.1, 0), (0.1, 100)]
    results = learners({EPSILON: e, at: step, ACCURACY: e} for e, step in cells)
    assert pair(results, ACCURACY, [factor])["control_learner"].to_list() == [0, 0]
    placebos = learners({EPSILON: e, at: step, ACCURACY: e} for e, step in [*cells, (0.0, 100)])
    assert pair(placebos, ACCURACY, [factor])["control_learner"].to_list() == [0, 3]

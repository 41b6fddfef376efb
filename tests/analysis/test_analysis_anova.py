from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from analysis_cases import ACCURACY, INIT, INITS, learners
from hypothesis import given, settings
from hypothesis import strategies as st

from paribus.analysis import Factor, Table, anova, variance
from paribus.analysis.decomposition import sums_of_squares
from paribus.errors import AnalysisError

A, B, ORDER_SEED = "A.a", "B.b", "Order.seed"
FACTORS = [Factor("A", (A,)), Factor("B", (B,)), INITS]
SEEDS = [INITS, Factor("Order", (), (ORDER_SEED,))]


def crossed(
    rng: np.random.Generator,
    a: float = 0.0,
    b: float = 0.0,
    ab: float = 0.0,
    noise: float = 1.0,
    blocks: int = 6,
) -> pl.DataFrame:
    """A 3 × 2 grid over blocks: linear effects of A and B, their product, and noise."""
    shift = rng.normal(0, 5, blocks)
    rows = []
    for i, j, k in itertools.product((-1, 0, 1), (-1, 1), range(blocks)):
        value = a * i + b * j + ab * i * j + shift[k] + rng.normal(0, noise)
        rows.append({A: i, B: j, INIT: k, ACCURACY: value})
    return learners(rows)


def row(table: Table, effect: str) -> dict[str, object]:
    return table.frame.filter(pl.first() == effect).row(0, named=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_the_parts_add_up_to_the_whole(seed: int, shape: list[int]) -> None:
    grid = np.random.default_rng(seed).normal(3, 1, shape)
    total = float(((grid - grid.mean()) ** 2).sum())
    assert sum(sums_of_squares(grid).values()) == pytest.approx(total)


def test_planted_truth_importance_without_noise_is_exact() -> None:
    table = anova(crossed(np.random.default_rng(0), a=2, b=1, ab=0.5, noise=0), ACCURACY, FACTORS)
    # Mean squares of the terms over the grid: a² · 2/3, b², (ab)² · 2/3.
    parts = {"a": 4 * 2 / 3, "b": 1.0, "a × b": 0.25 * 2 / 3}
    for effect, part in parts.items():
        assert row(table, effect)["importance"] == pytest.approx(part / sum(parts.values()))


def test_planted_truth_effects_are_found() -> None:
    table = anova(crossed(np.random.default_rng(1), a=3, noise=1, blocks=8), ACCURACY, FACTORS)
    assert table.frame["effect"][0] == "a"
    assert row(table, "a")["p_holm"] < 1e-4
    assert row(table, "b")["p"] > 0.01
    assert table.frame["share"].sum() == pytest.approx(1.0)
    assert "Full grid" in table.notes[0]


@pytest.mark.parametrize("lose", [0, 1])
def test_planted_truth_the_test_holds_its_level(lose: int) -> None:
    trials, rng = 100, np.random.default_rng(lose)
    tables = [anova(crossed(rng).slice(lose), ACCURACY, FACTORS) for _ in range(trials)]
    for effect in ("a", "b", "a × b"):
        found = sum(row(table, effect)["p"] < 0.05 for table in tables)
        assert found < 0.05 * trials + 4 * math.sqrt(trials * 0.05 * 0.95)


def test_type_two_equals_the_exact_split_on_a_full_grid() -> None:
    results = crossed(np.random.default_rng(2), a=1, b=1, ab=1)
    full = anova(results, ACCURACY, FACTORS)
    extra = results.tail(1).with_columns(learner=pl.lit(99), **{INIT: pl.lit(99)})
    lost_one_more = pl.concat([results, extra], how="vertical_relaxed")
    fallback = anova(
        lost_one_more, ACCURACY, FACTORS
    )  # its block has one learner, which the block's mean takes up
    for effect in ("a", "b", "a × b"):
        assert row(fallback, effect)["ss"] == pytest.approx(row(full, effect)["ss"])
    assert "type II" in fallback.notes[0]


def test_lost_learners_are_counted() -> None:
    results = crossed(np.random.default_rng(3)).with_columns(
        pl.when(pl.col("learner") < 2).then(pl.lit("diverged")).otherwise("status").alias("status")
    )
    assert "2 of 36 learners were lost" in anova(results, ACCURACY, FACTORS).notes[0]


def test_higher_interactions_are_put_together() -> None:
    rng = np.random.default_rng(4)
    cells = itertools.product(range(2), range(2), range(2), range(3))
    results = learners({A: a, B: b, "C.c": c, INIT: s, ACCURACY: rng.normal()} for a, b, c, s in cells)
    effects = anova(results, ACCURACY, [*FACTORS, Factor("C", ("C.c",))], order=1).frame["effect"].to_list()
    assert sorted(effects[:3]) == ["a", "b", "c"]
    assert effects[3:] == ["higher interactions", "blocks", "residual"]


def test_columns_that_only_occur_together_are_one_effect() -> None:
    """A control beside a sweep of two parameters has neither of them."""
    rng = np.random.default_rng(9)
    kicks = [(None, None), *itertools.product((0.1, 0.2), ("early", "late"))]
    results = learners(
        {A: a, "Kick.size": size, "Kick.when": when, INIT: seed, ACCURACY: (size or 0) + rng.normal(0, 0.01)}
        for a, (size, when), seed in itertools.product((0, 1), kicks, range(4))
    )
    kick = Factor("Kick", ("Kick.size", "Kick.when"), control={"Kick.size": None, "Kick.when": None})
    table = anova(results, ACCURACY, [INITS, Factor("A", (A,)), kick])
    assert "Full grid" in table.notes[0]
    assert row(table, "Kick")["df"] == 4
    assert row(table, "Kick")["importance"] > 0.95


@pytest.mark.parametrize("analyse", [anova, variance])
def test_a_seed_that_only_the_treated_have_makes_no_block(analyse: Callable[..., Table]) -> None:
    results = crossed(np.random.default_rng(10), a=1).with_columns(
        pl.when(pl.col(A) == 0).then(None).otherwise(7).alias("A.seed")
    )
    factors = [Factor("A", (A,), ("A.seed",)), *FACTORS[1:]]
    plain = analyse(results.drop("A.seed"), ACCURACY, FACTORS)
    assert analyse(results, ACCURACY, factors).frame.equals(plain.frame)


def test_one_block_has_no_test() -> None:
    table = anova(crossed(np.random.default_rng(5), a=1, blocks=1), ACCURACY, FACTORS)
    assert table.frame["p"].null_count() == table.frame.height
    assert "a × b" in str(table)


def test_anova_needs_a_treatment_that_varies() -> None:
    with pytest.raises(AnalysisError, match="no treatment has two levels"):
        anova(crossed(np.random.default_rng(0)).filter(pl.col(A) == 0, pl.col(B) == 1), ACCURACY, FACTORS)


def seeded(rng: np.random.Generator, init: float, order: float, rest: float, n: int = 40) -> pl.DataFrame:
    inits, orders = rng.normal(0, init, n), rng.normal(0, order, n)
    cells = itertools.product(range(n), range(n))
    return learners(
        {INIT: i, ORDER_SEED: j, ACCURACY: 0.9 + inits[i] + orders[j] + rng.normal(0, rest)} for i, j in cells
    )


def test_planted_truth_each_seed_gets_its_share() -> None:
    table = variance(seeded(np.random.default_rng(6), 0.03, 0.02, 0.01), ACCURACY, SEEDS)
    assert table.frame["source"].to_list() == [
        INIT.replace(".", " "),
        "Order seed",
        "InitWeights seed × Order seed",
    ]
    assert table.frame["sd"].to_list() == pytest.approx([0.03, 0.02, 0.01], rel=0.25)
    assert table.frame["share"].sum() == pytest.approx(1.0)


def test_planted_truth_components_are_unbiased() -> None:
    rng = np.random.default_rng(7)
    frames = [variance(seeded(rng, 0.03, 0.02, 0.01, n=5), ACCURACY, SEEDS).frame for _ in range(200)]
    means = np.mean([frame["variance"].to_list() for frame in frames], axis=0)
    assert means == pytest.approx([9e-4, 4e-4, 1e-4], rel=0.2)


def test_conditions_with_other_seeds_are_left_out_and_counted() -> None:
    results = pl.concat(
        [
            seeded(np.random.default_rng(8), 0.03, 0.02, 0.01, n=3).with_columns(pl.lit(0.1).alias(A)),
            learners([{INIT: 0, ORDER_SEED: 0, ACCURACY: 0.9, A: 0.0}]).with_columns(learner=pl.lit(99)),
        ],
        how="diagonal_relaxed",
    )
    table = variance(results, ACCURACY, [*SEEDS, Factor("A", (A,))])
    assert any("1 of 2 conditions" in note for note in table.notes)


def test_variance_needs_seeds_that_vary() -> None:
    results = learners([{A: 0.0, INIT: 0, ACCURACY: 0.1}, {A: 1.0, INIT: 0, ACCURACY: 0.2}])
    with pytest.raises(AnalysisError, match="no seed varies"):
        variance(results, ACCURACY, [INITS, Factor("A", (A,))])

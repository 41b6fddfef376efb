from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pytest
from analysis_cases import ACCURACY, INIT, INITS, learners
from hypothesis import given, settings
from hypothesis import strategies as st

from paribus.analysis import Factor, leave_one_out, pairs_removed, sentences
from paribus.errors import AnalysisError

PARTS = [Factor(name, (f"{name}.x",)) for name in "ABC"]
FACTORS = [INITS, *PARTS]
EFFECTS = {"A": 0.05, "B": 0.01, "C": -0.02}
LEFT_OUT, ALONE = ("ABC", "BC", "AC", "AB"), ("", "A", "B", "C")
IN_PAIRS = (*ALONE, "AB", "AC", "BC")


def ablated(
    designs: Sequence[str],
    rng: np.random.Generator,
    interactions: Mapping[str, float] | None = None,
    blocks: int = 6,
    noise: float = 0.003,
) -> pl.DataFrame:
    """Each design is the parts that are on; a part adds its effect, two may add an interaction."""
    rows: list[dict[str, object]] = []
    for seed, block in enumerate(rng.normal(0.8, 0.05, blocks)):
        for on in designs:
            extra = sum(value for both, value in (interactions or {}).items() if set(both) <= set(on))
            value = block + sum(EFFECTS[part] for part in on) + extra + rng.normal(0, noise)
            parts = {f"{part}.x": 1.0 if part in on else None for part in "ABC"}
            rows.append({INIT: seed, **parts, ACCURACY: value})
    return learners(rows).with_columns(pl.col("^.*[.]x$").cast(pl.Float64))


def test_the_whole_is_what_most_parts_are_missing_from() -> None:
    table = leave_one_out(ablated(LEFT_OUT, np.random.default_rng(0)), ACCURACY, FACTORS)
    assert table.frame["change"].to_list() == ["without A", "without B", "without C"]
    assert table.frame["difference"].to_list() == pytest.approx([-0.05, -0.01, 0.02], abs=0.005)
    assert table.frame["verdict"].to_list() == ["worsens", "worsens", "improves"]
    assert "complete condition (A x = 1, B x = 1, C x = 1)" in table.caption


def test_removals_alone_are_compared_with_the_untouched() -> None:
    table = leave_one_out(ablated(ALONE, np.random.default_rng(1)), ACCURACY, FACTORS)
    assert table.frame["change"].to_list() == ["C x = 1", "B x = 1", "A x = 1"]
    assert "untouched control" in table.caption


def test_a_declared_control_is_the_whole() -> None:
    declared = [INITS, *(Factor(f.name, f.treatments, control={f.treatments[0]: 1.0}) for f in PARTS)]
    grid = ("", "A", "B", "C", "AB", "AC", "BC", "ABC")
    table = leave_one_out(ablated(grid, np.random.default_rng(2)), ACCURACY, declared)
    assert table.frame["change"].to_list() == ["without A", "without B", "without C"]
    assert (table.frame["n"] == 6).all()


def test_lower_is_better_turns_the_order() -> None:
    table = leave_one_out(ablated(LEFT_OUT, np.random.default_rng(0)), ACCURACY, FACTORS, better="lower")
    assert table.frame["change"].to_list() == ["without C", "without B", "without A"]


def test_what_diverged_everywhere_is_the_most_harmful() -> None:
    results = ablated(LEFT_OUT, np.random.default_rng(3)).with_columns(
        pl.when(pl.col("B.x").is_null()).then(pl.lit("diverged")).otherwise("status").alias("status")
    )
    frame = leave_one_out(results, ACCURACY, FACTORS).frame
    assert frame["change"][0] == "without B"
    assert frame["verdict"][0] == "worsens; 6 of 6 diverged"


def test_planted_truth_interactions_of_removed_pairs_are_found() -> None:
    results = ablated(IN_PAIRS, np.random.default_rng(4), {"AB": -0.04}, blocks=10)
    frame = pairs_removed(results, ACCURACY, FACTORS).frame
    rows = {(row["first"], row["second"]): row for row in frame.iter_rows(named=True)}
    found = rows["A x = 1", "B x = 1"]
    assert found["interaction"] == pytest.approx(-0.04, abs=0.005)
    assert found["joint"] == pytest.approx(0.05 + 0.01 - 0.04, abs=0.005)
    assert found["sum"] == pytest.approx(0.06, abs=0.005)
    assert found["verdict"] == "worse than the sum"
    assert rows["A x = 1", "C x = 1"]["verdict"] == rows["B x = 1", "C x = 1"]["verdict"] == "inconclusive"


def test_planted_truth_interactions_are_covered_and_the_family_is_held() -> None:
    trials, rng = 150, np.random.default_rng(5)
    covered, wrong = 0, 0
    for _ in range(trials):
        frame = pairs_removed(ablated(IN_PAIRS, rng, blocks=5), ACCURACY, FACTORS).frame
        covered += frame.filter(pl.lit(0.0).is_between("low", "high")).height
        wrong += (frame["verdict"] != "inconclusive").any()
    # The three intervals of a table share learners: the tolerance is that of one of them.
    assert abs(covered / 3 - 0.95 * trials) < 4 * math.sqrt(trials * 0.95 * 0.05)
    assert wrong < 0.05 * trials + 4 * math.sqrt(trials * 0.05 * 0.95)


def test_a_lost_learner_costs_one_block() -> None:
    results = ablated(IN_PAIRS, np.random.default_rng(6)).with_columns(
        pl.when(pl.col("learner") == 4).then(pl.lit("failed")).otherwise("status").alias("status")
    )
    frame = pairs_removed(results, ACCURACY, FACTORS).frame
    lost = frame.filter(first="A x = 1", second="B x = 1").row(0, named=True)
    assert (lost["n"], lost["of"]) == (5, 6)
    assert (frame["n"].sum(), frame["of"].sum()) == (17, 18)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6 * 7)))
def test_the_order_of_rows_does_not_matter(order: list[int]) -> None:
    results = ablated(IN_PAIRS, np.random.default_rng(7))
    one, other = (pairs_removed(each, ACCURACY, FACTORS).frame for each in (results, results[order]))
    assert one.equals(other)


def test_a_design_without_single_changes_is_refused() -> None:
    with pytest.raises(AnalysisError, match="no condition differs in one factor"):
        leave_one_out(ablated(("ABC", "C"), np.random.default_rng(8)), ACCURACY, FACTORS)
    with pytest.raises(AnalysisError, match="no condition has two parts changed"):
        pairs_removed(ablated(ALONE, np.random.default_rng(8)), ACCURACY, FACTORS)


def test_labels_are_printed() -> None:
    table = leave_one_out(
        ablated(LEFT_OUT, np.random.default_rng(0)), ACCURACY, FACTORS, labels={"without A": "no attention"}
    )
    assert "no attention" in str(table)
    assert sentences(table)[0].startswith("no attention worsens test/accuracy")

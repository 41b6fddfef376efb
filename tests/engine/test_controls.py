"""Controls that a comparison needs are in the plan, whether the design wrote them or not."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from learning_cases import experiment, run
from paribus import Experiment, one_at_a_time
from paribus.interventions import InitWeights, PerturbWeights, SetOptimizer

SEEDS = InitWeights.make_variations(seed=range(2))
RATES = SetOptimizer.make_variations(lr=(0.1, 0.2))
NOISE = PerturbWeights.make_variations(epsilon=(0.1, 0.2))
CONTROL = PerturbWeights.make_variations(epsilon=0.0, control=True)


def controls(exp: Experiment) -> list[dict[str, object]]:
    return [learner.levels for learner in exp if learner.cell.control]


def test_a_control_that_a_union_lacks_is_added(folder: Path) -> None:
    exp = experiment(folder, [SEEDS, RATES * NOISE + CONTROL])
    assert len(exp) == 2 * (2 * 2 + 1) + 2 * 2, "at each seed and rate"
    found = {(row.get("SetOptimizer.lr"), row["InitWeights.seed"]) for row in controls(exp)}
    assert found == {(rate, seed) for rate in (None, 0.1, 0.2) for seed in (0, 1)}


def test_with_them_every_pair_has_its_control(folder: Path) -> None:
    exp = experiment(folder, [SEEDS, RATES * NOISE + CONTROL])
    run(exp)
    table = exp.compare("test/loss").frame.filter(pl.col("factor") == "PerturbWeights")
    assert table.height == 4
    assert (table["n"] == 2).all()


def test_a_crossed_list_lacks_none(folder: Path) -> None:
    assert len(experiment(folder, [SEEDS, RATES, NOISE, CONTROL])) == 2 * 2 * 3


def test_without_a_declared_control_nothing_is_added(folder: Path) -> None:
    assert len(experiment(folder, [SEEDS, RATES * NOISE])) == 2 * 2 * 2
    assert len(experiment(folder, [SEEDS, one_at_a_time(RATES, NOISE)])) == 2 * (1 + 2 + 2)


def test_two_declared_controls_close_the_square(folder: Path) -> None:
    fast = SetOptimizer.make_variations(lr=0.2)
    usual = SetOptimizer.make_variations(lr=0.1, control=True)
    exp = experiment(folder, fast * NOISE + usual * CONTROL)
    levels = {
        (row["SetOptimizer.lr"], row["PerturbWeights.epsilon"]) for row in (each.levels for each in exp)
    }
    assert levels == {(rate, epsilon) for rate in (0.1, 0.2) for epsilon in (0.0, 0.1, 0.2)}

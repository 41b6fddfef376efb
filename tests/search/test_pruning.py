"""Pruners as rules, and learners that they stop."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import LOSS, LRS, SEEDS, experiment, searched

from paribus import (
    Divergence,
    Hyperband,
    Logger,
    Median,
    Plateau,
    Search,
    SuccessiveHalving,
    Wilcoxon,
)
from paribus.engine.search.pruning import Check, Costs, Pruner, rungs
from paribus.errors import ConfigurationError
from paribus.interventions import Cosine, InitWeights, SetOptimizer, SetSchedule
from paribus.loggers import Every, On

costs = st.floats(-5, 5).map(lambda cost: round(cost, 2))
courses = st.lists(costs, min_size=1, max_size=8).map(tuple)
others = st.dictionaries(st.integers(0, 30), courses, max_size=12)
OFTEN = Logger(Every(1) | On("end"))


# --- the rules


@given(courses, others)
def test_the_median_lets_the_better_half_through(own: Costs, told: dict[int, Costs]) -> None:
    here = sorted(each[len(own) - 1] for each in told.values() if len(each) >= len(own))
    pruned = Median(startup=1).prunes(Check(31, own, told, 8))
    if not here or min(own) <= here[0]:
        assert not pruned
    elif min(own) > here[-1]:
        assert pruned


@given(st.lists(costs, min_size=1, max_size=30, unique=True), st.integers(2, 4))
def test_halving_lets_the_best_share_through(values: list[float], factor: int) -> None:
    *before, own = values
    pruned = SuccessiveHalving(factor=factor).prunes(
        Check(len(before), (own,), {n: (cost,) for n, cost in enumerate(before)}, 9)
    )
    assert pruned == (sorted(values).index(own) >= max(len(values) // factor, 1))


@given(courses, others, st.integers(2, 4), st.integers(1, 8))
def test_halving_looks_at_rungs_alone(own: Costs, told: dict[int, Costs], factor: int, checks: int) -> None:
    if len(own) not in rungs(1, factor, checks):
        assert not SuccessiveHalving(factor=factor).prunes(Check(31, own, told, checks))
        assert not Hyperband(factor=factor).prunes(Check(31, own, told, checks))


@given(courses, others, st.integers(0, 30))
def test_hyperband_compares_within_a_bracket(own: Costs, told: dict[int, Costs], number: int) -> None:
    brackets = len(rungs(1, 2, 8))
    same = {n: each for n, each in told.items() if n % brackets == number % brackets}
    rule = Hyperband(factor=2)
    assert rule.prunes(Check(number, own, told, 8)) == rule.prunes(Check(number, own, same, 8))


@settings(max_examples=20)
@given(st.lists(costs, min_size=4, max_size=8, unique=True))
def test_wilcoxon_stops_what_is_worse_on_every_seed(best: list[float]) -> None:
    rule = Wilcoxon(p=0.1)
    told = {0: tuple(best), 1: tuple(cost + 9 for cost in best)}
    worse = tuple(cost + 1 + place / 100 for place, cost in enumerate(best))
    assert rule.prunes(Check(2, worse, told, len(best)))
    assert not rule.prunes(Check(2, worse[:3], told, len(best)))  # of three seeds, p is 1/8 at the least
    assert not rule.prunes(Check(2, tuple(best), told, len(best)))
    assert not rule.prunes(Check(2, tuple(cost - 1 for cost in best), told, len(best)))


@pytest.mark.parametrize(
    ("rule", "own", "pruned"),
    [
        (Divergence(bound=2.0), (1.0, 2.1), True),
        (Divergence(bound=2.0), (3.0, 1.9), False),
        (Divergence(), (math.inf,), True),
        (Divergence(), (1e300,), False),
        (Divergence(bound=0.5, direction="maximize"), (-0.4,), True),  # an accuracy of 0.4
        (Divergence(bound=0.5, direction="maximize"), (-0.6,), False),
        (Plateau(patience=2), (2.0, 1.0, 1.0, 1.1), True),
        (Plateau(patience=2), (2.0, 1.0, 1.1, 0.9), False),
        (Plateau(patience=2, least=0.2), (2.0, 1.0, 1.1, 0.9), True),
        (Plateau(patience=4), (2.0, 2.0, 2.0, 2.0), False),
    ],
)
def test_rules_that_look_at_one_trial(rule: Pruner, own: Costs, pruned: bool) -> None:
    assert rule.prunes(Check(0, own, {}, 9)) == pruned


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Median(startup=0), "startup=0"),
        (lambda: Median(percentile=100), "percentile=100"),
        (lambda: Median(direction="lower"), "'minimize' or 'maximize'"),  # type: ignore[arg-type]
        (lambda: Median(lag=0), "lag=0"),
        (lambda: SuccessiveHalving(factor=1), "factor=1"),
        (lambda: Hyperband(first=0), "first=0"),
        (lambda: Wilcoxon(p=1.0), "p=1.0"),
        (lambda: Divergence(bound=math.nan), "bound=nan"),
        (lambda: Plateau(patience=0), "patience=0"),
    ],
)
def test_values_that_make_no_rule_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make()


# --- learners


@pytest.mark.parametrize("sampler", ["sobol", "tpe"])
def test_a_pruned_learner_is_a_cached_prefix(folder: Path, tmp_path: Path, sampler: str) -> None:
    options: dict[str, Any] = {"trials": 8, "sampler": sampler, "steps": 6}
    pruned = searched(folder, [SEEDS, LRS], pruner=Median(startup=2, lag=2), **options)
    summary = pruned.run(progress=False)
    results = pruned.results()
    stopped = results.filter(results["status"] == "pruned")
    assert 0 < stopped.height == summary.pruned < results.height
    assert f"{summary.pruned} pruned" in str(summary)
    assert summary.steps_trained == 6 * (results.height - stopped.height) + stopped["pruned"].sum()

    again = searched(folder, [SEEDS, LRS], pruner=Median(startup=2, lag=2), **options)
    assert again.run(progress=False).steps_trained == 0
    assert again.frame().equals(pruned.frame())
    assert f"{summary.pruned} × pruned" in str(again.plan())

    if sampler == "sobol":  # without the pruner they go on from where they stopped
        whole = searched(folder, [SEEDS, LRS], **options)
        assert whole.run(progress=False).steps_trained == 6 * stopped.height - stopped["pruned"].sum()
        alone = searched(tmp_path / "alone", [SEEDS, LRS], **options)
        alone.run(progress=False)
        assert whole.results().equals(alone.results())


def test_pruning_does_not_depend_on_where_a_run_was_cut_off(folder: Path, tmp_path: Path) -> None:
    rule = SuccessiveHalving(factor=2, lag=1)
    whole = searched(tmp_path / "whole", trials=6, steps=6, pruner=rule)
    whole.run(progress=False)
    for trials in (2, 3, 6):
        parts = searched(folder, trials=trials, steps=6, pruner=rule)
        parts.run(progress=False)
    assert parts.results().equals(whole.results())
    assert "pruned" in parts.trials()["status"]


def test_seeds_are_trained_one_after_another(folder: Path) -> None:
    design = [InitWeights.make_variations(seed=range(5)), SetOptimizer.make_variations(lr=(0.3, 1e-4))]
    exp = experiment(folder, design, pruner=Wilcoxon(LOSS, "minimize", p=0.2, lag=1))
    summary = exp.run(progress=False)
    results = exp.results().sort("SetOptimizer.lr", descending=True)
    assert results["status"].to_list() == ["done"] * 5 + ["done"] * 3 + ["pruned"] * 2
    assert results["pruned"].drop_nulls().to_list() == [0, 0]
    assert summary.steps_trained == 3 * 8
    exp.plot(LOSS)


def test_comparisons_count_what_was_pruned(folder: Path) -> None:
    rates = SetOptimizer.make_variations(lr=0.3, control=True) + SetOptimizer.make_variations(
        lr=(0.2, 0.1, 1e-4)
    )
    exp = experiment(folder, [SEEDS, rates], pruner=Median(LOSS, "minimize", startup=2, lag=1))
    exp.run(progress=False)
    table = exp.compare(LOSS)
    last = table.frame.filter(table.frame["SetOptimizer.lr"] == 1e-4).row(0, named=True)
    assert (last["pruned"], last["pairs"], last["pairs_of"], last["p_better"]) == (2, 0, 2, 0.0)
    assert "2 of 2 pruned" in last["verdict"]
    assert set(exp.results().filter(exp.results()["SetOptimizer.lr"] == 0.3)["status"]) == {"done"}


def test_a_schedule_that_reads_the_length_is_not_moved_by_pruning(folder: Path) -> None:
    design = [SetSchedule(Cosine()), LRS]
    pruned = searched(folder, design, trials=5, steps=6, pruner=Median(startup=2, lag=1))
    assert pruned.run(progress=False).pruned > 0
    assert searched(folder, design, trials=5, steps=6).plan().cached == 5 - pruned.run(progress=False).pruned


@pytest.mark.parametrize(
    ("pruner", "options", "words"),
    [
        (Median(LOSS), {}, "Median: the direction is missing"),
        (Median(), {}, "Median: the metric is missing"),
        (Median("test/los", "minimize"), {}, "no logger records 'test/los'"),
        (Median(LOSS, "minimize"), {"logger": Logger(On("end"))}, "not recorded between the first step"),
        (Median(LOSS, "minimize", at=(2,)), {"logger": Logger(Every(3))}, "not recorded at step 2"),
        ("median", {}, "expected Median"),
    ],
)
def test_a_pruner_that_cannot_look_is_refused(folder: Path, pruner: Any, options: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        experiment(folder, SEEDS, pruner=pruner, **options)
    assert not folder.exists()


def test_a_pruner_beside_a_search_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"write Search\(pruner=…\)"):
        experiment(folder, LRS, Search(LOSS, "minimize", 2), pruner=Median(LOSS, "minimize"))
    assert not folder.exists()

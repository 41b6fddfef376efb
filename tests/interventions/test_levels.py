"""What `make_variations` makes of the levels it is given."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paribus.errors import LevelError
from paribus.interventions import (
    InitWeights,
    InitWeightsIntervention,
    OptimizerIntervention,
    PerturbMomentum,
    PerturbMomentumIntervention,
    PerturbWeights,
    SetHyperparameter,
    SetOptimizer,
    StepDecay,
)
from paribus.interventions.settings import OptimizerSetting, Training

BASE = {
    "optimizer": OptimizerSetting.of(partial(torch.optim.SGD, lr=0.1, momentum=0.9)),
    "training": Training(32),
}


def levels(design: Any) -> list[Any]:
    return list(design.levels(BASE))


@pytest.mark.parametrize(
    "given_levels",
    [
        (1, 2, 3),
        [1, 2, 3],
        range(1, 4),
        (seed for seed in (1, 2, 3)),
        iter([1, 2, 3]),
        map(int, "123"),
        np.arange(1, 4),
        torch.arange(1, 4).tolist(),
    ],
    ids=["tuple", "list", "range", "generator", "iterator", "map", "array", "tensor"],
)
def test_a_set_of_levels_at_the_top(given_levels: Any) -> None:
    design = InitWeights.make_variations(seed=given_levels)
    assert levels(design) == [InitWeights(1), InitWeights(2), InitWeights(3)]
    assert levels(design) == levels(design), "a design can be read twice"


def test_a_value_inside_is_a_value() -> None:
    (only,) = levels(SetOptimizer.make_variations(optimizers=torch.optim.Adam, betas=[(0.9, 0.999)]))
    assert only.hyperparameters == {"betas": (0.9, 0.999)}
    assert len(levels(SetOptimizer.make_variations(betas=[(0.9, 0.999), (0.8, 0.99)]))) == 2


@pytest.mark.parametrize(
    ("when", "spans"),
    [
        ((0, 100), [(0, 100)]),
        ([0, 100], [(0, 100)]),
        ((5, None), [(5, None)]),
        (((0, 100),), [(0, 100)]),
        (((0, 100), (1000, 1100)), [(0, 100), (1000, 1100)]),
        ([(0, 100), (5, None)], [(0, 100), (5, None)]),
        ((None, (0, 100)), [(0, None), (0, 100)]),
        (None, [(0, None)]),
    ],
)
def test_a_pair_of_steps_is_one_window(when: Any, spans: list[Any]) -> None:
    assert [level.span for level in levels(PerturbMomentum.make_variations(momentum=0.5, when=when))] == spans


def test_the_last_parameter_varies_fastest() -> None:
    design = PerturbWeights.make_variations(epsilon=(0.1, 0.2), seed=range(2))
    assert [(level.epsilon, level.seed) for level in levels(design)] == [
        (0.1, 0),
        (0.1, 1),
        (0.2, 0),
        (0.2, 1),
    ]


@pytest.mark.parametrize(
    "function",
    [
        lambda m: (m / 2, m / 4),
        lambda m: [m / 2, m / 4],
        lambda m: (m / k for k in (2, 4)),
        lambda m: map(m.__truediv__, (2, 4)),
        lambda m: np.array([m / 2, m / 4]),
    ],
    ids=["tuple", "list", "generator", "map", "array"],
)
def test_a_callable_level_is_given_what_it_modifies_and_yields_levels(function: Any) -> None:
    design = PerturbMomentum.make_variations(momentum=function)
    assert [level.momentum for level in levels(design)] == [0.45, 0.225]
    changed = BASE | {"optimizer": BASE["optimizer"].replace(momentum=0.5)}  # type: ignore[attr-defined]
    assert [level.momentum for level in design.levels(changed)] == [0.25, 0.125]


def test_a_callable_level_that_yields_one_value() -> None:
    (level,) = levels(SetHyperparameter.make_variations(batch_size=lambda n: 2 * n))
    assert level.batch_size == 64


def test_a_callable_level_reads_adams_first_beta() -> None:
    adam = BASE | {"optimizer": OptimizerSetting.of(torch.optim.Adam)}
    (level,) = PerturbMomentum.make_variations(momentum=lambda m: m / 2).levels(adam)
    assert level.momentum == 0.45
    assert level.edit(adam["optimizer"])["betas"] == (0.45, 0.999)


def test_a_schedule_function_is_a_level_and_not_called() -> None:
    def halved(step: int) -> float:
        return 0.5**step

    made = levels(SetHyperparameter.make_variations(schedule=(halved, StepDecay(every=3))))
    assert [level.schedule for level in made] == [halved, StepDecay(every=3)]


def test_a_class_is_a_level_and_not_called() -> None:
    made = levels(SetOptimizer.make_variations(optimizers=(torch.optim.SGD, torch.optim.Adam)))
    assert [level.optimizer for level in made] == [torch.optim.SGD, torch.optim.Adam]


def test_plural_names_are_read() -> None:
    assert levels(PerturbWeights.make_variations(epsilons=(0.1, 0.2), seeds=(0,))) == levels(
        PerturbWeights.make_variations(epsilon=(0.1, 0.2), seed=(0,))
    )
    assert SetOptimizer.make_variations(optimizers=(torch.optim.SGD,)).axes.keys() == {"optimizer"}


def test_the_seed_names_are_plain_aliases() -> None:
    assert InitWeightsIntervention is InitWeights
    assert OptimizerIntervention is SetOptimizer
    assert PerturbMomentumIntervention is PerturbMomentum


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=5))
def test_numpy_numbers_are_the_numbers_they_hold(values: list[float]) -> None:
    plain = levels(PerturbWeights.make_variations(epsilon=values))
    assert levels(PerturbWeights.make_variations(epsilon=np.array(values))) == plain
    assert levels(PerturbWeights.make_variations(epsilon=[np.float64(v) for v in values])) == plain


@pytest.mark.parametrize("nan", [float("nan"), np.float32("nan"), [0.1, float("nan")], lambda m: m * np.nan])
def test_nan_levels_are_refused(nan: Any) -> None:
    with pytest.raises(LevelError, match="PerturbMomentum: a level of 'momentum' is NaN"):
        levels(PerturbMomentum.make_variations(momentum=nan))


@pytest.mark.parametrize("none", [(), [], range(0), iter(()), lambda m: ()])
def test_no_levels_are_refused(none: Any) -> None:
    with pytest.raises(LevelError, match="'momentum' has no levels, so the grid is empty; give at least one"):
        levels(PerturbMomentum.make_variations(momentum=none))


def test_a_set_has_no_order_and_is_refused() -> None:
    with pytest.raises(LevelError, match="a set, which has no order; give a tuple or a list"):
        InitWeights.make_variations(seed={1, 2})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: PerturbWeights.make_variations(epsilom=0.1), r"PerturbWeights: 'epsilom' .*'epsilon'\?"),
        (lambda: InitWeights(seed=0.5), "InitWeights: seed=0.5 is no whole number >= 0"),
        (lambda: InitWeights(seed=True), "InitWeights: seed=True is no whole number"),
        (lambda: InitWeights(seed=-1), "InitWeights: seed=-1 is no whole number >= 0"),
        (lambda: PerturbWeights(epsilon="big"), "PerturbWeights: epsilon='big' is no number"),
        (lambda: PerturbWeights(epsilon=0.1, step=-1), "PerturbWeights: step=-1 is no whole number >= 0"),
        (lambda: PerturbMomentum(momentum=0.1, when=(5, 2)), r"the window \(5, 2\) runs backwards"),
        (lambda: PerturbMomentum(momentum=0.1, when=(-5, 2)), r"the window \(-5, 2\) runs backwards"),
        (lambda: PerturbMomentum(momentum=0.1, when=5), "PerturbMomentum: when=5 is no window"),
        (lambda: PerturbMomentum(momentum=None), "PerturbMomentum: momentum=None is no number"),
        (lambda: SetHyperparameter(batch_size=0), "SetHyperparameter: batch_size=0 is no whole number >= 1"),
        (lambda: SetHyperparameter(schedule="cosine"), r"schedule: got 'cosine'; expected Cosine\(\)"),
        (lambda: StepDecay(every=0), "StepDecay: every=0 is no whole number >= 1"),
    ],
)
def test_wrong_values_are_refused_where_they_are_written(wrong: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        wrong()

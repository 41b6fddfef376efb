"""What each intervention does where it acts."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paribus.errors import LevelError
from paribus.identity import generator
from paribus.interventions import (
    Constant,
    Cosine,
    InitWeights,
    LearnerState,
    PerturbHyperparameter,
    PerturbMomentum,
    PerturbWeights,
    SetHyperparameter,
    SetOptimizer,
    StepDecay,
    Warmup,
)
from paribus.interventions.schedules import as_schedule
from paribus.interventions.settings import OptimizerSetting, Seeds, Training

SGD = OptimizerSetting.of(partial(torch.optim.SGD, lr=0.1, momentum=0.9))


def test_init_weights_moves_no_other_stream() -> None:
    assert InitWeights(seed=5).edits()["seeds"](Seeds.all_equal(1)) == Seeds(5, 1, 1, 1, 1)


def test_noise_of_a_parameter_depends_on_its_name_and_on_no_other_parameter() -> None:
    alone, both = {"b": torch.zeros(3)}, {"a": torch.zeros(2, 2), "b": torch.zeros(3)}
    PerturbWeights(epsilon=0.5, seed=3).change(LearnerState(alone), ())
    PerturbWeights(epsilon=0.5, seed=3).change(LearnerState(both), ())
    assert torch.equal(alone["b"], both["b"])
    noise = torch.randn(3, generator=generator(3, "PerturbWeights", 0, "b"))
    assert torch.equal(alone["b"], 0.5 * noise)


def test_noise_is_the_same_direction_at_every_size() -> None:
    small, large = {"w": torch.zeros(100)}, {"w": torch.zeros(100)}
    PerturbWeights(epsilon=0.25).change(LearnerState(small), ())
    PerturbWeights(epsilon=0.5).change(LearnerState(large), ())
    assert torch.equal(2 * small["w"], large["w"])
    assert 0.7 < large["w"].std() / 0.5 < 1.3


@given(seed=st.integers(0, 2**40), other=st.integers(0, 2**40), step=st.integers(0, 1000))
def test_noise_differs_between_seeds_and_steps(seed: int, other: int, step: int) -> None:
    def noise(seed: int, step: int) -> torch.Tensor:
        parameters = {"w": torch.zeros(4)}
        PerturbWeights(epsilon=1.0, seed=seed, step=step).change(LearnerState(parameters), ())
        return parameters["w"]

    assert torch.equal(noise(seed, step), noise(seed, step))
    assert torch.equal(noise(seed, step), noise(other, step)) == (seed == other)
    assert not torch.equal(noise(seed, step), noise(seed, step + 1))


def test_set_optimizer_keeps_what_is_not_given_of_the_same_class_only() -> None:
    same = SetOptimizer(lr=0.5).edits()["optimizer"](SGD)
    assert (same["lr"], same["momentum"]) == (0.5, 0.9)
    named = SetOptimizer(torch.optim.SGD, lr=0.5).edits()["optimizer"](SGD)
    assert named == same
    other = SetOptimizer(torch.optim.Adam).edits()["optimizer"](SGD)
    assert other["lr"] == 0.001, "Adam's own default"


def test_set_hyperparameter_with_nothing_given_changes_nothing() -> None:
    edits = SetHyperparameter().edits()
    assert edits["optimizer"](SGD) == SGD
    assert edits["training"](Training(32, StepDecay(every=3))) == Training(32, StepDecay(every=3))


def test_set_hyperparameter_constant_takes_a_schedule_away() -> None:
    edit = SetHyperparameter(schedule=Constant()).edits()["training"]
    assert edit(Training(32, Cosine())) == Training(32, None)


def test_a_window_is_put_on_the_timeline_and_no_window_is_a_setting() -> None:
    assert PerturbMomentum(0.5).edits().keys() == {"optimizer"}
    assert PerturbMomentum(0.5, when=(0, 3)).edits().keys() == {"timeline"}
    assert PerturbHyperparameter(lr=1.0).edits()["optimizer"](SGD)["lr"] == 1.0


def test_momentum_is_refused_where_the_optimizer_has_none() -> None:
    with pytest.raises(
        LevelError, match="Adagrad has no momentum; use an optimizer with 'momentum' or 'betas'"
    ):
        PerturbMomentum(0.5).edit(OptimizerSetting.of(torch.optim.Adagrad))


@given(st.integers(0, 199), st.integers(0, 20))
def test_schedules_are_factors(step: int, warmup: int) -> None:
    assert 0 <= Cosine(warmup=warmup).factor(step, 200) <= 1
    assert Warmup(steps=10).factor(step, 200) == min(1, (step + 1) / 10)
    assert StepDecay(every=50, gamma=0.5).factor(step, 200) == 0.5 ** (step // 50)


def test_cosine_is_torchs_own() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
    for step in range(50):
        assert Cosine().factor(step, 50) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        theirs.step()


def test_a_function_of_the_total_reads_it() -> None:
    assert not as_schedule(lambda step: 1.0).reads_total  # type: ignore[union-attr]
    assert as_schedule(lambda step, total: step / total).reads_total  # type: ignore[union-attr]

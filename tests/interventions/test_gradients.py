"""Interventions on gradients: each equals a loop written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from intervention_cases import assert_equals_by_hand, experiment
from torch import nn

from learning_cases import run, written
from paribus.errors import LevelError
from paribus.identity import generator
from paribus.interventions import (
    ClipGradients,
    DropGradients,
    PerturbGradients,
    ScaleGradients,
    SignGradients,
)

Gradients = Mapping[str, torch.Tensor]
WINDOW = (2, 4)


def noise(gradients: Gradients, step: int) -> None:
    for name, gradient in gradients.items():
        if name.startswith("fc"):
            drawn = torch.randn(gradient.shape, generator=generator(3, "PerturbGradients", step, name))
            gradient += 0.1 * drawn


def relative_noise(gradients: Gradients, step: int) -> None:
    for name, gradient in gradients.items():
        drawn = torch.randn(gradient.shape, generator=generator(0, "PerturbGradients", step, name))
        gradient += 0.5 * (gradient.norm() / drawn.norm()) * drawn


def scale(gradients: Gradients, step: int) -> None:
    gradients["fc1.weight"].mul_(-2)


def clip_norm(gradients: Gradients, step: int) -> None:
    parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients.values()]
    for parameter, gradient in zip(parameters, gradients.values(), strict=True):
        parameter.grad = gradient
    nn.utils.clip_grad_norm_(parameters, 0.1)


def clip_value(gradients: Gradients, step: int) -> None:
    for name in ("fc1.weight", "fc1.bias"):
        gradients[name].clamp_(-0.01, 0.01)


def sign(gradients: Gradients, step: int) -> None:
    for gradient in gradients.values():
        gradient.copy_(gradient.sign())


def drop(gradients: Gradients, step: int) -> None:
    for name, gradient in gradients.items():
        drawn = torch.rand(gradient.shape, generator=generator(2, "DropGradients", step, name))
        gradient[drawn < 0.3] = 0


def drop_layers(gradients: Gradients, step: int) -> None:
    for name, gradient in gradients.items():
        layer = name.rpartition(".")[0]
        if torch.rand((), generator=generator(0, "DropGradients", step, layer)) < 0.5:
            gradient.zero_()


def drop_all(gradients: Gradients, step: int) -> None:
    gradients["fc2.weight"].zero_()
    gradients["fc2.bias"].zero_()


@pytest.mark.parametrize(
    ("intervention", "change"),
    [
        (PerturbGradients(0.1, layers="fc*", seed=3, when=WINDOW), noise),
        (PerturbGradients(0.5, relative="norm", when=WINDOW), relative_noise),
        (ScaleGradients(-2.0, layers="fc1.weight", when=WINDOW), scale),
        (ClipGradients(norm=0.1, when=WINDOW), clip_norm),
        (ClipGradients(value=0.01, layers="fc1", when=WINDOW), clip_value),
        (SignGradients(when=WINDOW), sign),
        (DropGradients(0.3, seed=2, when=WINDOW), drop),
        (DropGradients(0.5, whole=True, when=WINDOW), drop_layers),
        (DropGradients(layers="fc2", when=WINDOW), drop_all),
    ],
    ids=written,
)
def test_equals_a_loop_written_by_hand(intervention: Any, change: Any, folder: Path) -> None:
    assert_equals_by_hand(folder, intervention, gradients=change)


@given(share=st.floats(0, 1), more=st.floats(0, 1), seed=st.integers(0, 99))
def test_what_is_dropped_at_a_share_is_dropped_at_every_larger_one(
    share: float, more: float, seed: int
) -> None:
    def dropped(share: float) -> torch.Tensor:
        gradients = {"w": torch.ones(50)}
        DropGradients(share, seed=seed).edit(gradients, 7)
        return gradients["w"] == 0

    low, high = sorted((share, more))
    assert bool((dropped(low) <= dropped(high)).all())


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=20), st.floats(0.125, 10))
def test_clipped_gradients_are_within_both_bounds(values: list[float], bound: float) -> None:
    gradients = {"a": torch.tensor(values), "b": torch.tensor(values) * 2}
    ClipGradients(norm=bound, value=bound / 2).edit(gradients, 0)
    assert torch.cat(list(gradients.values())).norm() <= bound * 1.001
    assert max(gradient.abs().max().item() for gradient in gradients.values()) <= bound / 2 * 1.001


def test_relative_noise_has_the_norm_that_is_asked_for() -> None:
    gradients = {"w": torch.full((30,), 2.0), "none": torch.zeros(3)}
    PerturbGradients(0.25, relative="norm").edit(gradients, 0)
    assert (gradients["w"] - 2).norm().item() == pytest.approx(0.25 * torch.full((30,), 2.0).norm().item())
    assert not gradients["none"].any(), "nothing relative to nothing"


def test_a_parameter_without_a_gradient_is_passed_over() -> None:
    gradients = {"fc1.weight": torch.ones(2)}
    ScaleGradients(3.0, layers="fc2").edit(gradients, 0)
    assert gradients["fc1.weight"].tolist() == [1, 1]


class Frozen(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(4, 8), nn.Linear(8, 3))
        self[1].requires_grad_(False)


@pytest.mark.parametrize(
    ("intervention", "told"),
    [
        (
            ScaleGradients(2.0, layers="3"),
            r"ScaleGradients: '3' matches no parameter or layer of the model \(",
        ),
        (
            SignGradients(layers="1.*", when=(0, 2)),
            "SignGradients: '1.*' matches '1.bias', '1.weight', and none has a gradient in the first step",
        ),
    ],
)
def test_what_would_do_nothing_is_refused_before_training(intervention: Any, told: str, folder: Path) -> None:
    exp = experiment(folder, [intervention], model=Frozen())
    with pytest.raises(LevelError, match=told.replace("*", r"\*")):
        run(exp)
    assert exp.plan().cached == 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: PerturbGradients("big"), "PerturbGradients: epsilon='big' is no number"),
        (lambda: PerturbGradients(0.1, seed=-1), "PerturbGradients: seed=-1 is no whole number >= 0"),
        (lambda: PerturbGradients(0.1, layers=()), r"PerturbGradients: layers=\(\); expected a path or glob"),
        (lambda: ScaleGradients(2.0, layers=3), "ScaleGradients: layers=3; expected a path or glob"),
        (lambda: ScaleGradients(2.0, when=(4, 2)), r"ScaleGradients: the window \(4, 2\) runs backwards"),
        (lambda: ClipGradients(norm=-1.0), "ClipGradients: norm=-1.0 is negative"),
        (lambda: DropGradients(1.5), "DropGradients: share=1.5 is no share; give a number between 0 and 1"),
    ],
)
def test_wrong_values_are_refused_where_they_are_written(wrong: Any, told: str) -> None:
    with pytest.raises(LevelError, match=told):
        wrong()


def test_however_layers_are_written_the_key_is_one(folder: Path) -> None:
    def key(layers: Any) -> str:
        return experiment(folder, ScaleGradients(2.0, layers=layers))[0].key

    assert key("fc1") == key(("fc1",)) == key(["fc1", "fc1"]) != key("fc2")
    assert key(("fc1", "fc2")) == key(("fc2", "fc1"))

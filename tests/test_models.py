from __future__ import annotations

import doctest
from functools import partial

import pytest
import torch
from torch import nn

import paribus.models
from paribus.datasets import digits
from paribus.errors import ConfigurationError
from paribus.models import MLP, LeNet5

FACTORIES = [
    LeNet5,
    partial(LeNet5, width=2, classes=3),
    MLP,
    partial(MLP, hidden=()),
    partial(MLP, outputs=1),
]


def test_lenet5_has_the_layers_of_the_original() -> None:
    model = LeNet5()
    shapes = {
        name: tuple(getattr(model, name).weight.shape) for name in ("conv1", "conv2", "fc1", "fc2", "fc3")
    }
    assert shapes == {
        "conv1": (6, 1, 5, 5),
        "conv2": (16, 6, 5, 5),
        "fc1": (120, 400),
        "fc2": (84, 120),
        "fc3": (10, 84),
    }
    assert sum(parameter.numel() for parameter in model.parameters()) == 61_706


def test_width_multiplies_the_hidden_layers() -> None:
    model = LeNet5(width=2, classes=3)
    assert model.conv1.out_channels == 12
    assert model.fc3.weight.shape == (3, 168)
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 3)


@pytest.mark.parametrize("hidden", [(), (5,), (6, 5), (7, 6, 5)])
def test_an_mlp_has_one_layer_more_than_hidden_sizes(hidden: tuple[int, ...]) -> None:
    model = MLP(inputs=12, hidden=hidden, outputs=2)
    linear = [name for name, module in model.named_children() if isinstance(module, nn.Linear)]
    assert linear == [f"fc{i}" for i in range(1, len(hidden) + 2)]
    assert model(torch.zeros(4, 3, 2, 2)).shape == (4, 2)


def test_digits_fit_both_models_as_they_are() -> None:
    images, _ = digits()["test"].tensors
    raw, _ = digits(size=8)["test"].tensors
    assert LeNet5()(images).shape == MLP()(images).shape == MLP(inputs=64)(raw).shape == (360, 10)


@pytest.mark.parametrize("factory", FACTORIES)
def test_every_parameter_can_be_drawn_anew(factory) -> None:
    model = factory()
    for module in model.modules():
        if list(module.parameters(recurse=False)):
            module.reset_parameters()


@pytest.mark.parametrize("factory", FACTORIES)
def test_weights_are_a_function_of_the_seed(factory) -> None:
    def drawn() -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(7)
            return nn.utils.parameters_to_vector(factory().parameters())

    assert torch.equal(drawn(), drawn())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: LeNet5(width=0), "LeNet5: got width=0, expected a size ≥ 1"),
        (lambda: MLP(hidden=(8, 0)), "MLP: got hidden=0"),
        (lambda: MLP(outputs=-1), "MLP: got outputs=-1"),
    ],
)
def test_a_size_below_one_is_refused(wrong, message) -> None:
    with pytest.raises(ConfigurationError, match=message):
        wrong()


def test_the_examples_of_the_docstrings_run() -> None:
    assert doctest.testmod(paribus.models).failed == 0

"""What the gate refuses, each with its own class, and what it leaves alone."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import (
    Attention,
    Mixture,
    Stack,
    ablated,
    labelled,
    named_probe,
    probe_of,
)
from torch import nn

from paribus.errors import AblationError, ConfigurationError, InputCut, NoEffect, ShapeUnrepairable, TiedAlias
from paribus.interventions.layers import AblateLayers
from paribus.interventions.layers.fitting import fit
from paribus.interventions.layers.gate import certify
from paribus.interventions.layers.planning import Subject

PROBE = labelled(6)


@pytest.fixture(autouse=True)
def _weights() -> None:
    torch.manual_seed(0)


def linear(inputs: int = 6, outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 6), nn.ReLU(), nn.Linear(6, outputs))


class Changed(nn.Module):
    """A model and something done to its output or input."""

    def __init__(self, model: nn.Module, before: Any = None, after: Any = None) -> None:
        super().__init__()
        self.model, self.before, self.after = model, before, after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.model(self.before(self, x) if self.before else x)
        return self.after(self, x) if self.after else x


def test_the_model_itself_is_no_change() -> None:
    model = linear()
    with pytest.raises(NoEffect):
        certify(model, model, PROBE)


def test_a_change_that_zero_weights_hide_is_seen() -> None:
    class Zero(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch, self.scale, self.head = (
                nn.Linear(6, 6),
                nn.Parameter(torch.zeros(6)),
                nn.Linear(6, 3),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x + self.scale * self.branch(x))

    ablated(Zero(), "branch", PROBE)


def test_an_input_that_zero_weights_hide_is_no_cut() -> None:
    model = linear()
    nn.init.zeros_(model[2].weight)
    ablated(model, 1, PROBE)


@pytest.mark.parametrize(
    ("changed", "error", "told"),
    [
        (
            lambda m: Changed(m, after=lambda s, y: torch.cat([y, y], 1)),
            ShapeUnrepairable,
            r"expected \(\(2, 3\),\)",
        ),
        (
            lambda m: Changed(m, after=lambda s, y: y if s.training else y[:, :2]),
            ShapeUnrepairable,
            "in evaluation",
        ),
        (lambda m: Changed(m, after=lambda s, y: y[:2]), ShapeUnrepairable, "at another batch size"),
        (lambda m: Changed(m, before=lambda s, x: x.mul_(2)), AblationError, "writes to the user's batch"),
        (
            lambda m: Changed(m, after=lambda s, y: y if s.training else 2 * y),
            AblationError,
            "training and evaluation",
        ),
        (lambda m: Changed(m, before=lambda s, x: 0 * x), InputCut, "does not depend on the input"),
        (
            lambda m: Changed(m, after=lambda s, y: y.mean(0, keepdim=True).expand_as(y)),
            InputCut,
            "does not depend",
        ),
        (
            lambda m: Changed(m.requires_grad_(False), after=lambda s, y: 2 * y),
            AblationError,
            "nothing is left to train",
        ),
        (lambda m: Changed(m, after=lambda s, y: 2 * y.detach()), AblationError, "takes no step"),
    ],
)
def test_what_does_not_hold_is_refused(changed: Any, error: type[AblationError], told: str) -> None:
    torch.manual_seed(1)
    other = linear()
    with pytest.raises(error, match=told) as raised:
        certify(linear(), changed(other), labelled(6, batch=2))
    assert type(raised.value) is error


def test_an_output_of_several_keeps_each_dependence() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.body = nn.Linear(6, 3), nn.Linear(6, 3), nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.one(x), self.other(self.body(x))

    def loss(model: nn.Module, batch: Any) -> torch.Tensor:
        return sum(nn.functional.cross_entropy(out, batch[1]) for out in model(batch[0]))

    probe = probe_of(PROBE.batch, loss)
    ablated(Two(), "body", probe)
    with pytest.raises(InputCut):
        ablated(Two(), "body", probe, mode="zero")


def test_errors_are_of_the_configuration_and_travel_between_processes() -> None:
    error = ShapeUnrepairable("it fails", "head", ((4, 6),))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.op, again.shapes) == ("it fails", "head", ((4, 6),))
    assert issubclass(TiedAlias, AblationError)
    assert issubclass(AblationError, ConfigurationError)


def test_the_way_depends_on_no_weight() -> None:
    probes = [labelled(6), labelled(6)]
    for layer in ("experts.1", "router", "experts", "head.bias"):
        plans = []
        for seed, probe in enumerate(probes):
            torch.manual_seed(seed)
            plans.append(AblateLayers(layer).planned(Subject(Mixture(), probe)))
        assert plans[0].way == plans[1].way
        assert [r.path for r in plans[0].removals] == [r.path for r in plans[1].removals]


def test_a_plan_is_not_taken_for_a_model_with_other_settings() -> None:
    class Sometimes(nn.Module):
        def __init__(self, uses: bool) -> None:
            super().__init__()
            self.uses, self.extra, self.head = uses, nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.extra(x) if self.uses else x)

    AblateLayers("extra").plan(Sometimes(True), PROBE)
    with pytest.raises(NoEffect):
        AblateLayers("extra").plan(Sometimes(False), PROBE)


def test_importing_the_room_leaves_torch_alone() -> None:
    code = (
        "import sys; from paribus.interventions.layers import AblateLayers; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_hidden_outputs_are_judged_by_the_loss() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def scores(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x))

    def loss(model: Any, batch: Any) -> torch.Tensor:
        return nn.functional.cross_entropy(model.scores(batch[0]), batch[1])

    ablated(Hidden(), "body", probe_of(PROBE.batch, loss))


def test_other_lengths_and_batches_pass_an_adapted_site() -> None:
    changed = ablated(Attention(), "encoder.layers.0.linear1", labelled(5, 8)).train()
    assert changed(torch.randn(7, 9, 8)).shape == (7, 3)


@settings(max_examples=40, deadline=None)
@given(
    source=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    target=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    batch=st.integers(2, 5),
    other=st.integers(1, 7),
)
def test_an_adapter_gives_the_shape_at_any_batch_size(
    source: list[int], target: list[int], batch: int, other: int
) -> None:
    def shapes(size: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (size, *source), (size, *target)

    how = fit(*shapes(batch), *shapes(batch + 1))
    given_shape, wanted = shapes(other)
    assert how(torch.randn(given_shape)).shape == wanted
    constant = how(torch.ones(given_shape))
    assert torch.allclose(constant, torch.ones_like(constant)), "averages and repetitions"


def test_an_adapter_moves_and_folds_the_batch_axis() -> None:
    assert fit((4, 5, 6), (5, 4, 3), (3, 5, 6), (5, 3, 3))(torch.randn(7, 5, 6)).shape == (5, 7, 3)
    assert fit((4, 6), (8, 6), (3, 6), (6, 6))(torch.randn(5, 6)).shape == (10, 6)


def test_a_batch_on_which_the_model_fails_is_told() -> None:
    with pytest.raises(AblationError, match="the model itself fails on this batch"):
        AblateLayers("head").edit(Stack(), named_probe())

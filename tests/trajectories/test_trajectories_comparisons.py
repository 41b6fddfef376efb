"""Distance, disagreement and barrier, on learners made for the purpose."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learning_cases import Stochastic, experiment
from paribus.engine.running.pairs import _observe
from paribus.errors import MetricError
from paribus.interventions import InitWeights
from paribus.loggers import barrier, disagreement, distance


@pytest.fixture(autouse=True)
def _as_in_a_metric() -> Iterator[None]:
    with torch.no_grad():
        yield


def observed(folder: Path, seed: int = 0, **options: Any) -> Any:
    exp = experiment(folder, InitWeights(seed=seed), **options)
    return _observe(exp[0].cell, exp[0].checkpoint(0), exp.work)


def filled(learner: Any, value: float) -> Any:
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter.fill_(value)
    return learner


def test_distance_is_that_of_all_parameters(folder: Path) -> None:
    one, other = filled(observed(folder), 3.0), filled(observed(folder), 1.0)
    count = sum(parameter.numel() for parameter in one.model.parameters())
    assert distance(one, other) == distance(other, one) == pytest.approx(2 * math.sqrt(count))
    assert distance(one, other, relative=True) == pytest.approx(2.0)
    assert distance(other, one, relative=True) == pytest.approx(2 / 3)
    assert distance(one, one) == distance(one, one, relative=True) == 0.0


def test_distance_of_floats_is_not_lost_in_float32(folder: Path) -> None:
    one, other = filled(observed(folder), 1.0), filled(observed(folder), 1.0 + 2**-20)
    count = sum(parameter.numel() for parameter in one.model.parameters())
    assert distance(one, other) == pytest.approx(2**-20 * math.sqrt(count), rel=1e-12)


def test_different_architectures_cannot_be_compared(folder: Path) -> None:
    small, large = observed(folder), observed(folder, model=Stochastic())
    with pytest.raises(MetricError, match="distance: the two models have different parameters"):
        distance(small, large)
    with pytest.raises(MetricError, match="blended: the two models have different parameters"):
        small.blended(large, 0.5)


def test_disagreement_is_a_share_of_samples(folder: Path) -> None:
    one, other = observed(folder, 0), observed(folder, 1)
    classes = [each.predictions("test").outputs.argmax(1) for each in (one, other)]
    assert disagreement(one, other) == (classes[0] != classes[1]).double().mean().item()
    assert disagreement(one, one) == 0.0
    with pytest.raises(MetricError, match="'tset' is no split"):
        disagreement(one, other, "tset")


def test_disagreement_needs_classes(folder: Path) -> None:
    one = observed(folder, objective=hidden)
    with pytest.raises(MetricError, match="got no outputs on 'test'; expected scores of classes"):
        disagreement(one, one)


def hidden(model: nn.Module, batch: Any) -> torch.Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def test_a_blend_at_its_ends_is_the_ends_and_shares_nothing(folder: Path) -> None:
    one, other = observed(folder, 0, model=Stochastic()), observed(folder, 1, model=Stochastic())
    other.model[1].running_mean.fill_(2.0)
    kept = [{name: t.clone() for name, t in each.model.state_dict().items()} for each in (one, other)]
    for weight, end in ((0.0, 0), (1.0, 1)):
        blend = one.blended(other, weight)
        assert all(torch.equal(t, kept[end][name]) for name, t in blend.model.state_dict().items())
        assert blend.predictions("test").loss == (one, other)[end].predictions("test").loss
    middle = one.blended(other, 0.25)
    assert torch.equal(middle.model[1].running_mean, torch.full((8,), 0.5))
    assert middle.model[1].num_batches_tracked.dtype == torch.int64
    filled(middle, 9.0)
    for each, before in zip((one, other), kept, strict=True):
        assert all(torch.equal(t, before[name]) for name, t in each.model.state_dict().items())


class Well(nn.Module):
    """A loss of two wells: (w² - 1)², whatever the batch is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return (self.weight**2 - 1) ** 2


def depth(model: nn.Module, batch: Any) -> torch.Tensor:
    return model(batch[0]).sum()


@pytest.mark.parametrize(
    ("ends", "points", "height"),
    [
        ((-1.0, 1.0), 4, 64 / 81),  # the nearest to the middle are ±1/3
        ((-1.0, 1.0), 3, 1.0),
        ((-1.0, 1.0), 2, 0.0),
        ((1.0, 1.0), 5, 0.0),
        ((1.0, 2.0), 3, 0.0),  # convex there: below the line
        ((0.0, 1.0), 3, 0.0625),  # 0.5625 at the middle, 0.5 on the line
    ],
)
def test_a_barrier_between_two_wells(
    ends: tuple[float, float], points: int, height: float, folder: Path
) -> None:
    learners = [filled(observed(folder, model=Well(), objective=depth), end) for end in ends]
    assert barrier(learners[0], learners[1], points=points) == pytest.approx(height, abs=1e-6)
    assert barrier(learners[1], learners[0], points=points) == pytest.approx(height, abs=1e-6)


@pytest.mark.parametrize("points", [1, 0, -3])
def test_a_barrier_has_two_ends(points: int, folder: Path) -> None:
    one = observed(folder)
    with pytest.raises(MetricError, match=f"barrier: points={points}; expected at least 2"):
        barrier(one, one, points=points)

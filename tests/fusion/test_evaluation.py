"""Learners of a group are evaluated as one, and record what each records alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fusion_cases import DEVICE, differences, walked
from torch import nn

from paribus import Experiment, Logger, register_metric
from paribus.datasets import digits, synthetic_regression
from paribus.engine.building import data
from paribus.engine.fusion import together
from paribus.interventions import SetOptimizer
from paribus.loggers import Every, first_when
from paribus.models import MLP

SPLITS = {name: torch.utils.data.Subset(split, range(72)) for name, split in digits(size=8).items()}
EVALUATED: list[nn.Module] = []


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test proves its groups anew, and a split has batches of 32, 32 and 8."""
    monkeypatch.setattr(data, "EVALUATION_BATCH", 32)
    together.known.clear()
    EVALUATED.clear()
    yield
    together.known.clear()


class Counted(nn.Module):
    """Tells how often it is evaluated, by itself."""

    def __init__(self) -> None:
        super().__init__()
        layers = nn.Linear(64, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.2)
        self.body = nn.Sequential(nn.Flatten(), *layers)
        self.head = nn.Linear(24, 10)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.training:
            EVALUATED.append(self)
        return self.head(self.body(inputs))


class Draws(Counted):
    """Draws in evaluation too."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(super().forward(inputs), 0.5, training=True)


class Ages(Counted):
    """Changes when it is evaluated, which fails a learner."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("age", torch.zeros(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.training:
            self.age.add_(1)
        return super().forward(inputs)


class Judges(Counted):
    """Looks at values in evaluation."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs = super().forward(inputs)
        return outputs if self.training or outputs.max() < 1e9 else -outputs


def experiment(folder: Path, **options: Any) -> Experiment:
    settings: dict[str, Any] = {
        "model": Counted,
        "dataset": SPLITS,
        "steps": 5,
        "batch_size": 32,
        "logger": Logger(Every(1)),
        "device": DEVICE,
    }
    rates = SetOptimizer.make_variations(lr=(0.01, 0.02, 0.03))
    return Experiment(interventions=rates, store=folder, **(settings | options))


def compared(exp: Experiment) -> tuple[int, int, list[str]]:
    """Train as a group and alone, which must be equal; count evaluations in each, and list the outcomes."""
    grouped = walked(exp, 8)
    count = len(EVALUATED)
    assert differences(grouped, walked(exp, False)) == []
    return count, len(EVALUATED) - count, sorted(outcome.status for _, outcome in grouped.values())


class Many(Logger):
    """Metrics of all sorts, beside the default ones."""

    @register_metric
    def confidence(self, learner: Any, split: str) -> torch.Tensor:
        return learner.predictions(split).outputs.softmax(1).amax(1).mean() + torch.rand(())

    @register_metric(every=3)
    def norms(self, learner: Any) -> dict[str, torch.Tensor]:
        return {name: weight.norm() for name, weight in learner.model.named_parameters()}

    @register_metric(stream="test", every=4)
    def largest(self, learner: Any, batches: Any) -> float:
        return max(float(batch.outputs.max()) for batch in batches)

    @register_metric(schedule=first_when(lambda learner: learner.predictions("test").loss < 2.3, Every(2)))
    def arrived(self, learner: Any) -> int:
        return learner.step


def is_second(learner: Any) -> bool:
    return bool(learner.config["components"]["optimizer"]["value"]["lr"] == 0.02)


class Raises(Logger):
    """Fails one learner's metric, and not the learner."""

    @register_metric
    def raises(self, learner: Any) -> float:
        outputs = learner.predictions("test").outputs
        if is_second(learner):
            raise ValueError("not this one")
        return float(outputs.mul_(2).sum())  # what it is given is its own


class Disturbs(Logger):
    """Asks for predictions of a model that it changes, and puts back what was there."""

    @register_metric
    def disturbed(self, learner: Any) -> float:
        bias = learner.model.head.bias
        before = bias.clone()
        bias.mul_(1 + learner.step)
        loss = learner.predictions("train").loss
        bias.copy_(before)
        return loss


class Differentiates(Logger):
    """Takes gradients of the loss on a whole split."""

    @register_metric
    def steepness(self, learner: Any) -> torch.Tensor:
        with torch.enable_grad():
            found = learner.predictions("train")
            loss = nn.functional.cross_entropy(found.outputs, found.targets)
            return torch.autograd.grad(loss, learner.model.head.weight)[0].norm()


def own(model: nn.Module, batch: Any) -> torch.Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def size(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return outputs.square().sum(1).mean(0)


CASES: dict[str, dict[str, Any]] = {
    "metrics of all sorts": {"logger": Many(Every(1))},
    "named terms": {"loss": {"entropy": nn.CrossEntropyLoss(), "size": size}},
    "mean squares": {"dataset": synthetic_regression(n=64, features=4), "model": partial(MLP, 4, (16,), 1)},
    "the user's own objective": {"objective": own},
    "one raises": {"logger": Raises(Every(1))},
    "one raises, and stands first": {"logger": Raises(Every(1), defaults=False)},
    "a metric disturbs the model": {"logger": Disturbs(Every(1), defaults=False)},
    "a metric disturbs the model, beside others": {"logger": Disturbs(Every(2))},
    "a metric differentiates": {"logger": Differentiates(Every(1), defaults=False)},
    "it draws in evaluation": {"model": Draws},
    "it looks at values in evaluation": {"model": Judges},
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_group_records_is_what_each_records_alone(folder: Path, name: str) -> None:
    assert compared(experiment(folder, **CASES[name]))[2] == ["done"] * 3
    assert any(certificates.holds for certificates in together.known.values())


def test_a_group_is_evaluated_by_its_program_once_that_is_proven(folder: Path) -> None:
    grouped, alone, _ = compared(experiment(folder, steps=12))
    assert alone == 3 * 13 * 2 * 3  # learners, steps, splits, batches
    assert grouped <= 3 * 3 * 3 + 4  # each three times on three batches, and traces


def test_a_model_that_changes_when_it_is_evaluated_fails_in_a_group_too(folder: Path) -> None:
    assert compared(experiment(folder, model=Ages, logger=Logger(Every(4))))[2] == ["failed"] * 3


class Meddles(Logger):
    """Changes one learner."""

    @register_metric
    def meddles(self, learner: Any) -> float:
        if is_second(learner) and learner.step == 3:
            learner.model.head.bias.add_(1)
        return learner.predictions("test").loss


def test_one_whose_metric_changes_it_touches_no_other(folder: Path) -> None:
    exp = experiment(folder, logger=Meddles(Every(1)))
    assert compared(exp)[2] == ["done"] * 2 + ["failed"]


class Keeps(Logger):
    """Changes a model through what it kept of an earlier step."""

    def __init__(self) -> None:
        super().__init__(Every(1))
        self.kept: dict[int, Any] = {}

    @register_metric
    def keeps(self, learner: Any) -> float:
        if learner.step == 4:
            self.kept.pop(id(learner)).head.bias.data.add_(1)
        elif learner.step == 3:
            self.kept[id(learner)] = learner.model
        return 0.0


def test_a_metric_that_changes_what_it_kept_fails_the_learner(folder: Path) -> None:
    assert compared(experiment(folder, logger=Keeps()))[2] == ["failed"] * 3

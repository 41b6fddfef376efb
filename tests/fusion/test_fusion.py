"""A group has the bits of its learners alone: over layers, optimizers, interventions, forks, failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fusion_cases import DEVICE, differences, walked
from torch import nn

from learning_cases import POINTS, FailsFrom, Stochastic
from paribus import Experiment, Logger, register_metric
from paribus.datasets import digits, synthetic_regression
from paribus.engine.fusion import together
from paribus.identity import generator
from paribus.interventions import (
    ClipGradients,
    Cosine,
    InitWeights,
    PerturbGradients,
    PerturbInputs,
    PerturbMomentum,
    PerturbWeights,
    PruneWeights,
    ScaleMomentumBuffer,
    SetOptimizer,
    SetSeeds,
)
from paribus.loggers import Every
from paribus.models import MLP, LeNet5

RAW = digits(size=8)
SMALL = {name: torch.utils.data.Subset(split, range(72)) for name, split in RAW.items()}  # 32, 32, 8
LOOK = Logger(Every(3))


class Residual(nn.Module):
    """A small ResNet: convolutions with BatchNorm, a sum, a mean over places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)
        )
        self.head = nn.Linear(8, 10)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        stem = self.stem(inputs)
        return self.head(nn.functional.avg_pool2d(torch.relu(stem + self.body(stem)), 2).mean((2, 3)))


class Transformer(nn.Module):
    """Rows of an image as tokens."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.block = nn.TransformerEncoderLayer(
            16, 2, 32, dropout=dropout, batch_first=True, activation="gelu"
        )
        self.head = nn.Linear(16, 10)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.embed(inputs[:, 0])).mean(1))


class Recurrent(nn.Module):
    """An LSTM over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.LSTM(8, 12, batch_first=True)
        self.head = nn.Linear(12, 10)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(inputs[:, 0])[0][:, -1])


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 24),
        nn.Tanh(),
        nn.Linear(24, 10),
    )


class Picky(Logger):
    """A metric that one learner does not survive."""

    @register_metric
    def picky(self, learner: Any) -> float:
        if learner.step == 5 and learner.optimizer.param_groups[0]["lr"] == 0.2:
            raise ValueError("not this one")
        return 0.0


def chain(*layers: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), *(make() for make in layers), nn.Linear(32, 10))


LAYERS: dict[str, Any] = {
    "mlp": partial(MLP, 64, (32, 16)),
    "convolutions": convolutions,
    "residual": Residual,
    "transformer": Transformer,
    "recurrent": Recurrent,
    "dropout": partial(chain, partial(nn.Dropout, 0.4), nn.ReLU),
    "batch norm": partial(chain, partial(nn.BatchNorm1d, 32), nn.GELU),
    "layer norm": partial(chain, partial(nn.LayerNorm, 32), nn.SiLU),
    "gates": partial(chain, nn.Sigmoid, nn.ELU, nn.Softplus, nn.LeakyReLU, nn.Hardswish),
    "odd sizes": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 7), nn.Tanh(), nn.Linear(7, 3), nn.Linear(3, 10)
    ),
}


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    """Each test proves its groups anew."""
    together.known.clear()
    yield
    together.known.clear()


def refusals() -> list[str]:
    return [record.refused for record in together.known.values() if record.refused is not None]


def proven() -> int:
    return sum(record.compared for record in together.known.values())


def experiment(folder: Path, interventions: Any, **options: Any) -> Experiment:
    settings: dict[str, Any] = {
        "model": partial(MLP, 64, (32, 16)),
        "dataset": SMALL,
        "steps": 8,
        "logger": LOOK,
        "device": DEVICE,
    }
    return Experiment(interventions=interventions, store=folder, **(settings | options))


def is_fused(exp: Experiment, fuse: Any = 8) -> bool:
    """Train in both forms, which must be equal; tell whether there were groups."""
    ends = walked(exp, fuse)
    assert differences(ends, walked(exp, False)) == []
    return proven() > 0 and not refusals()


@pytest.mark.parametrize("name", LAYERS)
def test_a_group_has_the_bits_of_each_alone_over_layers(folder: Path, name: str) -> None:
    seeds = InitWeights.make_variations(seed=range(3))
    assert (
        is_fused(experiment(folder, seeds, model=LAYERS[name])) or name == "recurrent"
    )  # its kernel runs alone


OPTIMIZERS: dict[str, Any] = {
    "plain": partial(torch.optim.SGD, lr=0.1),
    "nesterov": partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "dampening": partial(torch.optim.SGD, lr=0.1, momentum=0.9, dampening=0.1, maximize=True),
    "adam": partial(torch.optim.Adam, lr=0.01, amsgrad=True),
    "adamw": partial(torch.optim.AdamW, lr=0.01),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.01, momentum=0.5, centered=True),
    "adagrad": partial(torch.optim.Adagrad, lr=0.01),
    "adadelta": torch.optim.Adadelta,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rprop": torch.optim.Rprop,
    "asgd": torch.optim.ASGD,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_group_has_the_bits_of_each_alone_over_optimizers(folder: Path, name: str) -> None:
    rates = [InitWeights.make_variations(seed=(0, 1)), SetOptimizer.make_variations(lr=(0.01, 0.02))]
    assert is_fused(experiment(folder, rates, optimizer=OPTIMIZERS[name]))


INTERVENTIONS: dict[str, Any] = {
    "windows": PerturbMomentum.make_variations(momentum=(0.8, 0.5), when=((0, 3), (2, 5))),
    "weights": PerturbWeights.make_variations(epsilon=(0.1, 0.2), step=(0, 4)),
    "rates": SetOptimizer.make_variations(lr=(0.1, 0.2), when=(2, 6)),
    "another class": SetOptimizer.make_variations(optimizer=torch.optim.Adam, lr=(0.01, 0.1), when=(2, 5)),
    "pruning": PruneWeights.make_variations(fraction=(0.3, 0.6), when=((0, 8), (3, 6))),
    "masks that go on": [
        PruneWeights.make_variations(fraction=(0.3, 0.6), when=(0, 8)),
        PerturbMomentum.make_variations(momentum=(0.8,), when=(2, 5)),
    ],
    "inputs": PerturbInputs.make_variations(epsilon=(0.1, 0.2)),
    "gradients": ClipGradients.make_variations(norm=(0.1, 0.5)),
    "gradients in a window": PerturbGradients.make_variations(
        epsilon=(0.1, 0.2), relative="norm", when=(2, 5)
    ),
    "buffers": ScaleMomentumBuffer.make_variations(factor=(0.5, 2.0), when=((0, 3), (2, 5))),
    "orders": SetSeeds.make_variations(order=(1, 2)),
    "orders in a window": SetSeeds.make_variations(order=(1, 2), when=(2, 5)),
}


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_a_group_has_the_bits_of_each_alone_over_interventions(folder: Path, name: str) -> None:
    assert is_fused(experiment(folder, INTERVENTIONS[name]))


def test_a_group_follows_schedules(folder: Path) -> None:
    rates = SetOptimizer.make_variations(lr=(0.1, 0.2))
    assert is_fused(experiment(folder, rates, schedule=Cosine()))


def squares(model: nn.Module, batch: Any) -> torch.Tensor:
    return (model(batch[0]) - batch[1]).square().mean() + model(batch[0]).abs().sum() / 100


@pytest.mark.parametrize("objective", [None, squares], ids=("mse", "own"))
def test_a_group_regresses(folder: Path, objective: Any) -> None:
    data = synthetic_regression(n=64, features=4)
    seeds = InitWeights.make_variations(seed=range(3))
    model = partial(MLP, 4, (16,), 1)
    assert is_fused(experiment(folder, seeds, model=model, dataset=data, objective=objective))


def test_a_group_equals_loops_written_by_hand(folder: Path) -> None:
    rates, seeds = (0.05, 0.1), (0, 1)
    factors = [InitWeights.make_variations(seed=seeds), SetOptimizer.make_variations(lr=rates)]
    exp = experiment(folder, factors, steps=9, batch_size=32)
    ends = walked(exp, 8)
    images, labels = (torch.stack([torch.as_tensor(s[i]) for s in SMALL["train"]]).to(DEVICE) for i in (0, 1))
    for learner in exp:
        model = learner.checkpoint(0).model
        options = dict(learner.cell.configuration.optimizer.hyperparameters)
        optimizer = torch.optim.SGD(model.parameters(), **options)
        for step in range(9):
            epoch, place = divmod(step, 3)
            batch = torch.randperm(72, generator=generator(0, "order", epoch))[place * 32 : place * 32 + 32]
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        state, _ = ends[learner.key]
        assert state is not None
        assert all(torch.equal(p.cpu(), state.tensors[f"model/{n}"]) for n, p in model.named_parameters())
    assert proven()


def test_one_that_diverges_touches_no_other(folder: Path) -> None:
    rates = SetOptimizer.make_variations(lr=(0.1, 1e30, 0.2))
    exp = experiment(folder, rates)
    assert is_fused(exp)
    assert sorted(outcome.status for _, outcome in walked(exp, 8).values()) == ["diverged", "done", "done"]


def test_one_whose_metric_fails_touches_no_other(folder: Path) -> None:
    exp = experiment(folder, SetOptimizer.make_variations(lr=(0.1, 0.2)), logger=Picky(Every(1), strict=True))
    assert is_fused(exp)
    assert sorted(outcome.status for _, outcome in walked(exp, 8).values()) == ["done", "failed"]


def test_what_depends_on_values_runs_alone(folder: Path) -> None:
    seeds = InitWeights.make_variations(seed=range(4))
    exp = experiment(folder, seeds, model=FailsFrom, dataset=POINTS, batch_size=16)
    assert not is_fused(exp)
    assert any("depends on values" in reason for reason in refusals())


def test_state_and_draws_of_a_model_are_its_own(folder: Path) -> None:
    factors = [InitWeights.make_variations(seed=range(2)), SetSeeds.make_variations(forward=(0, 1))]
    assert is_fused(experiment(folder, factors, model=Stochastic, dataset=POINTS, batch_size=16))


def test_batches_of_another_size_are_proven_as_well(folder: Path) -> None:
    assert is_fused(experiment(folder, InitWeights.make_variations(seed=range(3)), epochs=3, steps=None))


def test_a_large_model_is_exact_too(folder: Path) -> None:
    seeds = InitWeights.make_variations(seed=range(2))
    assert is_fused(experiment(folder, seeds, model=LeNet5, dataset=digits(), steps=4))


@pytest.mark.parametrize("name", ["adam", "nesterov", "asgd"])
def test_alike_learners_of_more_rows_than_an_optimizer_takes_at_once_are_exact(
    folder: Path, name: str
) -> None:
    seeds, rates = InitWeights.make_variations(seed=range(5)), SetOptimizer.make_variations(lr=(0.01, 0.02))
    options = {"optimizer": OPTIMIZERS[name], "schedule": Cosine(), "steps": 5}
    assert is_fused(experiment(folder, [seeds, rates], model=partial(MLP, 64, (3000,)), **options), 10)


def test_auto_leaves_short_runs_alone(folder: Path) -> None:
    exp = experiment(folder, InitWeights.make_variations(seed=range(3)))
    assert not is_fused(exp, "auto")
    assert proven() == 0

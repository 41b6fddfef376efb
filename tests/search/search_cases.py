"""Small searches, importable by worker processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from paribus import Experiment, Float, Logger, Search
from paribus.datasets import blobs
from paribus.interventions import InitWeights, SetOptimizer
from paribus.loggers import Every, On
from paribus.models import MLP

POINTS = blobs(n=64, features=4)  # 48 to train: 3 steps of 16
LOSS, LR = "test/loss", "SetOptimizer.lr"
SEEDS = InitWeights.make_variations(seed=range(2))
LRS = SetOptimizer.make_variations(lr=Float(1e-4, 1.0, log=True))
ARMS = SetOptimizer.make_variations(
    optimizer=torch.optim.SGD, lr=Float(1e-4, 1.0, log=True), momentum=0.9
) + SetOptimizer.make_variations(
    optimizer=torch.optim.Adam, lr=Float(1e-4, 0.1, log=True), eps=Float(1e-9, 1e-6, log=True)
)


def experiment(store: Path | str, interventions: Any = LRS, search: Any = None, **options: Any) -> Experiment:
    settings: dict[str, Any] = {"steps": 3, "batch_size": 16, "logger": Logger(Every(1) | On("end"))}
    return Experiment(
        MLP(4, (8,), 3), POINTS, interventions, search=search, store=store, **(settings | options)
    )


def searched(store: Path | str, interventions: Any = LRS, trials: int = 4, **options: Any) -> Experiment:
    named = ("steps", "logger", "train", "objective")
    experiment_options = {name: options.pop(name) for name in named if name in options}
    search = Search(options.pop("metric", LOSS), "minimize", trials, **options)
    return experiment(store, interventions, search, **experiment_options)


def values(exp: Experiment, column: str = LR) -> list[Any]:
    """What was suggested, trial after trial."""
    return list(exp.trials()[column])

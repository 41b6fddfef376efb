"""What it costs to log, beyond the evaluation itself, and to tell how far a run is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from paribus import Experiment, Logger
from paribus.bench.by_hand import EVALUATION_BATCH, evaluate
from paribus.bench.measure import Benchmark, Figure, Timing, side_by_side
from paribus.datasets import digits
from paribus.models import MLP, LeNet5


def measure(models: Mapping[str, Callable[[], nn.Module]], epochs: int, repetitions: int) -> list[Figure]:
    """Time a learner with the default metrics, one without any, and the evaluations of the first by hand."""
    torch.set_num_threads(1)
    return [figure for name, make in models.items() for figure in _figures(name, make, epochs, repetitions)]


def _figures(name: str, make: Callable[[], nn.Module], epochs: int, repetitions: int) -> list[Figure]:
    data, seeds = digits(), count()
    splits = {split: _slices(each) for split, each in data.items()}
    with tempfile.TemporaryDirectory() as folder:

        def learner(logger: Logger) -> Callable[[], object]:
            seed = next(seeds)
            store = Path(folder, f"store-{seed}")
            exp = Experiment(make(), data, epochs=epochs, seed=seed, store=store, logger=logger)
            return partial(exp.run, progress=False)

        def evaluations() -> Callable[[], object]:
            model = make()
            return lambda: [evaluate(model, splits) for _ in range(epochs + 1)]

        timings = side_by_side(
            {
                "logged": partial(learner, Logger()),
                "bare": partial(learner, Logger(defaults=False)),
                "evaluations": evaluations,
            },
            repetitions,
        )
    beyond = [
        Timing(
            100 * (logged.wall - bare.wall - alone.wall) / bare.wall,
            100 * (logged.cpu - bare.cpu - alone.cpu) / bare.cpu,
        )
        for logged, bare, alone in zip(*timings.values(), strict=True)
    ]
    walls = {side: median(each.wall for each in times) for side, times in timings.items()}
    detail = ", ".join(f"{wall:.2f} s {side}" for side, wall in walls.items())
    what = f"logging the default metrics beyond evaluation, {name}, share of training"
    wall, cpu = median(each.wall for each in beyond), median(each.cpu for each in beyond)
    return [Figure(what, wall, "%", 5.0, "less", cpu, detail)]


def _slices(split: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    images, labels = split.tensors
    return list(zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True))


_MODELS = {"MLP": MLP, "LeNet5": LeNet5}

BENCHMARK = Benchmark(
    "logging",
    "One learner's `run()` on digits with the default metrics (loss and accuracy on train and test, at step "
    "0 and at each epoch's end), less one without metrics and less the same evaluations by hand, as a share "
    "of the one without metrics; on one intra-op thread.",
    {
        "full": {"models": _MODELS, "epochs": 15, "repetitions": 15},
        "quick": {"models": _MODELS, "epochs": 6, "repetitions": 5},
        "tiny": {"models": {"MLP": MLP}, "epochs": 1, "repetitions": 1},
    },
    measure,
)

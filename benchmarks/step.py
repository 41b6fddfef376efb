"""Steps per second of one learner, over two loops written by hand."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import torch
from torch import nn

from benchmarks.by_hand import loop_with_dataloader, loop_with_tensors
from benchmarks.measure import Benchmark, Figure, middle, ratio, side_by_side
from paribus import Experiment
from paribus.datasets import digits
from paribus.models import MLP, LeNet5

_TARGETS = {"DataLoader": 1.5, "tensors": 0.9}


def measure(models: dict[str, Callable[[], nn.Module]], epochs: int, repetitions: int) -> list[Figure]:
    """Time ``run()`` of a learner on a new store, and both loops, on one intra-op thread."""
    torch.set_num_threads(1)
    return [figure for name, make in models.items() for figure in _figures(name, make, epochs, repetitions)]


def _figures(name: str, make: Callable[[], nn.Module], epochs: int, repetitions: int) -> list[Figure]:
    data, seeds = digits(), count()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.jsonl")

        def learner() -> Callable[[], object]:
            seed = next(seeds)
            store = Path(folder, f"store-{seed}")
            exp = Experiment(make(), data, epochs=epochs, seed=seed, store=store)
            return partial(exp.run, progress=False)

        timings = side_by_side(
            {
                "learner": learner,
                "DataLoader": lambda: partial(loop_with_dataloader, make, data, epochs, next(seeds), log),
                "tensors": lambda: partial(loop_with_tensors, make, data, epochs, next(seeds), log),
            },
            repetitions,
        )
    steps = epochs * -(-len(data["train"]) // 32)
    rates = {side: steps / middle(times).wall for side, times in timings.items()}
    figures = []
    for side, target in _TARGETS.items():
        reached = ratio(timings[side], timings["learner"])
        detail = f"{rates['learner']:,.0f} against {rates[side]:,.0f} steps/s"
        what = f"steps per second, {name}: learner over loop with {side}"
        figures.append(Figure(what, reached.wall, "×", target, "more", reached.cpu, detail))
    return figures


_MODELS = {"MLP": MLP, "LeNet5": LeNet5}

BENCHMARK = Benchmark(
    "step",
    "One learner's `run()` on digits (batches of 32, SGD with momentum), the writing of its results "
    "included, over the same training by hand. Loss and accuracy on train and test are evaluated and "
    "logged at step 0 and at each epoch's end on both sides, on one intra-op thread.",
    {
        "full": {"models": _MODELS, "epochs": 15, "repetitions": 15},
        "quick": {"models": _MODELS, "epochs": 10, "repetitions": 5},
        "tiny": {"models": {"MLP": MLP}, "epochs": 1, "repetitions": 1},
    },
    measure,
)

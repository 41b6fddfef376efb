"""A handful of ratios that tell what Paribus costs on a machine: to a loop by hand, to files by hand."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import polars as pl
import torch
import xxhash
from torch import nn

from paribus.bench.by_hand import loop_with_dataloader, loop_with_tensors
from paribus.bench.measure import Benchmark, Figure, Timing, middle, ratio, side_by_side
from paribus.datasets import blobs, digits
from paribus.engine.building.model import Template
from paribus.engine.training.state import capture, restore
from paribus.experiment import Experiment
from paribus.interventions import InitWeights, SetOptimizer
from paribus.models import MLP

_LOOPS = {"DataLoader": 1.5, "tensors": 0.9}


def steps(models: Mapping[str, Callable[[], nn.Module]], epochs: int, repetitions: int) -> list[Figure]:
    """Time ``run()`` of one learner on a new store, and the same training in two loops by hand."""
    torch.set_num_threads(1)
    return [figure for name, make in models.items() for figure in _steps(name, make, epochs, repetitions)]


def _steps(name: str, make: Callable[[], nn.Module], epochs: int, repetitions: int) -> list[Figure]:
    data, seeds = digits(), itertools.count()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.jsonl")

        def learner() -> Callable[[], object]:
            seed = next(seeds)
            exp = Experiment(make(), data, epochs=epochs, seed=seed, store=Path(folder, f"store-{seed}"))
            return partial(exp.run, progress=False)

        timings = side_by_side(
            {
                "learner": learner,
                "DataLoader": lambda: partial(loop_with_dataloader, make, data, epochs, next(seeds), log),
                "tensors": lambda: partial(loop_with_tensors, make, data, epochs, next(seeds), log),
            },
            repetitions,
        )
    count = epochs * -(-len(data["train"]) // 32)
    rates = {side: count / middle(times).wall for side, times in timings.items()}
    figures = []
    for side, target in _LOOPS.items():
        reached = ratio(timings[side], timings["learner"])
        detail = f"{rates['learner']:,.0f} against {rates[side]:,.0f} steps/s"
        what = f"steps per second, {name}: learner over loop with {side}"
        figures.append(Figure(what, reached.wall, "×", target, "more", reached.cpu, detail))
    return figures


def fork(width: int, repetitions: int) -> Figure:
    """Leave a trunk and start a branch from it in memory: the state out of one model and into a new one."""
    model = nn.Sequential(nn.Linear(width, 5 * width), nn.Linear(5 * width, width))
    optimizer = _optimizer(model)
    model(torch.ones(1, width)).sum().backward()
    optimizer.step()
    source, trunk = Template(model), capture(1, model, optimizer)

    def branched() -> object:
        state, branch = capture(1, model, optimizer), source.blank()
        restore(state, branch, _optimizer(branch))
        return branch

    def copied() -> object:
        return {name: tensor.clone() for name, tensor in trunk.tensors.items()}

    timings = side_by_side({"fork": lambda: branched, "copy": lambda: copied}, repetitions)
    count = sum(parameter.numel() for parameter in model.parameters())
    return _over(
        f"fork of a state of {count:,} parameters over a copy of it", timings["fork"], timings["copy"], 3.0
    )


def stored(learners: int, steps: int, repetitions: int) -> list[Figure]:
    """Time a second run and its frame beside the reading of as many files of results by hand."""
    with tempfile.TemporaryDirectory() as folder:
        make = partial(_points, learners, steps, Path(folder, "store"))
        exp = make()
        exp.run(progress=False)
        files = _by_learner(exp.frame(), Path(folder))
        timings = side_by_side(
            {
                "run": lambda: lambda: make().run(progress=False),
                "frame": lambda: exp.frame,
                "files": lambda: lambda: pl.concat([pl.read_ndjson(file) for file in files]),
            },
            repetitions,
        )
        exp.store.close()
    by_hand = timings["files"]
    of = f"{learners:,} cached learners over reading {learners:,} files by hand"
    return [
        _over(f"second run of {of}", timings["run"], by_hand),
        _over(f"exp.frame() of {of}", timings["frame"], by_hand, 1.0),
    ]


def planning(seeds: int, rates: int, repetitions: int) -> Figure:
    """Time the plan of a grid, interventions to tree, beside a hash of each configuration by hand."""
    with tempfile.TemporaryDirectory() as folder:

        def plan() -> object:
            return _points(seeds, 1, Path(folder), rates).plan()

        def hashed() -> object:
            grid = itertools.product(range(seeds), (0.1 / (i + 1) for i in range(rates)))
            return {xxhash.xxh3_128_digest(json.dumps({"seed": s, "lr": lr}).encode()) for s, lr in grid}

        timings = side_by_side({"plan": lambda: plan, "hashed": lambda: hashed}, repetitions)
    return _over(
        f"planning {seeds * rates:,} cells over one hash of each", timings["plan"], timings["hashed"]
    )


def measure(epochs: int, width: int, learners: int, rates: int, repetitions: int) -> list[Figure]:
    """Measure all of them."""
    return [
        *steps({"MLP": MLP}, epochs, repetitions),
        fork(width, repetitions),
        *stored(learners, 20, repetitions),
        planning(learners, rates, repetitions),
    ]


def _points(seeds: int, steps: int, store: Path, rates: int = 1) -> Experiment:
    grid = [
        InitWeights.make_variations(seed=range(seeds)),
        SetOptimizer.make_variations(lr=tuple(0.1 / (i + 1) for i in range(rates))),
    ]
    return Experiment(MLP(2, (8,), 3), blobs(), grid, steps=steps, store=store)


def _by_learner(frame: pl.DataFrame, folder: Path) -> list[Path]:
    files = []
    for (learner,), rows in frame.group_by("learner", maintain_order=True):
        files.append(folder / f"{learner}.jsonl")
        rows.write_ndjson(files[-1])
    return files


def _over(what: str, ours: Sequence[Timing], theirs: Sequence[Timing], target: float | None = None) -> Figure:
    found, sides = ratio(ours, theirs), [middle(times, 1e3).wall for times in (ours, theirs)]
    return Figure(what, found.wall, "×", target, "less", found.cpu, "{:.3g} against {:.3g} ms".format(*sides))


def _optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


BENCHMARK = Benchmark(
    "ratios",
    "What a learner's step, a fork, a second run, a frame and a plan cost, each beside the same by hand.",
    {
        "full": {"epochs": 15, "width": 1000, "learners": 200, "rates": 50, "repetitions": 9},
        "quick": {"epochs": 5, "width": 500, "learners": 100, "rates": 20, "repetitions": 3},
        "tiny": {"epochs": 1, "width": 4, "learners": 2, "rates": 2, "repetitions": 1},
    },
    measure,
)

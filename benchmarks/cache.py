"""What a run costs when nothing is to be trained, and what a large plan costs."""

from __future__ import annotations

import json
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

from paribus import Experiment
from paribus.bench.measure import Benchmark, Figure, Timing, fresh_interpreter, middle
from paribus.datasets import blobs
from paribus.interventions import InitWeights, SetOptimizer
from paribus.models import MLP

_SECOND_RUN = """
import json, sys, time
import sklearn.datasets, torch
import paribus.experiment, paribus.plotting
from benchmarks.cache import cached_experiment
wall, cpu = time.perf_counter(), time.process_time()
exp = cached_experiment(sys.argv[1], int(sys.argv[2]))
made = time.perf_counter()
summary = exp.run(progress=False)
end = time.perf_counter()
assert summary.steps_trained == 0, summary
print(json.dumps([end - wall, time.process_time() - cpu, made - wall]))
"""


def cached_experiment(store: str | Path, learners: int) -> Experiment:
    """Make the experiment whose second run is timed: learners of one step on points in a plane."""
    return Experiment(
        MLP(inputs=2, hidden=(8,), outputs=3),
        blobs(),
        InitWeights.make_variations(seed=range(learners)),
        steps=1,
        store=store,
    )


def measure(learners: int, cells: tuple[int, int, int], repetitions: int) -> list[Figure]:
    """Time second runs in new interpreters, and plans of a product of seeds, lr and momentum."""
    return [_second_run(learners, repetitions), *_plans(cells, repetitions)]


def _second_run(learners: int, repetitions: int) -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        cached_experiment(folder, learners).run(progress=False)
        told = [json.loads(fresh_interpreter(_SECOND_RUN, folder, str(learners))) for _ in range(repetitions)]
    wall, cpu, made = (median(column) for column in zip(*told, strict=True))
    detail = f"{made:.2f} s the experiment, {wall - made:.2f} s its run()"
    what = f"second run of {learners:,} cached learners, after imports"
    return Figure(what, wall, "s", 0.5, cpu=cpu, detail=detail)


def _plans(cells: tuple[int, int, int], repetitions: int) -> list[Figure]:
    parts: list[tuple[Timing, Timing]] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repetitions):
            began, make = _now(), partial(_grid, cells, folder)
            exp = make()
            made = _now()
            assert len(exp.plan().learners) == len(exp)
            parts.append((_since(began, made), _since(made, _now())))
    resolved, planned = middle([a for a, _ in parts]), middle([b for _, b in parts])
    whole = middle([Timing(a.wall + b.wall, a.cpu + b.cpu) for a, b in parts])
    detail = f"{resolved.wall:.2f} s cells to keys, {planned.wall:.2f} s plan()"
    number = cells[0] * cells[1] * cells[2]
    return [
        Figure(f"planning {number:,} cells, cold store", whole.wall, "s", 2.0, cpu=whole.cpu, detail=detail)
    ]


def _grid(cells: tuple[int, int, int], store: str) -> Experiment:
    seeds, rates, momenta = cells
    return Experiment(
        MLP(inputs=2, hidden=(8,), outputs=3),
        blobs(),
        [
            InitWeights.make_variations(seed=range(seeds)),
            SetOptimizer.make_variations(
                lr=tuple(0.1 / (i + 1) for i in range(rates)),
                momentum=tuple(0.9 / (i + 1) for i in range(momenta)),
            ),
        ],
        epochs=5,
        store=store,
    )


def _now() -> Timing:
    return Timing(time.perf_counter(), time.process_time())


def _since(began: Timing, end: Timing) -> Timing:
    return Timing(end.wall - began.wall, end.cpu - began.cpu)


BENCHMARK = Benchmark(
    "cache",
    "A second run of cached learners in a new interpreter, after the imports: data, experiment, plan, "
    "comparison of every configuration with the stored one, summary. And the plan of a product of init "
    "seeds, learning rates and momenta, from the interventions on: every cell resolved, keyed, looked "
    "up in an empty store and placed in the tree.",
    {
        "full": {"learners": 1000, "cells": (100, 100, 10), "repetitions": 5},
        "quick": {"learners": 1000, "cells": (100, 100, 10), "repetitions": 2},
        "tiny": {"learners": 3, "cells": (2, 2, 2), "repetitions": 1},
    },
    measure,
)

"""What it costs to know what a learner is."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median

import joblib
import torch

from benchmarks.large_model import source
from paribus import Experiment
from paribus.bench.measure import Benchmark, Figure, fresh_interpreter, middle, ratio, side_by_side
from paribus.datasets import blobs
from paribus.engine.learners.resolver import Resolver
from paribus.identity import digest
from paribus.interventions import InitWeights, SetOptimizer
from paribus.models import MLP

_IMPORT = """
import json, sys, time
wall, cpu = time.perf_counter(), time.process_time()
import paribus
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
assert "torch" not in sys.modules
print(json.dumps([wall, cpu]))
"""
_FINGERPRINT = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import torch
from paribus.identity import fingerprint
from large_model_under_test import Net
fingerprint(torch.nn.Sequential(torch.nn.Linear(1, 1))).digest
told = []
for model in (Net(), Net()):
    wall, cpu = time.perf_counter(), time.process_time()
    fingerprint(model).digest
    told += [time.perf_counter() - wall, time.process_time() - cpu]
print(json.dumps(told))
"""


def measure(megabytes: int, cells: tuple[int, int, int], repetitions: int) -> list[Figure]:
    """Time contents, code, keys and the import, the last two kinds in new interpreters."""
    torch.set_num_threads(1)
    return [
        *_contents(megabytes, repetitions),
        *_model(repetitions),
        _keys(cells, repetitions),
        _import(repetitions),
    ]


def _contents(megabytes: int, repetitions: int) -> list[Figure]:
    tensor = torch.rand(megabytes * 10**6 // 4)
    array = tensor.numpy()
    sides: dict[str, Callable[[], object]] = {
        "digest": partial(digest, tensor),
        "joblib": partial(joblib.hash, array),
    }
    timings = side_by_side({name: _prepared(side) for name, side in sides.items()}, repetitions)
    reached, size = middle(timings["digest"]), megabytes * 1e6
    times = ratio(timings["joblib"], timings["digest"])
    return [
        Figure(f"digest of a tensor of {megabytes} MB", reached.wall, "s", 0.1, cpu=reached.cpu),
        Figure("its speed", size / reached.wall / 1e9, "GB/s", 8.0, "more", size / reached.cpu / 1e9),
        Figure("its speed over joblib.hash", times.wall, "×", 15.0, "more", times.cpu),
    ]


def _model(repetitions: int) -> list[Figure]:
    text = source()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "large_model_under_test.py").write_text(text)
        told = [json.loads(fresh_interpreter(_FINGERPRINT, folder)) for _ in range(repetitions)]
    cold, cold_cpu, warm, warm_cpu = (1e3 * median(column) for column in zip(*told, strict=True))
    what = f"fingerprint of a model of {len(text.splitlines())} lines"
    return [
        Figure(f"{what}, cold", cold, "ms", 25.0, cpu=cold_cpu),
        Figure(f"{what}, warm, another instance", warm, "ms", 1.0, cpu=warm_cpu),
    ]


def _keys(cells: tuple[int, int, int], repetitions: int) -> Figure:
    """Time `Configuration.key`, on configurations that were resolved before and have no digest yet."""
    times = middle(side_by_side({"keys": partial(_unkeyed, cells)}, repetitions)["keys"])
    number = cells[0] * cells[1] * cells[2]
    return Figure(f"keys of a product of {number:,} cells", times.wall, "s", 0.3, cpu=times.cpu)


def _unkeyed(cells: tuple[int, int, int]) -> Callable[[], object]:
    with tempfile.TemporaryDirectory() as folder:
        base = Experiment(MLP(inputs=2), blobs(), steps=1, store=folder).cells[0].configuration
    resolver = Resolver()
    seeds, rates, momenta = map(range, cells)
    inits = [InitWeights(seed=seed) for seed in seeds]
    settings = [SetOptimizer(lr=0.1 / (1 + i), momentum=0.9 / (1 + k)) for i, k in product(rates, momenta)]
    drawn = [resolver.apply(base, init) for init in inits]
    configurations = [resolver.apply(one, setting) for one in drawn for setting in settings]
    return lambda: [configuration.key() for configuration in configurations]


def _import(repetitions: int) -> Figure:
    told = [json.loads(fresh_interpreter(_IMPORT)) for _ in range(repetitions)]
    wall, cpu = (median(column) for column in zip(*told, strict=True))
    return Figure("import paribus, torch left alone", wall, "s", 0.3, cpu=cpu)


def _prepared(side: Callable[[], object]) -> Callable[[], Callable[[], object]]:
    return lambda: side


BENCHMARK = Benchmark(
    "identity",
    "The digest of a large tensor beside `joblib.hash` of the same numbers; the fingerprint of a model "
    "in a new interpreter, first and again; the keys of a product of init seeds, learning rates and "
    "momenta; and the import in a new interpreter.",
    {
        "full": {"megabytes": 500, "cells": (100, 100, 10), "repetitions": 7},
        "quick": {"megabytes": 500, "cells": (100, 100, 10), "repetitions": 3},
        "tiny": {"megabytes": 1, "cells": (2, 2, 2), "repetitions": 1},
    },
    measure,
)

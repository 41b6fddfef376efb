"""Caches side by side: a second run and one lookup, in Paribus, joblib.Memory, exca and signac."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

from paribus import Experiment
from paribus.bench.measure import Benchmark, Figure, middle, ratio, side_by_side
from paribus.datasets import blobs
from paribus.interventions import InitWeights, SetOptimizer
from paribus.models import MLP

_RATES = 10
_METRICS = ("train/loss", "train/accuracy", "test/loss", "test/accuracy")
Cell = tuple[int, float]


@dataclass(frozen=True)
class Side:
    """A cache that holds what every cell gave.

    Attributes:
        every: Takes all cells from it, as a program that is started again does.
        one: Takes one cell.
    """

    every: Callable[[], object]
    one: Callable[[], object]


def measure(seeds: int, repetitions: int) -> list[Figure]:
    """Fill each cache that is installed, and time it against Paribus; the file system's cache is warm."""
    cells = list(product(range(seeds), (0.1 / (i + 1) for i in range(_RATES))))
    with tempfile.TemporaryDirectory() as folder:
        sides = {"Paribus": _paribus(cells, Path(folder, "paribus"))}
        for name, make in _PEERS.items():
            if find_spec(name.partition(".")[0]) is not None:
                sides[name] = make(cells, Path(folder, name))
        every = {name: lambda side=side: side.every for name, side in sides.items()}
        one = {name: lambda side=side: side.one for name, side in sides.items()}
        asked = f"second run of {len(cells):,} cells", f"one lookup among {len(cells):,} cells"
        return [
            figure
            for what, prepared in zip(asked, (every, one), strict=True)
            for figure in _against(what, prepared, repetitions)
        ]


def _against(what: str, sides: dict[str, Any], repetitions: int) -> list[Figure]:
    timings = side_by_side(sides, repetitions)
    walls = {name: middle(times, 1e3).wall for name, times in timings.items()}
    figures = []
    for peer in [name for name in walls if name != "Paribus"]:
        found = ratio(timings["Paribus"], timings[peer])
        detail = f"{walls['Paribus']:.3g} against {walls[peer]:.3g} ms"
        figures.append(
            Figure(f"{what}: Paribus over {peer}", found.wall, "×", 1.0, "less", found.cpu, detail)
        )
    return sorted(figures, key=lambda figure: figure.what)


def _paribus(cells: list[Cell], folder: Path) -> Side:
    seeds, rates = (tuple(dict.fromkeys(column)) for column in zip(*cells, strict=True))
    grid = [InitWeights.make_variations(seed=seeds), SetOptimizer.make_variations(lr=rates)]

    def make() -> Experiment:
        return Experiment(MLP(2, (8,), 3), blobs(), grid, steps=1, store=folder)

    def every() -> object:
        exp = make()
        exp.run(progress=False)
        return exp.results()

    every()
    exp = make()
    return Side(every, lambda: exp.store.records([exp[0].key]))


def result(seed: int, lr: float) -> dict[str, float]:
    """Give as many numbers as a learner of Paribus has: what was trained for them is not counted."""
    return dict.fromkeys(_METRICS, seed * lr)


def _joblib(cells: list[Cell], folder: Path) -> Side:
    from joblib import Memory

    cached = Memory(folder, verbose=0).cache(result)
    return _filled(lambda cell: cached(*cell), cells)


def _exca(cells: list[Cell], folder: Path) -> Side:
    import exca
    import pydantic

    class Task(pydantic.BaseModel):
        seed: int
        lr: float
        infra: exca.TaskInfra = exca.TaskInfra()

        @infra.apply
        def trained(self) -> dict[str, float]:
            return result(self.seed, self.lr)

    return _filled(lambda cell: Task(seed=cell[0], lr=cell[1], infra={"folder": folder}).trained(), cells)


def _signac(cells: list[Cell], folder: Path) -> Side:
    import signac

    project = signac.init_project(folder)

    def take(cell: Cell) -> object:
        job = project.open_job({"seed": cell[0], "lr": cell[1]})
        if "result" not in job.document:
            job.document["result"] = result(*cell)
        return job.document["result"]()

    return _filled(take, cells)


def _filled(take: Callable[[Cell], object], cells: list[Cell]) -> Side:
    """Take every cell once, so that it is kept."""

    def every() -> object:
        return [take(cell) for cell in cells]

    every()
    return Side(every, lambda: take(cells[len(cells) // 2]))


_PEERS = {"joblib.Memory": _joblib, "exca": _exca, "signac": _signac}

BENCHMARK = Benchmark(
    "peers",
    "Cells of a seed and a learning rate, each with four numbers, in four caches. A second run takes every "
    "cell: in Paribus the experiment is made and planned, every configuration compared, and the results "
    "gathered; in the others a program asks for one cell after the other. A lookup takes one cell that is "
    "there, in Paribus by its key. The others hash the arguments that they are given, joblib the function's "
    "source too; a run of Paribus fingerprints model, data and all code.",
    {
        "full": {"seeds": 100, "repetitions": 5},
        "quick": {"seeds": 20, "repetitions": 3},
        "tiny": {"seeds": 1, "repetitions": 1},
    },
    measure,
)

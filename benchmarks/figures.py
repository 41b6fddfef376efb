"""The default figures of an experiment: from the store to files."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from benchmarks.frames import fill
from paribus import Experiment
from paribus.bench.measure import Benchmark, Figure, middle, side_by_side
from paribus.datasets import digits
from paribus.interventions import InitWeights, PerturbMomentum, SetOptimizer
from paribus.models import MLP

_SHARES = (0.001, -0.001, 0.01, -0.01, 0.1, -0.1)


def measure(seeds: int, windows: int, steps: int, repetitions: int) -> list[Figure]:
    """Draw the figures of learners whose rows were written, not trained; the file system's cache is warm."""
    with tempfile.TemporaryDirectory() as folder:
        exp = study(folder, seeds, windows, steps)
        fill(exp, {name: (f"train/{name}", f"test/{name}") for name in ("loss", "accuracy")})
        saved = partial(save, exp, Path(folder) / "figures")
        reached = middle(side_by_side({"saved": lambda: saved}, repetitions)["saved"])
        exp.store.close()
    what = f"the default figures of {len(exp)} learners, as PNG and CSV"
    return [Figure(what, reached.wall, "s", 10.0, cpu=reached.cpu)]


def study(store: str, seeds: int, windows: int, steps: int) -> Experiment:
    """Make the study of momentum windows: seeds × 3 momenta × 6 perturbations × windows."""
    return Experiment(
        MLP(),
        digits(),
        [
            InitWeights.make_variations(seed=range(seeds)),
            SetOptimizer.make_variations(momentum=(0.9, 0.99, 0.999)),
            PerturbMomentum.make_variations(
                momentum=lambda m: (m * (1 + share) for share in _SHARES),
                when=tuple((at * steps // 60, (at + 1) * steps // 60) for at in (0, 10, 50)[:windows]),
            ),
        ],
        steps=steps,
        store=store,
    )


def save(exp: Experiment, folder: Path) -> None:
    """Write what ``run(plot=True)`` writes."""
    for figure in exp.evidence().figures():
        figure.save(folder / figure.name, formats=("png", "csv"))


BENCHMARK = Benchmark(
    "figures",
    "A store of learners with loss and accuracy on train and test at each epoch's end: the store read, the "
    "curves of every metric and what the design allows of the headline metric drawn, and saved.",
    {
        "full": {"seeds": 10, "windows": 3, "steps": 6000, "repetitions": 5},
        "quick": {"seeds": 10, "windows": 3, "steps": 6000, "repetitions": 1},
        "tiny": {"seeds": 1, "windows": 1, "steps": 60, "repetitions": 1},
    },
    measure,
)

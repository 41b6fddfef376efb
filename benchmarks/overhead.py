"""What a learner of one step costs beyond its step."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import torch

from benchmarks.by_hand import one_step
from benchmarks.measure import Benchmark, Figure, Timing, middle, side_by_side
from paribus import Experiment, Joblib, Serial
from paribus.datasets import digits
from paribus.engine.running.executors import Executor
from paribus.interventions import InitWeights
from paribus.models import MLP

_EXECUTORS: dict[str, tuple[Executor, float]] = {
    "in process": (Serial(), 5.0),
    "joblib, one warm worker": (Joblib(workers=1), 15.0),
}


def measure(learners: int, repetitions: int) -> list[Figure]:
    """Time ``run()`` of new learners of one step, and as many single steps by hand."""
    torch.set_num_threads(1)
    data, seeds, make = digits(size=8), count(), partial(MLP, inputs=64)

    def by_hand() -> Callable[[], object]:
        return lambda: [one_step(make, data, seed) for seed in range(learners)]

    with tempfile.TemporaryDirectory() as folder:
        exp = partial(Experiment, make(), data, steps=1, store=Path(folder, "store"))

        def run(executor: Executor) -> Callable[[], object]:
            first = next(seeds) * learners
            fresh = exp(interventions=InitWeights.make_variations(seed=range(first, first + learners)))
            return partial(fresh.run, executor, progress=False)

        sides = {name: partial(run, executor) for name, (executor, _) in _EXECUTORS.items()}
        timings = side_by_side({"by hand": by_hand, **sides}, repetitions)
    return [
        _figure(name, timings[name], timings["by hand"], learners, target)
        for name, (_, target) in _EXECUTORS.items()
    ]


def _figure(name: str, times: list[Timing], by_hand: list[Timing], learners: int, target: float) -> Figure:
    beyond = middle(
        [Timing(a.wall - b.wall, a.cpu - b.cpu) for a, b in zip(times, by_hand, strict=True)], 1000 / learners
    )
    whole, step = middle(times, 1000 / learners), middle(by_hand, 1000 / learners)
    detail = f"{whole.wall:.1f} ms a learner, {step.wall:.1f} ms by hand"
    cpu = beyond.cpu if name == "in process" else None
    return Figure(
        f"a learner of one step beyond its step, {name}", beyond.wall, "ms", target, "less", cpu, detail
    )


BENCHMARK = Benchmark(
    "overhead",
    "Learners of one step (raw digits of 8 × 8, MLP): the whole of `run()` (plan, a trial step, weights "
    "drawn, state and row written) divided by their number, less the same by hand: weights drawn, one "
    "step, and both splits evaluated before and after it. Joblib has one worker here, so that no "
    "parallel work hides its overhead.",
    {
        "full": {"learners": 100, "repetitions": 9},
        "quick": {"learners": 50, "repetitions": 3},
        "tiny": {"learners": 2, "repetitions": 1},
    },
    measure,
)

"""What sharing the past saves, and what a fork costs."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from paribus import Experiment
from paribus.bench.measure import Benchmark, Figure, middle, ratio, side_by_side
from paribus.bench.ratios import fork
from paribus.datasets import digits
from paribus.interventions import PerturbMomentum, SetOptimizer
from paribus.models import MLP

_MOMENTA = (0.9, 0.99, 0.999)
_FACTORS = tuple(1 + epsilon for epsilon in (0.001, -0.001, 0.01, -0.01, 0.1, -0.1))
_WINDOWS = ((0, 100), (1000, 1100), (5000, 5100))
_STEPS = 6000


def measure(steps: int, momenta: int, width: int, repetitions: int) -> list[Figure]:
    """Time the study of momentum windows against its learners alone, and a fork against a copy."""
    return [*_study(steps, _MOMENTA[:momenta], repetitions), fork(width, repetitions)]


def _study(steps: int, momenta: Sequence[float], repetitions: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        fresh = (Path(folder) / str(number) for number in itertools.count())
        plan = _together(next(fresh), steps, momenta).plan()
        trained: list[int] = []

        def together() -> Callable[[], object]:
            exp = _together(next(fresh), steps, momenta)
            return lambda: trained.append(exp.run(progress=False, fuse=False).steps_trained)

        def alone() -> Callable[[], object]:
            learners = list(_alone(fresh, steps, momenta))
            return lambda: [exp.run(progress=False, fuse=False) for exp in learners]

        timings = side_by_side({"together": together, "alone": alone}, repetitions)
    shared = plan.steps_distinct / plan.steps_asked
    found = ratio(timings["together"], timings["alone"])
    walls = [middle(timings[name]).wall for name in ("together", "alone")]
    detail = f"{walls[0]:.1f} against {walls[1]:.1f} s; ratio of steps {shared:.3f}"
    learners = len(plan.learners)
    return [
        Figure(
            f"steps trained over distinct steps, {learners} learners",
            trained[-1] / plan.steps_distinct,
            "×",
            1.0,
        ),
        Figure(
            f"{learners} learners together over each alone, over the ratio of their steps",
            found.wall / shared,
            "×",
            1.1,
            cpu=found.cpu / shared,
            detail=detail,
        ),
    ]


def _windows(steps: int) -> list[tuple[int, int]]:
    """Scale the windows with the length of the run, so that the ratio of steps is the same at any length."""
    return [(start * steps // _STEPS, stop * steps // _STEPS) for start, stop in _WINDOWS]


def _together(store: Path, steps: int, momenta: Sequence[float]) -> Experiment:
    interventions = [
        SetOptimizer.make_variations(momentum=tuple(momenta)),
        PerturbMomentum.make_variations(
            momentum=lambda momentum: (momentum * factor for factor in _FACTORS), when=_windows(steps)
        ),
    ]
    return Experiment(MLP(), digits(), interventions, steps=steps, store=store)


def _alone(stores: Iterator[Path], steps: int, momenta: Sequence[float]) -> Iterator[Experiment]:
    """Make each learner an experiment of its own, with a store of its own."""
    for momentum, factor, window in itertools.product(momenta, _FACTORS, _windows(steps)):
        one = [SetOptimizer(momentum=momentum), PerturbMomentum(momentum * factor, when=window)]
        yield Experiment(MLP(), digits(), one, steps=steps, store=next(stores))


BENCHMARK = Benchmark(
    "trajectories",
    "The study of 3 momenta × 6 factors × 3 windows on digits (MLP), its windows scaled with its length: one "
    "`run()` of all learners against one `run()` each, every one with a store of its own; the experiments "
    "are made before. And a fork in memory, from the end of a trunk to the model and optimizer of a branch "
    "(state copied out, model made, state copied in), against one copy of that state, momentum included.",
    {
        "full": {"steps": 1200, "momenta": 3, "width": 1000, "repetitions": 2},
        "quick": {"steps": 120, "momenta": 3, "width": 1000, "repetitions": 1},
        "tiny": {"steps": 60, "momenta": 1, "width": 4, "repetitions": 1},
    },
    measure,
)

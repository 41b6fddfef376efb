"""What a learner costs beyond its training, and how soon agents of this machine are at work."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

import torch

from paribus import Experiment, Joblib, Local, Serial
from paribus.bench.by_hand import one_step
from paribus.bench.measure import Benchmark, Figure, Timing, fresh_interpreter, middle, side_by_side
from paribus.datasets import digits
from paribus.engine.running.executors import Executor
from paribus.engine.running.executors.base import Backend
from paribus.engine.running.executors.crew import Crew
from paribus.engine.running.messages import Lost, Ready
from paribus.engine.training.journal import Journal
from paribus.interventions import InitWeights
from paribus.models import MLP

_EXECUTORS: dict[str, tuple[Executor, float]] = {
    "in process": (Serial(), 0.1),
    "local, one warm agent": (Local(workers=1), 0.15),
    "joblib, one warm worker": (Joblib(workers=1), 0.2),
}
_COLD = "from benchmarks.overhead import cold; print(cold())"


def measure(learners: int, repetitions: int, long: int, cold: int) -> list[Figure]:
    """Time ``run()`` of new learners of one step, and as many single steps by hand; then agents alone."""
    torch.set_num_threads(1)
    data, seeds, make = digits(size=8), count(), partial(MLP, inputs=64)

    def by_hand() -> Callable[[], object]:
        return lambda: [one_step(make, data, seed) for seed in range(learners)]

    with tempfile.TemporaryDirectory() as folder:
        exp = partial(Experiment, make(), data, store=Path(folder, "store"))

        def run(executor: Executor, length: int, many: int) -> Callable[[], object]:
            first = next(seeds) * max(learners, long)
            fresh = exp(InitWeights.make_variations(seed=range(first, first + many)), steps=length)
            return partial(fresh.run, executor, progress=False, fuse=False)

        sides = {name: partial(run, executor, 1, learners) for name, (executor, _) in _EXECUTORS.items()}
        timings = side_by_side({"by hand": by_hand, **sides}, repetitions)
        both = {"one": partial(run, Serial(), 200, long), "two": partial(run, Local(workers=2), 200, long)}
        efficiency = side_by_side(both, repetitions)
        again = median(_back_at_work(exp(steps=3)) for _ in range(repetitions))
    beyond = [
        _figure(name, timings[name], timings["by hand"], learners, target)
        for name, (_, target) in _EXECUTORS.items()
    ]
    return [
        *beyond,
        _efficiency(efficiency["one"], efficiency["two"], long),
        Figure("a killed local agent is back at work after", again, "s", 0.2),
        *_cold_start(cold),
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


def _efficiency(one: list[Timing], two: list[Timing], learners: int) -> Figure:
    reached = median(a.wall / (2 * b.wall) for a, b in zip(one, two, strict=True))
    alone, both = middle(one), middle(two)
    detail = f"{learners} learners: {alone.wall:.2f} s in process, {both.wall:.2f} s on two local agents"
    return Figure("efficiency of two local agents", reached, "", 0.95, "more", None, detail)


def cold() -> float:
    """Time two local agents from nothing to ready, in a process that has imported torch itself."""
    with tempfile.TemporaryDirectory() as folder:
        exp = Experiment(MLP(inputs=64), digits(size=8), steps=1, store=folder)
        journal = Journal.open(exp.store, exp.work, exp.plan().tasks(), 60.0)
        began = time.perf_counter()
        with Local(workers=2).connect(exp.work, journal, lambda message: None) as backend:
            backend.start(0)
            backend.start(1)
            _await(backend, Ready, 2)
            return time.perf_counter() - began


def _cold_start(repetitions: int) -> list[Figure]:
    if repetitions == 0:
        return []
    seconds = median(float(fresh_interpreter(_COLD)) for _ in range(repetitions))
    return [Figure("cold start of two local agents", seconds, "s", 2.5)]


def _back_at_work(exp: Experiment) -> float:
    """Kill a local agent, and time until another is ready in its place."""
    journal = Journal.open(exp.store, exp.work, exp.plan().tasks(), 60.0)
    with Local(workers=1).connect(exp.work, journal, lambda message: None) as backend:
        backend.start(0)
        _await(backend, Ready, 1)
        assert isinstance(backend, Crew)
        began = time.perf_counter()
        os.kill(backend.process(0), signal.SIGKILL)
        _await(backend, Lost, 1)
        backend.start(1)
        _await(backend, Ready, 1)
        return time.perf_counter() - began


def _await(backend: Backend, kind: type, many: int) -> None:
    while many:
        events = backend.receive(60.0)
        assert kind is Lost or not any(isinstance(event, Lost) for event in events)
        many -= sum(isinstance(event, kind) for event in events)


BENCHMARK = Benchmark(
    "overhead",
    "Learners of one step (raw digits of 8 × 8, MLP): the whole of `run()` (plan, a trial step, weights "
    "drawn, state and row written) divided by their number, less the same by hand: weights drawn, one "
    "step, and both splits evaluated before and after it. Local and joblib have one worker here, so that no "
    "parallel work hides their overhead, and learners are not fused. Efficiency: learners of 200 steps, in "
    "process and on two local agents.",
    {
        "full": {"learners": 100, "repetitions": 9, "long": 40, "cold": 3},
        "quick": {"learners": 50, "repetitions": 3, "long": 20, "cold": 1},
        "tiny": {"learners": 2, "repetitions": 1, "long": 2, "cold": 0},
    },
    measure,
)

"""Many small learners as one: whole studies beside loops by hand, one after another and under joblib."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed
from torch import nn

from paribus import Experiment
from paribus.bench.by_hand import BATCH_SIZE, evaluate, step
from paribus.bench.measure import Benchmark, Figure, Prepare, Timing, middle, ratio, timed
from paribus.datasets import digits
from paribus.engine.fusion.together import known
from paribus.interventions import InitWeights, PerturbMomentum, SetOptimizer
from paribus.models import MLP, LeNet5

_STEPS = 6000
_WINDOWS = ((0, 100), (1000, 1100), (5000, 5100))
_FACTORS = (1.001, 0.999, 1.01, 0.99, 1.1, 0.9)
_MOMENTA = (0.9, 0.99, 0.999)
# Asked for over the loop, and over joblib on two cores, by the study's name and its least length.
_TARGETS = (
    ("MLP", 6000, 7.0, 4.5),
    ("MLP", 600, 8.0, 4.0),
    ("MLP, late windows", 600, 8.0 * 2.3, 4.0 * 2.3),
    ("MLP of 64-32-10", 600, 25.0, 12.0),
    ("LeNet5", 600, 2.5, 1.4),
)
Window = tuple[int, int]


@dataclass(frozen=True)
class One:
    """What one learner of a study is: its seed, its rates, and a window with another momentum."""

    seed: int = 0
    lr: float = 0.01
    momentum: float = 0.9
    inside: float = 0.9
    window: Window = (0, 0)


@dataclass(frozen=True)
class Study:
    """A study in both forms.

    Attributes:
        name: For the table.
        make: Makes its model.
        size: Height of the images.
        interventions: Its design.
        ones: The same learners, one by one.
        steps: Length of a run.
    """

    name: str
    make: Callable[[], nn.Module]
    size: int
    interventions: Sequence[Any]
    ones: Sequence[One]
    steps: int


def measure(
    lengths: Sequence[int], momenta: int, factors: int, learners: int, lenet: int, repetitions: int
) -> list[Figure]:
    """Time a whole ``run()`` on a new store against the loops; ``lenet``: steps of LeNet5's."""
    torch.set_num_threads(1)
    _warm_up()
    tried, changed = _MOMENTA[:momenta], _FACTORS[:factors]
    studies = [_windows("MLP", MLP, steps, tried, changed) for steps in lengths]
    studies += [_windows("LeNet5", LeNet5, lenet, tried[:2], changed[:2])] if lenet else []
    if learners:
        late = _windows("MLP, late windows", MLP, lengths[-1], tried, changed, _WINDOWS[2:])
        studies += [late, _seeds_and_rates(learners, lengths[-1])]
    return [figure for study in studies for figure in _figures(study, repetitions)]


def _warm_up() -> None:
    """Load what is loaded once in a process, on both sides; joblib keeps its workers."""
    study, cores = _windows("warm", MLP, 60, _MOMENTA[:1], _FACTORS[:1]), os.cpu_count() or 1
    _by_hand(study, digits(), study.ones[0])
    Parallel(n_jobs=cores)(delayed(_by_hand)(study, digits(), one) for one in study.ones)
    with tempfile.TemporaryDirectory() as folder:
        Experiment(MLP(), digits(), study.interventions, steps=60, store=folder).run(progress=False, fuse=2)


def _figures(study: Study, repetitions: int) -> Iterator[Figure]:
    data, cores = digits(size=study.size), os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        stores = (Path(folder) / str(number) for number in itertools.count())

        def run(**options: Any) -> Callable[[], object]:
            exp = Experiment(study.make(), data, study.interventions, steps=study.steps, store=next(stores))
            return lambda: exp.run(progress=False, **options)

        sides: dict[str, Prepare] = {
            "Paribus": lambda: run(executor="local", workers=cores, fuse="auto"),
            "Paribus, one process": lambda: run(fuse="auto"),
            "the same, alone": lambda: run(fuse=False),
            "a loop": lambda: lambda: [_by_hand(study, data, one) for one in study.ones],
            "joblib": lambda: (
                lambda: Parallel(n_jobs=cores)(delayed(_by_hand)(study, data, one) for one in study.ones)
            ),
        }
        timings: dict[str, list[Timing]] = {name: [] for name in sides}
        for _ in range(repetitions):
            for name, prepare in sides.items():
                known.clear()  # each run proves its groups, as the first of a process does
                timings[name].append(timed(prepare))
    told = {name: f"{middle(times).wall:.1f} s" for name, times in timings.items()}
    loop, joblib = next((t[2:] for t in _TARGETS if t[0] == study.name and t[1] <= study.steps), (None, None))
    what = f"{len(study.ones)} learners, {study.name}, {study.steps:,} steps"
    for ours, theirs, target in (
        ("Paribus", "a loop", loop),
        ("Paribus", "joblib", joblib),
        ("Paribus, one process", "a loop", None),
        ("Paribus, one process", "the same, alone", None),
    ):
        found, detail = ratio(timings[theirs], timings[ours]), f"{told[ours]} against {told[theirs]}"
        cpu = found.cpu if ours != "Paribus" else None  # that of one process is no measure of several
        yield Figure(f"{what}: {ours} over {theirs}", found.wall, "×", target, "more", cpu, detail)


def _windows(
    name: str,
    make: Callable[[], nn.Module],
    steps: int,
    momenta: Sequence[float],
    factors: Sequence[float],
    windows: Sequence[Window] = _WINDOWS,
) -> Study:
    """Scale the windows with the length of the run, so that the shares of the past are the same."""
    scaled = [(start * steps // _STEPS, stop * steps // _STEPS) for start, stop in windows]
    design = [
        SetOptimizer.make_variations(momentum=tuple(momenta)),
        PerturbMomentum.make_variations(momentum=lambda m: (m * factor for factor in factors), when=scaled),
    ]
    ones = [One(0, 0.01, m, m * f, w) for m, f, w in itertools.product(momenta, factors, scaled)]
    return Study(name, make, 28, design, ones, steps)


def _seeds_and_rates(learners: int, steps: int) -> Study:
    seeds, rates = range(8), [0.1 / (place + 1) for place in range(learners // 8)]
    design = [InitWeights.make_variations(seed=seeds), SetOptimizer.make_variations(lr=rates)]
    ones = [One(seed, lr) for seed, lr in itertools.product(seeds, rates)]
    return Study("MLP of 64-32-10", partial(MLP, 64, (32,)), 8, design, ones, steps)


def _by_hand(study: Study, data: Any, one: One) -> list[dict[str, float]]:
    """Train one learner by indexing tensors; evaluate both splits at each epoch's end."""
    torch.set_num_threads(1)
    torch.manual_seed(one.seed)
    model = study.make()
    optimizer = torch.optim.SGD(model.parameters(), lr=one.lr, momentum=one.momentum)
    images, labels = data["train"].tensors
    splits = {name: [split.tensors] for name, split in data.items()}
    rows, taken = [evaluate(model, splits)], 0
    while taken < study.steps:
        for indices in torch.randperm(len(images)).split(BATCH_SIZE):
            within = one.window[0] <= taken < one.window[1]
            optimizer.param_groups[0]["momentum"] = one.inside if within else one.momentum
            step(model, optimizer, images[indices], labels[indices])
            taken += 1
            if taken == study.steps:
                break
        else:
            rows.append(evaluate(model, splits))
    return rows


BENCHMARK = Benchmark(
    "fusion",
    "Whole studies of small learners on digits (batches of 32, SGD with momentum, loss and accuracy of both "
    "splits at each epoch's end), planning, proof of the groups and store included: one `run()` on all "
    "cores, and in one process with and without groups, over a loop on tensors for one learner after "
    "another, and over the same loop under joblib on all cores.",
    {
        "full": {
            "lengths": (6000, 600),
            "momenta": 3,
            "factors": 6,
            "learners": 128,
            "lenet": 600,
            "repetitions": 1,
        },
        "quick": {
            "lengths": (200,),
            "momenta": 3,
            "factors": 6,
            "learners": 128,
            "lenet": 60,
            "repetitions": 1,
        },
        "tiny": {
            "lengths": (60,),
            "momenta": 1,
            "factors": 1,
            "learners": 0,
            "lenet": 0,
            "repetitions": 1,
        },
    },
    measure,
)

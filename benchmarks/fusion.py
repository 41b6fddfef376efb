"""Many small learners as one: whole studies beside loops by hand, joblib and Ray Tune."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed

from benchmarks.studies import Study, by_dataloader, by_tensors, data_of, study
from paribus import Experiment
from paribus.bench.measure import Benchmark, Figure, fresh_interpreter
from paribus.engine.fusion.together import known

_LOOP, _JOBLIB, _TUNE, _ITEMS = "a loop", "joblib", "Ray Tune", "a DataLoader with a transform for each item"
# Asked for, by the study's name and its steps: over each peer.
_TARGETS: dict[tuple[str, int], dict[str, float | None]] = {
    ("MLP", 6000): {_LOOP: 7, _JOBLIB: 4.5, _TUNE: 13, _ITEMS: 70},
    ("MLP", 600): {_LOOP: 8, _JOBLIB: 4, _TUNE: 40},
    ("MLP, late windows", 6000): {_LOOP: 7 * 2.3, _JOBLIB: 4.5 * 2.3},
    ("MLP of 64-32-10", 600): {_LOOP: 25, _JOBLIB: 12, _TUNE: 30},
    ("LeNet5", 600): {_LOOP: 2.5, _JOBLIB: 1.4, _TUNE: 1.5},
}
_CORES = os.cpu_count() or 1


def measure(studies: Sequence[tuple[str, int, int]], peers: Sequence[str]) -> list[Figure]:
    """Time a whole ``run()`` of each study on a new store against its peers.

    Args:
        studies: Name and steps of each, and how many of its learners the peers train: what they take for all
            is in proportion, since they take as long for each.
        peers: Who trains beside Paribus, where anything is asked for over them.
    """
    torch.set_num_threads(1)
    _warm_up()
    return [figure for name, steps, part in studies for figure in _figures(study(name, steps), part, peers)]


def _warm_up() -> None:
    """Load what is loaded once in a process, on both sides; local agents and joblib keep their processes."""
    warm = study("MLP, two windows", 60)
    places = range(len(warm.ones))
    Parallel(n_jobs=_CORES)(delayed(by_tensors)(warm.name, warm.steps, place) for place in places)
    by_tensors(warm.name, warm.steps, 0)
    ours(warm, fuse=2)
    ours(warm, executor="local", workers=_CORES, fuse=2)


def _figures(made: Study, part: int, peers: Sequence[str]) -> Iterator[Figure]:
    places = spread(len(made.ones), part)
    share = len(made.ones) / len(places)
    both = ours(made, executor="local", workers=_CORES, fuse="auto")
    alone = ours(made, fuse="auto")
    what = f"{len(made.ones)} learners, {made.name}, {made.steps:,} steps"
    taken = f", from {len(places)} learners" if share > 1 else ""
    asked = _TARGETS.get((made.name, made.steps), dict.fromkeys((_LOOP, _JOBLIB)))
    for peer in [peer for peer in asked if peer in peers]:
        theirs = _PEERS[peer](made, places) * share
        told = f"{both:.1f} s against {theirs:.1f} s{taken}"
        yield Figure(f"{what}: over {peer}", theirs / both, "×", asked[peer], "more", detail=told)
        if peer == _LOOP:
            told, here = f"{alone:.1f} s against {theirs:.1f} s", f"{what}: over {peer}, in one process"
            yield Figure(here, theirs / alone, "×", better="more", detail=told)


def spread(count: int, part: int) -> list[int]:
    """Choose learners from all over the design."""
    return [place * count // part for place in range(part)]


def ours(made: Study, device: str = "cpu", **options: Any) -> float:
    """Time a whole ``run()`` of a study on a new store, in seconds."""
    known.clear()  # each run proves its groups, as the first of a process does
    with tempfile.TemporaryDirectory() as folder:
        where = {"store": Path(folder), "device": device}
        exp = Experiment(made.make(), data_of(made.size), made.interventions, steps=made.steps, **where)
        return seconds(lambda: exp.run(progress=False, **options))


def looped(made: Study, places: Sequence[int], device: str = "cpu") -> float:
    """Time some learners of a study, one after another in a loop by hand, in seconds."""
    return seconds(lambda: [by_tensors(made.name, made.steps, place, device) for place in places])


def _under_joblib(made: Study, places: Sequence[int]) -> float:
    calls = [delayed(by_tensors)(made.name, made.steps, place) for place in places]
    return seconds(lambda: Parallel(n_jobs=_CORES)(calls))


def _under_tune(made: Study, places: Sequence[int]) -> float:
    """Ray Tune has an interpreter of its own: here, agents of Paribus could hold the cores."""
    code = "from benchmarks.studies import by_tune; print(by_tune({!r}, {}, {}, {}))"
    return float(fresh_interpreter(code.format(made.name, made.steps, places, _CORES)))


def _by_items(made: Study, places: Sequence[int]) -> float:
    """One learner is enough for what takes so long."""
    return len(places) * seconds(lambda: by_dataloader(made.name, made.steps, places[0]))


def seconds(run: Callable[[], object]) -> float:
    """Time a call, in seconds."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


_PEERS: dict[str, Callable[[Study, Sequence[int]], float]] = {
    _LOOP: looped,
    _JOBLIB: _under_joblib,
    _TUNE: _under_tune,
    _ITEMS: _by_items,
}
BENCHMARK = Benchmark(
    "fusion",
    "Whole studies of small learners on digits (batches of 32, SGD with momentum, loss and accuracy of both "
    "splits at each epoch's end), planning, proof of the groups and store included: one `run()` on all "
    "cores, over the same learners one after another in a loop on tensors, by that loop under joblib and "
    "under Ray Tune on all cores, and in a loop on a `DataLoader` that transforms each item.",
    {
        "full": {
            "studies": (
                ("MLP", 600, 18),  # first: warm agents remember what was proven
                ("MLP", 6000, 6),
                ("MLP, late windows", 6000, 6),
                ("MLP of 64-32-10", 600, 32),
                ("LeNet5", 600, 6),
            ),
            "peers": (_LOOP, _JOBLIB, _TUNE, _ITEMS),
        },
        "quick": {
            "studies": (("MLP", 600, 6), ("MLP of 64-32-10", 600, 16), ("LeNet5", 60, 4)),
            "peers": (_LOOP, _JOBLIB),
        },
        "tiny": {"studies": (("MLP, two windows", 60, 2),), "peers": (_LOOP, _JOBLIB)},
    },
    measure,
)

"""Many small learners as one on a GPU: whole studies beside a loop by hand, and beside each learner alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from benchmarks.fusion import looped, ours, spread
from benchmarks.studies import Study, by_tensors, study
from paribus.bench.measure import Benchmark, Figure


def measure(studies: Sequence[tuple[str, int, int]], device: str) -> list[Figure]:
    """Time a whole ``run()`` in one process on a new store.

    Args:
        studies: Name and steps of each, and how many of its learners are trained by hand: what a loop takes
            for all is in proportion.
        device: Where; nothing is measured where there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        return []
    by_tensors("MLP", 60, 0, device)
    ours(study("MLP, two windows", 60), device, fuse=2)
    return [f for name, steps, part in studies for f in _figures(study(name, steps), part, device)]


def _figures(made: Study, part: int, device: str) -> Iterator[Figure]:
    places = spread(len(made.ones), part)
    theirs = looped(made, places, device) * len(made.ones) / part
    together, alone = (ours(made, device, fuse=fuse) for fuse in ("auto", False))
    where = torch.cuda.get_device_name() if device == "cuda" else device
    what = f"{len(made.ones)} learners, {made.name}, {made.steps:,} steps, {where}"
    for peer, other in (("a loop", theirs), ("each alone", alone)):
        detail = f"{together:.1f} s against {other:.1f} s"
        yield Figure(f"{what}: over {peer}", other / together, "×", better="more", detail=detail)


BENCHMARK = Benchmark(
    "gpu",
    "Studies of small learners on a GPU, planning, proof of the groups and store included: one `run()` in "
    "one process, over the same learners one after another in a loop on tensors of the same device, and over "
    "`fuse=False`. Where there is no GPU, nothing is measured.",
    {
        "full": {
            "studies": (("MLP", 600, 6), ("MLP of 64-32-10", 600, 8), ("LeNet5", 600, 4)),
            "device": "cuda",
        },
        "quick": {"studies": (("MLP", 60, 6), ("MLP of 64-32-10", 60, 8)), "device": "cuda"},
        "tiny": {"studies": (("MLP, two windows", 60, 2),), "device": "cpu"},
    },
    measure,
)

"""How time is measured: repetitions of all sides interleaved, then medians, so that drift hits all alike."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, final

Prepare = Callable[[], Callable[[], object]]


@final
@dataclass(frozen=True)
class Timing:
    """Seconds that one repetition took: wall time, and CPU time of this process."""

    wall: float
    cpu: float


@final
@dataclass(frozen=True)
class Figure:
    """One measured number beside its target.

    Attributes:
        what: What was measured.
        reached: The number, from wall time.
        unit: Its unit; ``×`` is a ratio to the other side.
        target: The number asked for; ``None`` where there is none.
        better: Whether more or less is better.
        cpu: The same number from this process's CPU time, which other users of the machine disturb less.
        detail: The sides in absolute terms, for the reader.
    """

    what: str
    reached: float
    unit: str
    target: float | None = None
    better: Literal["more", "less"] = "less"
    cpu: float | None = None
    detail: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target was reached by wall time; ``None`` where there is none."""
        if self.target is None:
            return None
        return self.reached >= self.target if self.better == "more" else self.reached <= self.target


@final
@dataclass(frozen=True)
class Benchmark:
    """A description and the function that measures it.

    Attributes:
        name: For ``--only``.
        description: What is compared with what, in a sentence or two.
        sizes: Arguments of ``measure`` by size: ``full``, ``quick``, and ``tiny`` for tests.
        measure: Returns the figures.
    """

    name: str
    description: str
    sizes: Mapping[str, Mapping[str, Any]]
    measure: Callable[..., list[Figure]]


def timed(prepare: Prepare) -> Timing:
    """Time what ``prepare`` returns; the preparation is not counted, nor is garbage of earlier sides."""
    run = prepare()
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Timing(time.perf_counter() - wall, time.process_time() - cpu)


def side_by_side(sides: Mapping[str, Prepare], repetitions: int) -> dict[str, list[Timing]]:
    """Warm up every side once, then time A, B, …, A, B, …: repetition i of all sides belongs together."""
    for prepare in sides.values():
        timed(prepare)
    timings: dict[str, list[Timing]] = {name: [] for name in sides}
    for _ in range(repetitions):
        for name, prepare in sides.items():
            timings[name].append(timed(prepare))
    return timings


def middle(timings: Sequence[Timing], factor: float = 1.0) -> Timing:
    """Return the medians, times a factor: 1000 for milliseconds."""
    return Timing(factor * median(t.wall for t in timings), factor * median(t.cpu for t in timings))


def ratio(over: Sequence[Timing], under: Sequence[Timing]) -> Timing:
    """Return the medians of the ratios, each of two repetitions that ran one after the other."""
    pairs = list(zip(over, under, strict=True))
    return Timing(median(a.wall / b.wall for a, b in pairs), median(a.cpu / b.cpu for a, b in pairs))


def fresh_interpreter(code: str, *arguments: str) -> str:
    """Run code in a new interpreter and return what it printed last."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip().rsplit("\n", 1)[-1]

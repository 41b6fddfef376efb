"""How time is measured: as ``paribus bench`` does, on which the suite is built."""

from paribus.bench.measure import (
    Benchmark,
    Figure,
    Prepare,
    Timing,
    fresh_interpreter,
    middle,
    ratio,
    side_by_side,
    timed,
)

__all__ = [
    "Benchmark",
    "Figure",
    "Prepare",
    "Timing",
    "fresh_interpreter",
    "middle",
    "ratio",
    "side_by_side",
    "timed",
]

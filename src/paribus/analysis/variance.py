"""Where the noise comes from: the share of each seed in the variance between replicates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from paribus.analysis.decomposition import Axes, degrees_of_freedom, full_grid, subsets, sums_of_squares
from paribus.analysis.factors import Factor, learner_rows, treatments_of, varying_seeds
from paribus.analysis.inference import Array
from paribus.analysis.provenance import provenance_notes
from paribus.analysis.table import Table
from paribus.analysis.wording import number, short_names
from paribus.errors import AnalysisError


def variance(
    results: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    *,
    labels: Mapping[str, str] | None = None,
    allow_adaptive: bool = False,
) -> Table:
    """Estimate the variance that each replicate seed adds to a metric, within conditions.

    Seeds are random effects, crossed with each other; the components are those of the analysis of variance
    (method of moments), averaged over the conditions, and never below zero. Conditions whose seeds are not
    fully crossed, or that lost a learner, are left out and counted.

    Args:
        results: One row per learner.
        metric: Name of the metric's column.
        factors: The factors of the experiment.
        labels: Names to print in place of columns' names.
        allow_adaptive: Whether learners that an adaptive sampler placed may enter.

    Returns:
        One row per seed and per interaction of seeds: `source`, `variance`, `sd` (in the metric's unit) and
        `share`.

    Raises:
        AnalysisError: If no seed varies, or no condition has all its seeds crossed.
    """
    rows = learner_rows(results, metric, factors, "variance", allow_adaptive)
    seeds = varying_seeds(rows, factors)
    if not seeds:
        raise AnalysisError(
            "variance: no seed varies; add replicates, such as InitWeights with several seeds"
        )
    conditions = _conditions(rows, treatments_of(factors))
    grids = [grid for grid in (full_grid(part, seeds) for part in conditions) if grid is not None]
    shape = max((grid.shape for grid in grids), key=math.prod, default=(1,))
    kept = [grid for grid in grids if grid.shape == shape and min(shape) > 1]
    if not kept:
        raise AnalysisError(
            f"variance: no condition has {' and '.join(seeds)} fully crossed with two levels each and no "
            "lost learner; run the missing seeds"
        )
    names = short_names(seeds, labels)
    frame = _frame(_components(kept), [names[column] for column in seeds])
    left_out = len(conditions) - len(kept)
    crossed = " × ".join(map(str, shape))
    notes = [f"Method-of-moments components over {len(kept)} conditions of {crossed} seeds."]
    if left_out:
        notes.append(
            f"{left_out} of {len(conditions)} conditions have other seeds or lost learners: left out."
        )
    if len(seeds) > 1:
        notes.append("The interaction of all seeds holds what remains of chance, too.")
    notes.extend(provenance_notes(results))
    caption = f"Variance of {metric} between replicates, by its source."
    return Table(frame, caption, tuple(notes), _shown(frame))


def _conditions(rows: pl.DataFrame, treatments: Sequence[str]) -> list[pl.DataFrame]:
    return rows.partition_by(treatments, maintain_order=True) if treatments else [rows]


def _components(grids: Sequence[Array]) -> dict[Axes, float]:
    """Solve the expected mean squares from the highest interaction down."""
    shape = grids[0].shape
    all_squares = [sums_of_squares(grid) for grid in grids]
    components: dict[Axes, float] = {}
    for axes in reversed(subsets(range(len(shape)))):
        square = float(np.mean([squares[axes] for squares in all_squares])) / degrees_of_freedom(shape, axes)
        for wider, component in components.items():
            if set(axes) < set(wider):
                square -= component * _repeats(shape, wider)
        components[axes] = max(square, 0.0) / _repeats(shape, axes)
    return dict(reversed(components.items()))


def _repeats(shape: Sequence[int], axes: Axes) -> int:
    """Count how often each combination of `axes` occurs in a grid."""
    return int(np.prod([levels for axis, levels in enumerate(shape) if axis not in axes], dtype=np.int64))


def _frame(components: Mapping[Axes, float], names: Sequence[str]) -> pl.DataFrame:
    total = sum(components.values())
    return pl.DataFrame(
        {
            "source": [" × ".join(names[axis] for axis in axes) for axes in components],
            "variance": list(components.values()),
            "sd": [component**0.5 for component in components.values()],
            "share": [component / total if total else None for component in components.values()],
        },
        schema={"source": pl.String, "variance": pl.Float64, "sd": pl.Float64, "share": pl.Float64},
    )


def _shown(frame: pl.DataFrame) -> pl.DataFrame:
    shares = ["–" if share is None else f"{100 * share:.1f}%" for share in frame["share"]]
    return pl.DataFrame(
        {
            "source": frame["source"],
            "variance": [number(value, None) for value in frame["variance"]],
            "sd": [number(value, None) for value in frame["sd"]],
            "share": shares,
        }
    )

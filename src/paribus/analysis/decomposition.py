"""Exact functional decomposition of a full grid: the part of each set of axes, orthogonal to all others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from paribus.analysis.inference import Array

Axes = tuple[int, ...]


def subsets(axes: Sequence[int]) -> list[Axes]:
    """List the non-empty subsets of `axes`, small ones first."""
    return [part for size in range(1, len(axes) + 1) for part in itertools.combinations(axes, size)]


def sums_of_squares(grid: Array) -> dict[Axes, float]:
    """Split the variation of a grid among its axes and their interactions (Hoeffding 1948).

    Args:
        grid: Values of shape ``(levels of axis 0, levels of axis 1, …)``, none missing.

    Returns:
        The sum of squares of every non-empty set of axes; they add up to that of the grid about its mean.
    """
    everything = tuple(range(grid.ndim))
    parts: dict[Axes, Array] = {(): grid.mean(keepdims=True)}
    for axes in subsets(everything):
        outside = tuple(axis for axis in everything if axis not in axes)
        part = grid.mean(axis=outside, keepdims=True)
        for inner in [(), *subsets(axes)[:-1]]:
            part = part - parts[inner]
        parts[axes] = part
    return {axes: float((part**2).sum()) * grid.size / part.size for axes, part in parts.items() if axes}


def degrees_of_freedom(shape: Sequence[int], axes: Axes) -> int:
    """Count the degrees of freedom of a set of axes of a full grid."""
    return math.prod(shape[axis] - 1 for axis in axes)


def full_grid(rows: pl.DataFrame, columns: Sequence[str]) -> Array | None:
    """Arrange `value` by the levels of `columns`; None where a cell is empty or has no value.

    Args:
        rows: One row per cell, with `value` (null where it was lost).
        columns: The axes, in order; levels keep their order of appearance.
    """
    codes = [_codes(rows[column]) for column in columns]
    shape = tuple(int(code.max()) + 1 for code in codes)
    if math.prod(shape) != rows.height or rows["value"].null_count():
        return None
    grid = np.full(shape, np.nan)
    grid[tuple(codes)] = rows["value"].to_numpy()
    return None if np.isnan(grid).any() else grid


def _codes(column: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    levels = {level: code for code, level in enumerate(column.unique(maintain_order=True))}
    return np.array([levels[level] for level in column], dtype=np.int64)

"""Matrices of what was measured between two learners: distances, barriers, disagreements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes

from paribus.analysis.factors import Factor, require
from paribus.analysis.inference import Array
from paribus.analysis.wording import level_text, number, short_names
from paribus.errors import AnalysisError, suggest
from paribus.plotting.figure import Figure, file_name
from paribus.plotting.style import FAINT, WIDTHS, Width, canvas, settle, styled, subtitle
from paribus.plotting.swarm import label_levels

_COLOURS = "cividis"
_HIGHEST = 4.0  # inches
_WRITTEN = 8  # up to so many rows the numbers stand in the cells


def pairs(
    frame: pl.DataFrame,
    name: str,
    results: pl.DataFrame,
    factors: Sequence[Factor],
    *,
    step: int | None = None,
    labels: Mapping[str, str] | None = None,
    width: Width = "column",
) -> Figure:
    """Draw a value of learner and other as a matrix over the levels in which the two differ.

    Pairs that differ in one factor (``pair="InitWeights"``) make a symmetric matrix of its levels; pairs with
    the control, a row for each level of the learner. A cell is the mean over all pairs of these levels.

    Args:
        frame: One row per value, as ``exp.pairs()`` gives them.
        name: Which value: ``"metric/key"`` as in the column ``name``.
        results: One row per learner, with its levels.
        factors: The factors of the experiment.
        step: At which step; None: the last one that has the value.
        labels: Names for print: for columns, or for `name`.
        width: Of the figure: a journal's column or page.

    Raises:
        AnalysisError: If no pair has this value at this step.
    """
    require(frame, ["learner", "other", "step", "name", "value"], "pairs")
    known = frame.filter(pl.col("name") == name)
    if known.is_empty():
        raise AnalysisError(
            f"pairs: no pair has {name!r} {suggest(name, sorted(frame['name'].unique()))}; register a metric "
            'with pair="control" or pair= the name of a factor, and run the experiment'
        )
    steps = sorted(known["step"].unique())
    at = steps[-1] if step is None else step
    if at not in steps:
        raise AnalysisError(
            f"pairs: {name!r} was not measured at step {at}, but at {', '.join(map(str, steps))}"
        )
    columns, cells = _cells(known.filter(pl.col("step") == at), results, factors)
    texts = short_names(columns, labels)
    one, other = (_words(cells, columns, suffix) for suffix in ("", "_other"))
    rows, across = (list(dict.fromkeys(words)) for words in (one, other))
    if set(rows) & set(across):
        rows = across = list(dict.fromkeys([*rows, *across]))
    grid = _matrix(cells["value"].to_list(), one, other, rows, across)
    count, named = cells["pairs"].sum(), (labels or {}).get(name, name)
    per_cell = sorted(set(cells["pairs"]))
    each = f"{per_cell[0]}" if len(per_cell) == 1 else f"{per_cell[0]} to {per_cell[-1]}"
    lost = cells["lost"].sum()
    text = f"Cell: mean over {each} of {count} pairs, at step {at}" + (
        f". {lost} NaN (left out)" if lost else ""
    )
    with styled():
        figure = _draw(grid, rows, across, ", ".join(texts.values()), named, text, width)
    caption = f"{named} of two learners by {', '.join(texts.values())}. {text}."
    return Figure(figure, cells, caption, file_name("pairs", name))


def _cells(
    known: pl.DataFrame, results: pl.DataFrame, factors: Sequence[Factor]
) -> tuple[list[str], pl.DataFrame]:
    """Average the value over the pairs of equal levels, of the columns in which the two learners differ."""
    columns = [column for factor in factors for column in factor.columns]
    levels = results.select(pl.col("learner").cast(pl.Int64), *columns)
    both = known.join(levels, on="learner", maintain_order="left").join(
        levels, left_on="other", right_on="learner", suffix="_other", maintain_order="left"
    )
    differing = [
        column
        for column in columns
        if not both.select(pl.col(column).eq_missing(pl.col(f"{column}_other")).all()).item()
    ]
    treated = [column for factor in factors for column in factor.treatments if column in differing]
    chosen = treated or differing  # seeds tell learners apart only where no treatment does
    value = pl.col("value").fill_nan(None)
    return chosen, both.group_by(*chosen, *(f"{c}_other" for c in chosen), maintain_order=True).agg(
        value.mean(), pl.len().cast(pl.Int64).alias("pairs"), value.null_count().alias("lost")
    )


def _words(cells: pl.DataFrame, columns: Sequence[str], suffix: str) -> list[str]:
    return [
        ", ".join(level_text(level) for level in row)
        for row in cells.select([f"{column}{suffix}" for column in columns]).rows()
    ]


def _matrix(
    values: Sequence[float | None],
    one: Sequence[str],
    other: Sequence[str],
    rows: Sequence[str],
    across: Sequence[str],
) -> Array:
    grid = np.full((len(rows), len(across)), np.nan)
    for value, row, column in zip(values, one, other, strict=True):
        if value is None:
            continue
        grid[rows.index(row), across.index(column)] = value
        if rows == across:
            grid[rows.index(column), across.index(row)] = value
    return grid


def _draw(
    grid: Array,
    rows: Sequence[str],
    across: Sequence[str],
    factor: str,
    named: str,
    text: str,
    width: Width,
) -> matplotlib.figure.Figure:
    side = WIDTHS[width] - 1.2
    height = min(side, _HIGHEST, 0.4 * len(rows) + 0.3)
    figure = canvas(width, height + 1.2)
    axes = figure.add_subplot()
    colours = matplotlib.colormaps[_COLOURS].with_extremes(bad=FAINT)
    image = axes.imshow(grid, cmap=colours, aspect="auto", interpolation="nearest", gid="matrix")
    bar = figure.colorbar(image, ax=axes, shrink=0.9)
    bar.set_label(named)
    label_levels(axes, range(len(across)), across, side)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel(f"{factor} of the other")
    axes.set_ylabel(factor)
    axes.grid(visible=False)
    if max(grid.shape) <= _WRITTEN:
        _write(axes, grid)
    subtitle(figure, text + ("; grey: no pair" if np.isnan(grid).any() else ""), width)
    settle(figure)
    return figure


def _write(axes: Axes, grid: Array) -> None:
    known = grid[np.isfinite(grid)]
    middle = (float(known.min()) + float(known.max())) / 2 if known.size else 0.0
    for (row, column), value in np.ndenumerate(grid):
        if np.isfinite(value):
            colour = "white" if value < middle else "black"
            axes.text(
                column, row, number(float(value), None), ha="center", va="center", color=colour, fontsize=7
            )

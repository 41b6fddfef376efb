"""Parallel coordinates: every learner as a line through its levels to its result."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize

from paribus.analysis.factors import Factor, adaptive_rows, learner_rows, treatments_of
from paribus.analysis.inference import Array
from paribus.analysis.wording import level_text, number, short_names, telling
from paribus.errors import AnalysisError
from paribus.plotting.figure import Figure, file_name
from paribus.plotting.style import FAINT, INK, MUTED, WIDTHS, Width, canvas, settle, styled, subtitle
from paribus.plotting.swarm import offsets, ordered_levels, staggered

_COLOURS = "cividis"  # even in lightness, and alike to all eyes
_SPREAD = 0.05  # of an axis' height: learners of one level stand beside each other
_TICKS = 12
_LETTER = 0.055  # inches


def parallel(
    results: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    *,
    labels: Mapping[str, str] | None = None,
    width: Width = "page",
) -> Figure:
    """Draw a vertical axis for each treatment and one for the metric, and each learner as a line.

    The colour is the metric; controls of every factor that has one are black. Learners that were lost are
    dotted and end at the last treatment. It shows where learners lie and tests nothing, so learners of
    adaptive samplers are drawn too, and counted.

    Args:
        results: One row per learner.
        metric: Name of the metric's column.
        factors: The factors of the experiment.
        labels: Names for print: for columns and for the metric.
        width: Of the figure: a journal's column or page.

    Raises:
        AnalysisError: If no treatment varies, or no learner ended well.
    """
    rows = learner_rows(results, metric, factors, "parallel", allow_adaptive=True)
    columns = telling(rows.select(treatments_of(factors)).unique().to_dicts(), treatments_of(factors))
    if not columns or rows["value"].drop_nulls().is_empty():
        raise AnalysisError(f"parallel: no learner with {metric!r} at two levels of a treatment")
    names, named = short_names(columns, labels), (labels or {}).get(metric, metric)
    lost = rows["value"].null_count()
    adaptive = adaptive_rows(results)
    is_control = _is_control(rows, factors)
    words = [f"A line: one of {rows.height} learners" + ("; black: control" if is_control.any() else "")]
    words += [f"{lost} lost learners are dotted"] if lost else []
    words += [f"{adaptive} placed by an adaptive sampler"] if adaptive else []
    with styled():
        figure = canvas(width, 3.2)
        axes = figure.add_subplot()
        heights = np.column_stack([_heights(rows[column]) for column in columns])
        _draw(axes, rows, heights, is_control)
        titles = [textwrap.fill(name, 16) for name in (*names.values(), named)]
        room = WIDTHS[width] / (len(titles) + 0.5)
        for place, column in enumerate(columns):
            texts = [level_text(level) for level in ordered_levels(rows[column])]
            _draw_axis(axes, place, [_fitted(text, int(room / _LETTER)) for text in texts])
        _draw_scale(axes, len(columns), rows["value"].drop_nulls())
        axes.set_xticks(range(len(titles)), staggered(titles, room))
        axes.set_xlim(-0.25, len(columns) + 0.45)
        subtitle(figure, ". ".join(words), width)
        settle(figure)
    caption = f"Learners over {', '.join(names.values())}, and their {named} at the last step. "
    return Figure(
        figure, rows.drop("outcome"), caption + ". ".join(words) + ".", file_name("parallel", metric)
    )


def _heights(levels: pl.Series) -> Array:
    """Place each learner on an axis of height 1: by the rank of its level, beside others of that level."""
    ordered = ordered_levels(levels)
    step = 1 / max(1, len(ordered) - 1)
    rank = {level: place for place, level in enumerate(ordered)}
    ranks = np.array([rank[level] for level in levels], dtype=np.float64)
    heights: Array = ranks * step + min(_SPREAD, step / 2) * offsets(len(ranks))
    return heights


def _is_control(rows: pl.DataFrame, factors: Sequence[Factor]) -> Array:
    tests = [
        pl.col(column).eq_missing(pl.lit(level))
        for factor in factors
        for column, level in (factor.control or {}).items()
    ]
    if not tests:
        return np.zeros(rows.height, dtype=np.float64)
    controls: Array = rows.select(pl.all_horizontal(tests)).to_series().to_numpy().astype(np.float64)
    return controls


def _draw(axes: Axes, rows: pl.DataFrame, heights: Array, is_control: Array) -> None:
    values = rows["value"].to_numpy().astype(np.float64)
    ended = np.isfinite(values)
    low, high = float(np.min(values[ended])), float(np.max(values[ended]))
    ends = (values - low) / ((high - low) or 1.0)
    paths = np.column_stack([heights, ends])
    across = np.arange(paths.shape[1])

    def add(chosen: Array, stop: int, **style: object) -> LineCollection:
        lines = [np.column_stack([across[:stop], paths[i, :stop]]) for i in np.flatnonzero(chosen)]
        collection = LineCollection(lines, **style)  # type: ignore[arg-type]
        axes.add_collection(collection)
        return collection

    thin = {"linewidths": 0.8 if rows.height < 200 else 0.5}
    add(~ended, paths.shape[1] - 1, colors=MUTED, linestyles=":", gid="lost", **thin)
    treated = ended & (is_control == 0)
    coloured = add(treated, paths.shape[1], alpha=0.7, gid="learners", **thin)
    coloured.set_array(values[treated])
    coloured.set_cmap(matplotlib.colormaps[_COLOURS])
    coloured.set_norm(Normalize(low, high))
    add(
        ended & (is_control == 1),
        paths.shape[1],
        colors=INK,
        gid="control",
        linewidths=2 * thin["linewidths"],
    )


def _fitted(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: max(letters - 1, 1)]}…"


def _draw_axis(axes: Axes, place: int, texts: Sequence[str]) -> None:
    axes.axvline(place, color=MUTED, linewidth=0.8, zorder=3)
    every = -(-len(texts) // _TICKS)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    for index in range(0, len(texts), every):
        height = index / max(1, len(texts) - 1)
        axes.text(place + 0.02, height, texts[index], va="center", fontsize=7, bbox=box, zorder=4)


def _draw_scale(axes: Axes, place: int, values: pl.Series) -> None:
    low, high = (float(end) for end in np.quantile(values.to_numpy(), (0, 1)))
    axes.axvline(place, color=INK, linewidth=0.8, zorder=3)
    for height in (0.0, 0.25, 0.5, 0.75, 1.0) if high > low else (0.0,):
        text = number(low + height * (high - low), None)
        axes.text(place + 0.03, height, text, va="center", fontsize=7, zorder=4)
    axes.set_ylim(-0.06, 1.06)
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.grid(visible=False)
    axes.tick_params(axis="x", length=0, colors=FAINT, labelcolor="#202124")

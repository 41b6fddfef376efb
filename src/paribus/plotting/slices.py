"""Slices: the final value of a metric over the levels of one treatment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from scipy import stats

from paribus.analysis.factors import Factor, learner_rows, replicates_of, treatments_of
from paribus.analysis.inference import Array, Sample, t_interval
from paribus.analysis.wording import level_text, number, short_names, telling
from paribus.errors import AnalysisError
from paribus.plotting.figure import Figure, file_name
from paribus.plotting.style import HUES, INK, MUTED, WIDTHS, Width, canvas, settle, styled, subtitle
from paribus.plotting.swarm import block_samples, label_levels, offsets, samples_of

_COLUMNS = 3
_NOWHERE = object()
_VIOLIN_FROM = 20
_EVEN_FROM = 20.0  # levels that span more than this factor stand evenly, since a linear axis would crowd them


def slice(  # named as the figure is, in the field and in the design
    results: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    *,
    column: str | None = None,
    labels: Mapping[str, str] | None = None,
    allow_adaptive: bool = False,
    width: Width = "page",
) -> Figure:
    """Draw the final metric of every learner over the levels of each treatment.

    A dot is a learner. A bar is the mean over the blocks of seeds with its 95% t interval, from three blocks
    on; the levels of other treatments are averaged within a block. Numeric levels are joined by a line
    through their means, and Spearman's rank correlation is given; other levels are strips, with violins from
    20 learners on.

    Args:
        results: One row per learner.
        metric: Name of the metric's column.
        factors: The factors of the experiment.
        column: The one treatment column to draw; None: all that vary, a panel each.
        labels: Names for print: for columns and for the metric.
        allow_adaptive: Whether learners that an adaptive sampler placed may enter.
        width: Of the figure: a journal's column or page.

    Raises:
        AnalysisError: If no treatment varies, or no learner ended well.
    """
    rows = learner_rows(results, metric, factors, "slice", allow_adaptive)
    treatments = treatments_of(factors)
    told = telling(rows.select(treatments).unique().to_dicts(), treatments)
    asked = told if column is None else [name for name in treatments if name == column]
    columns = [name for name in asked if rows[name].n_unique() > 1]
    ended = rows.drop_nulls("value")
    if not columns or ended.is_empty():
        raise AnalysisError(f"slice: no learner with {metric!r} at two levels of {column or 'a treatment'}")
    names = short_names(columns, labels)
    named = (labels or {}).get(metric, metric)
    across = min(len(columns), _COLUMNS if width == "page" else 1)
    down = -(-len(columns) // across)
    with styled():
        figure = canvas(width, 0.5 + 2.2 * down)
        grid = figure.subplots(down, across, sharey=True, squeeze=False)
        for axes in grid.flat[len(columns) :]:
            axes.set_visible(False)
        for axes, name in zip(grid.flat, columns, strict=False):
            _draw(axes, ended, name, factors, WIDTHS[width] / across - 0.4)
            axes.set_xlabel(names[name])
        figure.supylabel(named, fontsize=8.5)
        lost = rows.height - ended.height
        black = " (black: control)" if any(set(f.control or ()) & set(columns) for f in factors) else ""
        text = f"Dot: a learner{black}; bar: mean and 95% t interval over blocks of seeds"
        text += f". {lost} of {rows.height} learners lost (not drawn)" if lost else ""
        subtitle(figure, text, width)
        settle(figure)
    caption = f"{named} at the last step over the levels of {', '.join(names.values())}. {text}."
    return Figure(figure, _tidy(ended, columns), caption, file_name("slice", metric))


def _tidy(rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    parts = [
        rows.select(
            "learner",
            pl.lit(column).alias("treatment"),
            pl.col(column).map_elements(level_text, pl.String).alias("level"),
            "value",
        )
        for column in columns
    ]
    return pl.concat(parts)


def _draw(axes: Axes, rows: pl.DataFrame, column: str, factors: Sequence[Factor], width: float) -> None:
    groups = rows.sort("learner").group_by(column, maintain_order=True).agg("value").sort(column)
    levels = groups[column].to_list()
    values = [np.array(each) for each in groups["value"]]
    samples = samples_of(block_samples(rows, [column], replicates_of(factors)))
    numeric = rows[column].dtype.is_numeric() and None not in levels
    even = not numeric or _spans_magnitudes(levels)
    places = [float(index) for index in range(len(levels))] if even else [float(level) for level in levels]
    step = min((b - a for a, b in pairwise(places)), default=1.0)
    control = next((f.control for f in factors if f.control and column in f.control), {column: _NOWHERE})
    for place, level, level_values, sample in zip(places, levels, values, samples, strict=True):
        colour = INK if level == control[column] else HUES[0].colour
        violin = not numeric and len(level_values) >= _VIOLIN_FROM
        _draw_dots(axes, place, level_values, step, violin, colour)
        _draw_mean(axes, place, sample)
    if numeric:
        axes.plot(
            places,
            [sample.mean for sample in samples],
            color=HUES[0].colour,
            linewidth=1.2,
            zorder=3,
            gid="trend",
        )
        flat = rows.select(column, "value")
        if rows["value"].n_unique() > 1:
            rho = float(stats.spearmanr(flat[column], flat["value"]).statistic)
            axes.set_title(f"rank correlation {number(rho, 2, sign=True)}", fontsize=7.5, color=MUTED)
    if even:
        label_levels(axes, places, levels, width)
    axes.margins(x=0.08)


def _spans_magnitudes(levels: Sequence[float]) -> bool:
    positive = [abs(level) for level in levels if level]
    return bool(positive) and max(positive) > _EVEN_FROM * min(positive)


def _draw_dots(axes: Axes, place: float, values: Array, step: float, violin: bool, colour: str) -> None:
    if violin and np.ptp(values) > 0:
        parts = axes.violinplot([values], [place], widths=0.8 * step, showextrema=False)
        for body in parts["bodies"]:  # type: ignore[attr-defined]
            body.set(facecolor=HUES[5].colour, alpha=0.3, gid="violin")
    axes.scatter(
        place + 0.3 * step * offsets(len(values)),
        values,
        s=6,
        color=colour,
        alpha=0.35,
        linewidths=0,
        gid="learners",
    )


def _draw_mean(axes: Axes, place: float, sample: Sample) -> None:
    interval = t_interval(sample) if sample.n >= 3 else None
    if interval is not None:
        axes.plot((place, place), interval, color=INK, linewidth=1.4, zorder=4, gid="interval")
    axes.plot([place], [sample.mean], marker="_", markersize=9, color=INK, zorder=5, gid="mean")

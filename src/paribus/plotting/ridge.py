"""Ridges: the distribution of a metric at each level of a treatment, one above the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from scipy import stats

from paribus.analysis.factors import Factor, learner_rows, require, treatments_of
from paribus.analysis.inference import Array
from paribus.analysis.wording import level_text, short_names
from paribus.errors import AnalysisError
from paribus.plotting.figure import Figure, file_name
from paribus.plotting.style import HUES, INK, Width, canvas, settle, styled, subtitle
from paribus.plotting.swarm import ordered_levels

_DENSITY_FROM = 10
_POINTS = 200
_HEIGHT = 1.6  # of a row: ridges overlap a little


def ridge(
    results: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    *,
    column: str | None = None,
    labels: Mapping[str, str] | None = None,
    allow_adaptive: bool = False,
    width: Width = "column",
) -> Figure:
    """Draw the distribution of the final metric over learners, a ridge for each level of a treatment.

    Ticks are learners; the ridge is a Gaussian kernel density (Scott's bandwidth), drawn from 10 learners on
    and scaled to its own height. The control is black.

    Args:
        results: One row per learner.
        metric: Name of the metric's column.
        factors: The factors of the experiment.
        column: The treatment column; None: the one with most levels.
        labels: Names for print: for columns, for the metric, or for a level's text as it would be.
        allow_adaptive: Whether learners that an adaptive sampler placed may enter.
        width: Of the figure: a journal's column or page.

    Raises:
        AnalysisError: If there is no such treatment, or no learner ended well.
    """
    rows = learner_rows(results, metric, factors, "ridge", allow_adaptive)
    ended = rows.drop_nulls("value")
    treatments = treatments_of(factors)
    if not treatments or ended.is_empty():
        raise AnalysisError(f"ridge: no learner with {metric!r} at a level of a treatment")
    column = column or max(treatments, key=lambda name: rows[name].n_unique())
    require(rows.select(treatments), [column], "ridge")
    name, named = short_names(treatments, labels)[column], (labels or {}).get(metric, metric)
    levels = ordered_levels(rows[column])
    control = next(((f.control or {}).get(column, INK) for f in factors if column in f.treatments), INK)
    lost = rows.height - ended.height
    text = f"Tick: a learner; ridge: density, from {_DENSITY_FROM} learners on"
    text += f". {lost} of {rows.height} learners lost (not drawn)" if lost else ""
    with styled():
        figure = canvas(width, 0.9 + 0.34 * (len(levels) + 1))
        axes = figure.add_subplot()
        for place, level in enumerate(levels):
            values = ended.filter(pl.col(column).eq_missing(pl.lit(level)))["value"].to_numpy()
            colour = INK if level == control else HUES[0].colour
            _draw(axes, len(levels) - 1 - place, values, colour, place)
        texts = [level_text(level) for level in levels]
        axes.set_yticks(range(len(levels))[::-1], [(labels or {}).get(each, each) for each in texts])
        axes.set_ylim(-0.35, len(levels) - 1 + _HEIGHT)
        axes.set_xlabel(named)
        axes.set_ylabel(name)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        subtitle(figure, text, width)
        settle(figure)
    caption = f"Distribution of {named} at the last step for each {name}. {text}."
    table = ended.select("learner", column, "value").sort(column, "learner")
    return Figure(figure, table, caption, file_name("ridge", metric))


def _draw(axes: Axes, base: int, values: Array, colour: str, order: int) -> None:
    axes.vlines(values, base - 0.14, base - 0.02, color=colour, linewidth=0.6, alpha=0.7, gid="learners")
    if len(values) < _DENSITY_FROM or np.ptp(values) == 0:
        return
    kernel = stats.gaussian_kde(values)
    pad = 3 * float(np.sqrt(kernel.covariance.item()))
    across = np.linspace(values.min() - pad, values.max() + pad, _POINTS)
    density = kernel(across)
    height = base + _HEIGHT * 0.85 * density / density.max()
    axes.fill_between(across, base, height, color=colour, alpha=0.35, linewidth=0, zorder=2 + order / 100)
    axes.plot(across, height, color=colour, linewidth=1.0, zorder=2.005 + order / 100, gid="ridge")

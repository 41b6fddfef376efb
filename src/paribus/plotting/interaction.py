"""Interaction plots: whether the effect of one treatment depends on the level of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes

from paribus.analysis.factors import Factor, learner_rows, replicates_of, require, treatments_of
from paribus.analysis.inference import t_interval
from paribus.analysis.wording import level_text, short_names
from paribus.errors import AnalysisError
from paribus.plotting.figure import Figure, file_name
from paribus.plotting.style import HUES, WIDTHS, Width, canvas, settle, styled, subtitle
from paribus.plotting.swarm import block_samples, label_levels, samples_of


def interaction(
    results: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    *,
    x: str | None = None,
    hue: str | None = None,
    labels: Mapping[str, str] | None = None,
    width: Width = "column",
) -> Figure:
    """Draw the mean of a metric over one treatment, a line for each level of another.

    Parallel lines: no interaction. Bars are 95% t intervals of the mean over blocks of seeds, from three
    blocks on; the levels of all other treatments are averaged within a block.

    Args:
        results: One row per learner.
        metric: Name of the metric's column.
        factors: The factors of the experiment.
        x: Treatment column across; None: the one with most levels.
        hue: Treatment column told by colour, of at most 12 levels; None: the next.
        labels: Names for print: for columns and for the metric.
        width: Of the figure: a journal's column or page.

    Raises:
        AnalysisError: If fewer than two treatments vary, or `hue` has more than 12 levels.
    """
    rows = learner_rows(results, metric, factors, "interaction")
    require(rows, [column for column in (x, hue) if column is not None], "interaction")
    varying = [column for column in treatments_of(factors) if rows[column].n_unique() > 1]
    by_size = sorted(varying, key=lambda column: -rows[column].n_unique())
    x = x or next((column for column in by_size if column != hue), None)
    hue = hue or next((column for column in by_size if column != x), None)
    if x is None or hue is None:
        raise AnalysisError("interaction: fewer than two treatments vary; cross a second one")
    if rows[hue].n_unique() > len(HUES):
        raise AnalysisError(
            f"interaction: {hue!r} has {rows[hue].n_unique()} levels, at most 12 can be told apart"
        )
    cells = _cells(rows.drop_nulls("value"), x, hue, replicates_of(factors))
    names = short_names([x, hue], labels)
    named = (labels or {}).get(metric, metric)
    lost = rows["value"].null_count()
    text = "Mean and 95% t interval over blocks of seeds" + (
        f". {lost} of {rows.height} learners lost" if lost else ""
    )
    with styled():
        figure = canvas(width, 2.8)
        axes = figure.add_subplot()
        _draw(axes, cells, x, hue, WIDTHS[width] - 0.8)
        axes.set_xlabel(names[x])
        axes.set_ylabel(named)
        beside, below = {"loc": "outside right center"}, {"loc": "outside lower center", "ncols": 3}
        place: dict[str, Any] = beside if width == "page" else below
        figure.legend(title=names[hue], alignment="left", **place)
        subtitle(figure, text, width)
        settle(figure)
    caption = (
        f"{named} at the last step over {names[x]}, for each {names[hue]}. {text}. "
        "Parallel lines: no interaction."
    )
    return Figure(figure, cells, caption, file_name("interaction", metric))


def _cells(rows: pl.DataFrame, x: str, hue: str, replicates: Sequence[str]) -> pl.DataFrame:
    cells = block_samples(rows, [x, hue], replicates)
    samples = samples_of(cells)
    intervals = [t_interval(sample) if sample.n >= 3 else None for sample in samples]
    return cells.select(x, hue).with_columns(
        pl.Series("n", [sample.n for sample in samples], dtype=pl.Int64),
        pl.Series("mean", [sample.mean for sample in samples], dtype=pl.Float64),
        pl.Series("low", [each and each[0] for each in intervals], dtype=pl.Float64),
        pl.Series("high", [each and each[1] for each in intervals], dtype=pl.Float64),
    )


def _draw(axes: Axes, cells: pl.DataFrame, x: str, hue: str, width: float) -> None:
    ticks = cells[x].unique(maintain_order=True).to_list()
    lines = cells[hue].unique().sort().to_list()
    for index, level in enumerate(lines):
        rows = cells.filter(pl.col(hue).eq_missing(pl.lit(level)))
        shift = 0.16 * (index / max(1, len(lines) - 1) - 0.5)  # so that bars do not hide each other
        places = [ticks.index(value) + shift for value in rows[x]]
        look = HUES[index]
        for place, low, high in zip(places, rows["low"], rows["high"], strict=True):
            if low is not None:
                axes.plot((place, place), (low, high), color=look.colour, linewidth=1.0, gid="interval")
        axes.plot(
            places,
            rows["mean"],
            color=look.colour,
            linestyle=look.dashes,
            marker=look.marker,
            label=level_text(level),
            gid="mean",
        )
    label_levels(axes, range(len(ticks)), ticks, width)

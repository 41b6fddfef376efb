"""Interaction plots: whether the effect of one treatment depends on the level of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from matplotlib.axes import Axes

from paribus.analysis.factors import Factor, learner_rows, replicates_of, require, treatments_of
from paribus.analysis.inference import t_interval
from paribus.analysis.wording import level_text, short_names, telling
from paribus.errors import AnalysisError
from paribus.plotting.figure import Figure, file_name
from paribus.plotting.style import (
    CONTROLS,
    HUES,
    WIDTHS,
    Hue,
    Width,
    add_legends,
    canvas,
    settle,
    styled,
    subtitle,
)
from paribus.plotting.swarm import block_samples, label_levels, samples_of

_NOWHERE = object()  # equals no level


def interaction(
    results: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    *,
    x: str | None = None,
    hue: str | None = None,
    labels: Mapping[str, str] | None = None,
    allow_adaptive: bool = False,
    width: Width = "column",
) -> Figure:
    """Draw the mean of a metric over one treatment, a line for each level of another.

    Parallel lines: no interaction. Bars are 95% t intervals of the mean over blocks of seeds, from three
    blocks on; the levels of all other treatments are averaged within a block. The control is black; more
    than 12 lines go to several panels, each with the control.

    Args:
        results: One row per learner.
        metric: Name of the metric's column.
        factors: The factors of the experiment.
        x: Treatment column across; None: the one with most levels.
        hue: Treatment column told by colour; None: the next.
        labels: Names for print: for columns, for the metric, or for a level's text as it would be.
        allow_adaptive: Whether learners that an adaptive sampler placed may enter.
        width: Of the figure: a journal's column or page.

    Raises:
        AnalysisError: If fewer than two treatments vary.
    """
    rows = learner_rows(results, metric, factors, "interaction", allow_adaptive)
    require(rows, [column for column in (x, hue) if column is not None], "interaction")
    varying = telling(rows.select(treatments_of(factors)).unique().to_dicts(), treatments_of(factors))
    by_size = sorted(varying, key=lambda column: -rows[column].n_unique())
    x = x or next((column for column in by_size if column != hue), None)
    hue = hue or next((column for column in by_size if column != x), None)
    if x is None or hue is None:
        raise AnalysisError("interaction: fewer than two treatments vary; cross a second one")
    cells = _cells(rows.drop_nulls("value"), x, hue, replicates_of(factors))
    names = short_names([x, hue], labels)
    named = (labels or {}).get(metric, metric)
    lost = rows["value"].null_count()
    text = "Mean and 95% t interval over blocks of seeds" + (
        f". {lost} of {rows.height} learners lost" if lost else ""
    )
    lines = _lines(cells[hue].unique().sort().to_list(), _control(hue, factors), labels or {})
    with styled():
        legend = 0.0 if width == "page" else 0.15 * len(lines[0])
        figure = canvas(width, 0.5 + 2.3 * len(lines) + legend)
        panels = figure.subplots(len(lines), sharey=True, squeeze=False)[:, 0]
        for axes, looks in zip(panels, lines, strict=True):
            _draw(axes, cells, x, hue, looks, WIDTHS[width] - 0.8)
        panels[-1].set_xlabel(names[x])
        add_legends(figure, list(panels), names[hue], width)
        figure.supylabel(named, fontsize=8.5)
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


_Look = tuple[object, str, Hue]  # a level, its text, and how it is drawn


def _control(hue: str, factors: Sequence[Factor]) -> object:
    controls = [factor.control for factor in factors if factor.control and hue in factor.control]
    return controls[0][hue] if controls else _NOWHERE


def _lines(levels: Sequence[object], control: object, labels: Mapping[str, str]) -> list[list[_Look]]:
    """Give each level its look, 12 treated ones a panel; the control is in every panel."""
    texts = {level: labels.get(level_text(level), level_text(level)) for level in levels}
    black = [(level, f"{texts[level]} (control)", CONTROLS[0]) for level in levels if level == control]
    treated = [level for level in levels if level != control]
    parts = [treated[i : i + len(HUES)] for i in range(0, len(treated), len(HUES))] or [[]]
    return [
        [*black, *((level, texts[level], look) for level, look in zip(part, HUES, strict=False))]
        for part in parts
    ]


def _draw(axes: Axes, cells: pl.DataFrame, x: str, hue: str, looks: Sequence[_Look], width: float) -> None:
    ticks = cells[x].unique(maintain_order=True).to_list()
    for index, (level, text, look) in enumerate(looks):
        rows = cells.filter(pl.col(hue).eq_missing(pl.lit(level)))
        shift = 0.16 * (index / max(1, len(looks) - 1) - 0.5)  # so that bars do not hide each other
        places = [ticks.index(value) + shift for value in rows[x]]
        for place, low, high in zip(places, rows["low"], rows["high"], strict=True):
            if low is not None:
                axes.plot((place, place), (low, high), color=look.colour, linewidth=1.0, gid="interval")
        axes.plot(
            places,
            rows["mean"],
            color=look.colour,
            linestyle=look.dashes,
            marker=look.marker or "o",
            label=text,
            gid="mean",
        )
    label_levels(axes, range(len(ticks)), ticks, width)

"""Importance: which treatments and interactions the outcome depends on."""

from __future__ import annotations

import textwrap

import polars as pl

from paribus.analysis.table import Table
from paribus.errors import AnalysisError
from paribus.plotting.figure import Figure
from paribus.plotting.style import HUES, MUTED, Width, canvas, settle, styled


def importance(table: Table, *, width: Width = "column") -> Figure:
    """Draw the importance of each effect of an analysis of variance, the largest on top.

    Main effects are filled, interactions open; an effect whose adjusted p is above 0.05, or that has none, is
    grey.

    Args:
        table: What `paribus.analysis.anova` returned.
        width: Of the figure: a journal's column or page.

    Raises:
        AnalysisError: If the table is no analysis of variance.
    """
    if "importance" not in table.frame.columns:
        raise AnalysisError(
            "importance: this table has no importances; give the table that anova(...) returns"
        )
    bars = table.frame.drop_nulls("importance").sort("importance", descending=True, maintain_order=True)
    names = [textwrap.fill(name, 24 if width == "column" else 60) for name in bars["effect"]]
    lines = sum(1 + name.count("\n") for name in names)
    with styled():
        figure = canvas(width, 0.8 + 0.1 * bars.height + 0.14 * lines)
        axes = figure.add_subplot()
        for place, row in enumerate(bars.iter_rows(named=True)):
            sure = row["p_holm"] is not None and row["p_holm"] <= 0.05
            colour = HUES[0].colour if sure else MUTED
            face = colour if row["order"] == 1 else "white"
            share = 100 * row["importance"]
            axes.barh(place, share, height=0.62, facecolor=face, edgecolor=colour, linewidth=1.0)
            axes.text(share, place, f"  {share:.1f}%", va="center_baseline", fontsize=7.5)
        axes.set_yticks(range(bars.height), names)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, max([1.0, *(100 * bars["importance"])]) * (1.35 if width == "column" else 1.1))
        axes.set_xlabel("share of variation between conditions (%)" if width == "page" else "importance (%)")
        settle(figure)
    words = "Filled: main effects; open: interactions; grey: adjusted p above 0.05 or no test."
    caption = " ".join([table.caption, words, *table.notes])
    return Figure(figure, bars.select(pl.exclude("share")), caption, "importance")

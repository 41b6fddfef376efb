"""Performance profiles: the share of runs beyond each threshold, over several tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from matplotlib.axes import Axes

from paribus.analysis.table import Table
from paribus.analysis.wording import condition_text, level_text, short_names
from paribus.errors import AnalysisError
from paribus.plotting.figure import Figure
from paribus.plotting.style import HUES, Hue, Width, add_legends, canvas, settle, styled, subtitle

_COLUMNS = ("threshold", "share", "low", "high")


def profile(table: Table, *, labels: Mapping[str, str] | None = None, width: Width = "column") -> Figure:
    """Draw performance profiles: a line for each condition, with its pointwise band.

    More than 12 conditions go to several panels.

    Args:
        table: What `paribus.analysis.profile` returned.
        labels: Names for print: for columns, or for a condition's text as it would be.
        width: Of the figure: a journal's column or page.

    Raises:
        AnalysisError: If the table holds no profiles.
    """
    frame = table.frame
    if not set(_COLUMNS) <= set(frame.columns):
        raise AnalysisError("profile: this table has no profiles; give the table that profile(...) returns")
    treatments = [column for column in frame.columns if column not in _COLUMNS]
    groups = frame.partition_by(treatments, maintain_order=True) if treatments else [frame]
    parts = [groups[i : i + len(HUES)] for i in range(0, len(groups), len(HUES))]
    names = short_names(treatments, labels)
    with styled():
        figure = canvas(width, 0.4 + (2.3 if width == "page" else 2.5) * len(parts))
        panels = figure.subplots(len(parts), sharex=True, squeeze=False)[:, 0]
        for axes, part in zip(panels, parts, strict=True):
            for look, rows in zip(HUES, part, strict=False):
                _draw(axes, rows, _label(rows, treatments, names, labels or {}), look)
        panels[-1].set_xlabel("threshold")
        add_legends(figure, list(panels), ", ".join(names.values()), width)
        figure.supylabel("share of runs beyond it", fontsize=8.5)
        subtitle(figure, "Band: 95% stratified bootstrap. " + _lost(table.notes), width)
        settle(figure)
    return Figure(figure, frame, " ".join([table.caption, *table.notes]), "profile")


def _label(
    rows: pl.DataFrame, treatments: Sequence[str], names: Mapping[str, str], labels: Mapping[str, str]
) -> str:
    levels = {column: rows[column][0] for column in treatments}
    short = ", ".join(level_text(level) for level in levels.values()) or "all runs"
    return labels.get(condition_text(levels, names), labels.get(short, short))


def _draw(axes: Axes, rows: pl.DataFrame, label: str, look: Hue) -> None:
    axes.fill_between(
        rows["threshold"], rows["low"], rows["high"], color=look.colour, alpha=0.16, linewidth=0, gid="band"
    )
    axes.plot(
        rows["threshold"],
        rows["share"],
        color=look.colour,
        linestyle=look.dashes,
        marker=look.marker,
        markevery=max(1, rows.height // 8),
        label=label,
        gid="profile",
    )
    axes.set_ylim(-0.03, 1.03)


def _lost(notes: Sequence[str]) -> str:
    return " ".join(note.rstrip(".") for note in notes if "rank worst" in note)

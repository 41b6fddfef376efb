"""The forest plot of paired effects: the figure of an ablation."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from paribus.analysis.table import Contrast, Table
from paribus.analysis.wording import NONE, interval_text, level_text, p_text, short_names
from paribus.errors import AnalysisError
from paribus.plotting.figure import Figure, file_name
from paribus.plotting.style import FAINT, INK, MUTED, WIDTHS, Width, canvas, styled
from paribus.plotting.swarm import offsets

_ROW = 0.24  # inches, as all lengths here
_LINE = 0.135
_LETTER = 0.06
_GAP = 0.15
_LABEL = 0.07  # a letter of an axis's label
_HEADING = 8  # letters of a heading that stay on one line
_CONDITION = "condition"
_CHANGE = "change"  # the column by which a leave-one-out table is known


@dataclass(frozen=True)
class _Look:
    """How a verdict is drawn: colour, marker, and whether it is filled."""

    colour: str
    marker: str
    filled: bool = True


_LOOKS = {
    "improves": _Look("#0072B2", "o"),
    "worsens": _Look("#D55E00", "s"),
    "equivalent": _Look("#009E73", "D"),
    "identical": _Look("#009E73", "|"),
    "inconclusive": _Look("#5f6368", "o", filled=False),
    "no interval": _Look("#5f6368", "d", filled=False),
}


def effects(table: Table, *, labels: Mapping[str, str] | None = None, width: Width = "page") -> Figure:
    """Draw the paired effects of a table: each pair's difference as a dot, their mean with its interval.

    Args:
        table: What `paribus.analysis.compare` or `leave_one_out` returned.
        labels: Names for print: for columns, for the metric, or for a level's text as it would be.
        width: Of the figure: a journal's column or page.

    Returns:
        The figure; its table has one row per pair ("mark" is "pair") and per condition ("effect").

    Raises:
        AnalysisError: If the table compares nothing.
    """
    if table.contrast is None:
        raise AnalysisError("effects: this table has no pairs; give the table that compare(...) returns")
    rows = _rows(table, table.contrast, labels or {})
    with styled():
        figure = _draw(rows, table.contrast, labels or {}, width)
    kind, control = (
        ("leave-one-out", "complete condition") if _CHANGE in table.frame else ("effects", "control")
    )
    caption = " ".join([_caption(table.contrast, labels or {}, rows, control), *table.notes])
    tidy = _tidy(table.frame, table.contrast.pairs)
    return Figure(figure, tidy, caption, file_name(kind, table.contrast.metric))


@dataclass(frozen=True)
class _Row:
    """One line of the plot: a heading (`effect` is None) or a condition, with its levels in words."""

    y: float
    heading: str
    levels: Mapping[str, str]
    effect: Mapping[str, Any] | None
    differences: tuple[float, ...] = ()


def _rows(table: Table, contrast: Contrast, labels: Mapping[str, str]) -> list[_Row]:
    keys = table.frame.columns[: table.frame.columns.index("n")]
    treatments = keys[2:]
    names = short_names(treatments, labels)
    varying = contrast.telling(table.frame.select(treatments))
    varying = [_CHANGE] if _CHANGE in keys else varying
    pairs = contrast.pairs.group_by(keys).agg(pl.col("difference").drop_nulls())
    pairs = table.frame.join(pairs, on=keys, how="left", nulls_equal=True, maintain_order="left", suffix="s")
    sections = _CHANGE not in keys and table.frame.select("factor", "reference").n_unique() > 1
    rows: list[_Row] = []
    y, above = 0.0, None
    for effect, differences in zip(table.frame.iter_rows(named=True), pairs["differences"], strict=True):
        section = f"{effect['factor']} against {effect['reference'] or NONE}"
        if sections and section != above:
            y += 0.3 if rows else 0.0
            rows.append(_Row(y, section, {}, None))
            y, above = y + 1, section
        words = {names.get(column, column): level_text(effect[column]) for column in varying}
        levels = {name: labels.get(word, word) for name, word in words.items()}
        rows.append(_Row(y, "", levels, effect, tuple(differences)))
        y += 1
    return rows if varying == [_CHANGE] else _in_words(rows)


def _in_words(rows: Sequence[_Row]) -> list[_Row]:
    """Write the levels of each row as one text, where that takes less room than a column for each."""
    conditions = [row for row in rows if row.effect is not None]
    texts = [
        ", ".join(f"{name} = {word}" for name, word in row.levels.items() if word != NONE) or "untouched"
        for row in conditions
    ]
    columns = [_Column(name, tuple(row.levels[name] for row in conditions)) for name in conditions[0].levels]
    one = _Column(_CONDITION, tuple(texts))
    if len(columns) == 1 or one.width >= sum(column.width for column in columns):
        return list(rows)
    written = iter(texts)
    return [replace(row, levels={_CONDITION: next(written)}) if row.effect else row for row in rows]


@dataclass(frozen=True)
class _Column:
    """A column of words beside the plot: its heading, and a cell for each condition."""

    title: str
    cells: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """The heading, broken so that it is no wider than it must be."""
        widest = max([_HEADING, *map(len, (*self.title.split(), *self.cells))])
        return textwrap.wrap(self.title, widest) or [""]

    @property
    def width(self) -> float:
        """Inches, the gap to the next column included."""
        return _LETTER * max(len(text) for text in (*self.lines, *self.cells)) + _GAP


def _look(effect: Mapping[str, Any]) -> tuple[str, _Look]:
    word = effect["verdict"].split(";")[0].split(" ")[0]
    name = word if word in _LOOKS else "no interval"
    return name, _LOOKS[name]


def _draw(rows: Sequence[_Row], contrast: Contrast, labels: Mapping[str, str], width: Width) -> Canvas:
    conditions = [row for row in rows if row.effect is not None]
    left = [_Column(name, tuple(row.levels[name] for row in conditions)) for name in conditions[0].levels]
    right = _number_columns(conditions, contrast)[: None if width == "page" else 1]
    sides = [sum(column.width for column in columns) for columns in (left, right)]
    middle = max(WIDTHS[width] - sum(sides) - 0.1, 1.4)
    above = _lost(conditions)
    head = 0.1 + _LINE * max(len(column.lines) for column in (*left, *right)) + (_ROW if above else 0.0)
    foot, body = 0.9 if width == "page" else 1.15, _ROW * (rows[-1].y + 1.2)
    figure = canvas(width, head + body + foot, constrained=False)
    figure.set_figwidth(middle + sum(sides) + 0.1)

    def place(x: float, wide: float) -> Axes:
        total, tall = figure.get_figwidth(), figure.get_figheight()
        axes = figure.add_axes((x / total, foot / tall, wide / total, body / tall))
        axes.set_ylim(rows[-1].y + 0.7, -0.5)
        return axes

    _draw_forest(place(0.06 + sides[0], middle - 0.08), rows, contrast, labels, middle)
    words = place(0.06, sides[0])
    _write_columns(words, left, conditions)
    _write_headings(words, rows)
    _write_columns(place(0.06 + sides[0] + middle, sides[1]), right, conditions)
    _add_legend(figure, conditions, contrast, width)
    top = 1 - 0.05 / figure.get_figheight()
    figure.text(0.01, top, above, va="top", fontsize=7.5, color=MUTED, gid="lost")
    return figure


def _lost(rows: Sequence[_Row]) -> str:
    effects = [row.effect for row in rows if row.effect is not None]
    of, known = (sum(effect[name] for effect in effects) for name in ("pairs_of", "pairs"))
    return f"{of - known} of {of} pairs lost a learner (not drawn)" if of > known else ""


def _draw_forest(
    axes: Axes, rows: Sequence[_Row], contrast: Contrast, labels: Mapping[str, str], width: float
) -> None:
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=max(2, int(width / 0.65))))
    if contrast.margin is not None:
        axes.axvspan(-contrast.margin, contrast.margin, color=FAINT, alpha=0.6, linewidth=0, gid="margin")
    axes.axvline(0, color=INK, linewidth=1.0, zorder=2, gid="control")
    for row in rows:
        if row.effect is not None:
            _draw_effect(axes, row, row.effect)
    side = "right" if contrast.better == "higher" else "left"
    words = f"paired difference in {labels.get(contrast.metric, contrast.metric)}"
    better, room = f"({side} is better)", int(width / _LABEL)
    if len(f"{words} {better}") <= room:
        axes.set_xlabel(f"{words} {better}")
    else:
        axes.set_xlabel(f"{textwrap.fill(words, room, break_long_words=False)}\n{better}")


def _draw_effect(axes: Axes, row: _Row, effect: Mapping[str, Any]) -> None:
    _, look = _look(effect)
    axes.scatter(
        row.differences,
        row.y + 0.56 * offsets(len(row.differences)),
        s=7,
        color=look.colour,
        alpha=0.35,
        linewidths=0,
        zorder=3,
        gid="pairs",
    )
    if effect["difference"] is None:
        return
    if effect["low"] is not None:
        ends = (effect["low"], effect["high"])
        axes.plot(ends, (row.y, row.y), color=look.colour, linewidth=1.8, zorder=4, gid="interval")
    axes.plot(
        [effect["difference"]],
        [row.y],
        marker=look.marker,
        markersize=5.5,
        color=look.colour,
        markerfacecolor=look.colour if look.filled else "white",
        markeredgewidth=1.2,
        linestyle="",
        zorder=5,
        gid="effect",
    )


def _number_columns(rows: Sequence[_Row], contrast: Contrast) -> list[_Column]:
    effects = [row.effect for row in rows if row.effect is not None]
    whole = all(effect["n"] == effect["of"] for effect in effects)
    return [
        _Column("n", tuple(str(e["n"]) if whole else f"{e['n']}/{e['of']}" for e in effects)),
        _Column(
            f"difference [{100 * contrast.confidence:g}%]",
            tuple(interval_text(e["difference"], e["low"], e["high"]) for e in effects),
        ),
        _Column("p (Holm)", tuple(p_text(e["p_holm"]) for e in effects)),
    ]


def _write_columns(axes: Axes, columns: Sequence[_Column], rows: Sequence[_Row]) -> None:
    """Write columns of words at the heights of the rows; the axes measure inches across."""
    axes.set_axis_off()
    axes.set_xlim(0, sum(column.width for column in columns))
    x = 0.0
    for column in columns:
        axes.text(x, -0.62, "\n".join(column.lines), va="bottom", color=MUTED, fontsize=7.5)
        for row, cell in zip(rows, column.cells, strict=True):
            axes.text(x, row.y, cell, va="center_baseline", fontsize=7.5)
        x += column.width


def _write_headings(axes: Axes, rows: Sequence[_Row]) -> None:
    for row in rows:
        if row.effect is None:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
            axes.text(0, row.y, row.heading, va="center_baseline", fontsize=7.5, fontweight="bold", bbox=box)


def _add_legend(figure: Canvas, rows: Sequence[_Row], contrast: Contrast, width: Width) -> None:
    used = {_look(row.effect)[0] for row in rows if row.effect is not None}
    handles = [
        Line2D(
            [],
            [],
            color=look.colour,
            marker=look.marker,
            markerfacecolor=look.colour if look.filled else "white",
            markeredgewidth=1.2,
            markersize=5.5,
            linewidth=1.8,
            label=name if name != "equivalent" else f"equivalent (±{contrast.margin:g})",
        )
        for name, look in _LOOKS.items()
        if name in used
    ]
    dot = Line2D([], [], color=MUTED, marker="o", markersize=2.6, alpha=0.5, linestyle="", label="one pair")
    figure.legend(handles=[*handles, dot], loc="lower center", ncols=6 if width == "page" else 2)


def _caption(contrast: Contrast, labels: Mapping[str, str], rows: Sequence[_Row], control: str) -> str:
    counts = [row.effect["n"] for row in rows if row.effect is not None]
    least, most = min(counts), max(counts)
    blocks = f"{most}" if least == most else f"{least} to {most}"
    named = labels.get(contrast.metric, contrast.metric)
    return (
        f"Paired differences in {named} from the {control}, all else equal. Dots: single pairs; marks: mean "
        f"over {blocks} independent blocks; bars: its {100 * contrast.confidence:g}% t interval."
    )


def _tidy(frame: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    keys = frame.columns[: frame.columns.index("n")]
    means = frame.select(*keys, pl.lit("effect").alias("mark"), "n", "difference", "low", "high")
    dots = pairs.select(
        *keys, pl.lit("pair").alias("mark"), pl.lit(1, dtype=pl.Int64).alias("n"), "learner", "difference"
    )
    return pl.concat([means, dots], how="diagonal")

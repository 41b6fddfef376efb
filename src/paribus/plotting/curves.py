"""Curves: how a metric goes over training, one line for each condition."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from paribus.analysis.factors import Factor, replicates_of, require, treatments_of
from paribus.analysis.wording import NONE, level_text
from paribus.errors import AnalysisError
from paribus.plotting.figure import Figure, file_name
from paribus.plotting.grid import Grid, lay_out
from paribus.plotting.panels import Line, Panel, arrange, conditions_of
from paribus.plotting.series import losses_of, marks_of, recorded
from paribus.plotting.style import WINDOW, Width, canvas, settle, styled, subtitle

Window = tuple[int, int]
Scale = Literal["linear", "log"]

_LEGEND = 26  # letters in a line of a legend
_LINE = 0.155  # inches from one line of a legend to the next


def curves(
    frame: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    *,
    x: Literal["step", "epoch"] = "step",
    windows: Sequence[Window] = (),
    hue: str | None = None,
    labels: Mapping[str, str] | None = None,
    scale: Scale = "linear",
    width: Width = "page",
) -> Figure:
    """Draw a metric over training: the mean over replicates, with its interval, for every condition.

    The band is the 95% t interval of the mean over runs, drawn where at least three runs have a value; with
    three runs or fewer, each run is a thin line too. Runs that diverged are dotted up to a cross and are not
    in the mean; the subtitle counts them. The control is black. More than 12 treated conditions go to several
    panels.

    Args:
        frame: One row per learner and step; the metric is null where it was not recorded.
        metric: Name of the metric's column.
        factors: The factors of the experiment.
        x: Column of the horizontal axis.
        windows: Intervention windows ``(first step, end step)`` to shade; with none given, those that
            ``when`` columns name, each in its own panel where the panels differ by it.
        hue: Treatment column to tell by colour, the others making the panels; None: chosen.
        labels: Names for print: for columns, for the metric, or for a line's text as it would be.
        scale: Scale of the vertical axis.
        width: Of the figure: a journal's column or page.

    Returns:
        The figure; its table has the treatments, `x`, `mark` ("mean", "run", "diverged"), `learner`, `n`,
        `value`, `low` and `high`.

    Raises:
        AnalysisError: If a column is absent, or no learner recorded the metric.
    """
    require(frame, ["learner", "status", metric, "step", x, *treatments_of(factors)], "curves")
    runs = recorded(frame, metric, x, factors)
    if runs.is_empty():
        raise AnalysisError(
            f"curves: no learner recorded {metric!r}; run the experiment, or name another metric"
        )
    treatments = treatments_of(factors)
    marks = marks_of(runs, x, treatments)
    panels = arrange(conditions_of(frame.sort("learner"), factors), factors, hue, labels)
    spans = _spans(frame, windows, factors, x)
    parts = marks.partition_by([*treatments, "mark"], as_dict=True)
    drawing = _Drawing(marks, x, metric, labels or {}, scale, spans, parts)
    with styled():
        figure = _draw(drawing, lay_out(panels, 3 if width == "page" else 1), width, losses_of(frame))
    caption = " ".join(_caption(drawing, frame, factors))
    return Figure(figure, marks, caption, file_name("curves", metric))


@dataclass(frozen=True)
class _Span:
    """A window on the horizontal axis, and the text by which a ``when`` column names it."""

    text: str
    low: float
    high: float


@dataclass(frozen=True)
class _Drawing:
    """What every part of the figure needs to know."""

    marks: pl.DataFrame
    x: str
    metric: str
    labels: Mapping[str, str]
    scale: Scale
    spans: Sequence[_Span]
    parts: Mapping[tuple[object, ...], pl.DataFrame]  # by levels and mark


def _spans(frame: pl.DataFrame, windows: Sequence[Window], factors: Sequence[Factor], x: str) -> list[_Span]:
    named = [column for column in treatments_of(factors) if column.endswith(".when")]
    texts = [text for column in named for text in frame[column].unique(maintain_order=True)]
    found = [window for window in map(_window, texts) if window is not None]
    unit = _epochs_per_step(frame) if x == "epoch" else 1.0
    return [
        _Span(f"{low}{NONE}{high}", low * unit, high * unit) for low, high in sorted(set(windows or found))
    ]


def _window(text: object) -> Window | None:
    match = re.fullmatch(rf"\s*(\d+)\s*[-{NONE}]\s*(\d+)\s*", str(text))
    return (int(match[1]), int(match[2])) if match else None


def _epochs_per_step(frame: pl.DataFrame) -> float:
    ratio = frame.filter(pl.col("step") > 0).select((pl.col("epoch") / pl.col("step")).median()).item()
    return float(ratio) if ratio is not None else 1.0


def _draw(drawing: _Drawing, grid: Grid, width: Width, losses: str) -> Canvas:
    legend = _Legend.of(grid, drawing, width)
    figure = canvas(width, legend.height(grid))
    axes = figure.subplots(grid.rows, grid.columns, sharex=True, sharey=True, squeeze=False)
    for place in grid.empty:
        axes[place].set_visible(False)
    for place, panel in grid.panels.items():
        _draw_panel(axes[place], panel, drawing)
        if grid.titles[place]:
            axes[place].set_title(textwrap.fill(grid.titles[place], 34))
    for row in range(grid.rows):
        axes[row, 0].set_ylabel(textwrap.fill(grid.row_titles[row], 20))
    metric = drawing.labels.get(drawing.metric, drawing.metric)
    if grid.rows == 1:
        axes[0, 0].set_ylabel(metric)
    else:
        figure.supylabel(metric, fontsize=8.5)
    for column in range(grid.columns):
        lowest = max(row for row, at in grid.panels if at == column)
        axes[lowest, column].set_xlabel(drawing.labels.get(drawing.x, drawing.x))
        axes[lowest, column].tick_params(labelbottom=True)
    _set_limits(axes[0, 0], drawing)
    for place, panel in grid.panels.items():
        _draw_diverged(axes[place], panel, drawing)
    legend.add(figure, list(axes[:, -1]))
    subtitle(figure, ". ".join(filter(None, [_bands(drawing.marks), losses])), width)
    settle(figure)
    return figure


def _draw_panel(axes: Axes, panel: Panel, drawing: _Drawing) -> None:
    axes.margins(x=0.02)
    for span in _spans_in(panel, drawing.spans):
        axes.axvspan(span.low, span.high, color=WINDOW, linewidth=0, zorder=0, gid="window")
    for line in sorted(panel.lines, key=lambda line: line.is_control):
        for run in _rows_of(line, "run", drawing).partition_by("learner"):
            axes.plot(
                run[drawing.x], run["value"], color=line.hue.colour, linewidth=0.5, alpha=0.6, gid="run"
            )
        mean = _rows_of(line, "mean", drawing)
        if mean.is_empty():
            continue
        band = mean.drop_nulls("low")
        if band.height:
            area = FillBetweenPolyCollection(
                "x",
                band[drawing.x].to_numpy(),
                band["low"].to_numpy(),
                band["high"].to_numpy(),
                color=line.hue.colour,
                alpha=0.16,
                linewidth=0,
                gid="band",
            )
            axes.add_collection(area, autolim=False)  # the limits are set at the end; to fit them is slow
        axes.plot(
            mean[drawing.x],
            mean["value"],
            color=line.hue.colour,
            linestyle=line.hue.dashes,
            marker=line.hue.marker,
            markevery=max(1, mean.height // 8),
            markeredgecolor="white",
            markeredgewidth=0.4,
            label=line.label,
            linewidth=1.9 if line.is_control else 1.3,
            zorder=2.8 if line.is_control else 3,
            gid="control" if line.is_control else "mean",
        )


def _spans_in(panel: Panel, spans: Sequence[_Span]) -> list[_Span]:
    whens = {level_text(level) for column, level in panel.levels.items() if column.endswith(".when")}
    return [span for span in spans if span.text in whens] or list(spans)


def _rows_of(line: Line, mark: str, drawing: _Drawing) -> pl.DataFrame:
    return drawing.parts.get((*line.condition.levels.values(), mark), drawing.marks.clear())


def _set_limits(axes: Axes, drawing: _Drawing) -> None:
    """Fit the vertical axis to the runs that ended: one that diverged would flatten all others."""
    ended = drawing.marks.filter(pl.col("mark") != "diverged")
    if ended.is_empty():
        return
    values = pl.concat([ended["value"], ended["low"].drop_nulls(), ended["high"].drop_nulls()])
    if drawing.scale == "log":
        _set_log_limits(axes, [value for value in values if value > 0])
        return
    low, high = min(values), max(values)
    pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(low - pad, high + pad)


def _set_log_limits(axes: Axes, values: Sequence[float]) -> None:
    if not values:
        return
    axes.set_yscale("log")
    axes.set_ylim(min(values) / 1.15, max(values) * 1.15)
    within_a_decade = max(values) < 20 * min(values)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if within_a_decade else (1.0,)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _draw_diverged(axes: Axes, panel: Panel, drawing: _Drawing) -> None:
    low, high = axes.get_ylim()
    for line in panel.lines:
        for run in _rows_of(line, "diverged", drawing).partition_by("learner"):
            style: dict[str, Any] = {"color": line.hue.colour, "linewidth": 0.8, "zorder": 2.5}
            axes.plot(run[drawing.x], run["value"], linestyle=":", gid="diverged", **style)
            end = min(max(run["value"][-1], low), high)
            axes.plot(
                [run[drawing.x][-1]],
                [end],
                marker="x",
                markersize=5,
                clip_on=False,
                gid="divergence",
                **style,
            )


@dataclass(frozen=True)
class _Legend:
    """What the legend says.

    Attributes:
        title: Above the handles; empty for none.
        rows: For each row of panels its handles; one alone where all have the same.
        width: Of the figure: on a page a legend stands beside it, in a column below.
    """

    title: str
    rows: Sequence[Sequence[Line2D]]
    width: Width

    @classmethod
    def of(cls, grid: Grid, drawing: _Drawing, width: Width) -> _Legend:
        """Gather the lines that have something drawn, row by row."""
        runs = _runs_by_line(grid, drawing)
        rows = [
            {
                line.label: line
                for (at, _), panel in grid.panels.items()
                for line in panel.lines
                if at == row and line.label in runs
            }
            for row in range(grid.rows)
        ]
        if all(set(row) <= set(rows[0]) for row in rows):
            rows = rows[:1]
        return cls(
            textwrap.fill(grid.panels[0, 0].hue_name, 18), [_handles(row, runs) for row in rows], width
        )

    @property
    def columns(self) -> int:
        """Handles beside each other, below a figure."""
        texts = [str(handle.get_label()) for handle in self.rows[0]]
        return 2 if max(map(len, texts), default=0) < 22 else 1

    def height(self, grid: Grid) -> float:
        """Inches that the figure takes with it."""
        lines = [sum(1 + str(h.get_label()).count("\n") for h in row) for row in self.rows]
        title = 1 + self.title.count("\n") if self.title else 0
        if len(self.rows) > 1:
            return 0.7 + grid.rows * max(1.75, 0.3 + _LINE * (max(lines) + title))
        plain = 3.1 if grid.rows == 1 and grid.columns == 1 else 0.7 + 1.75 * grid.rows
        if self.width == "page":
            return max(plain, 0.5 + _LINE * (lines[0] + title))
        return plain + _LINE * max(0, -(-lines[0] // self.columns) + title - 3)

    def add(self, figure: Canvas, last: Sequence[Axes]) -> None:
        """Put one legend beside or below the figure, or one beside each row, whose last axes are given."""
        title: dict[str, Any] = {"title": self.title, "alignment": "left"}
        if len(self.rows) > 1:
            for axes, row in zip(last, self.rows, strict=True):
                axes.legend(handles=list(row), loc="center left", bbox_to_anchor=(1.03, 0.5), **title)
            return
        place: dict[str, Any] = {"loc": "outside right center"}
        if self.width == "column":
            place = {"loc": "outside lower center", "ncols": self.columns}
        figure.legend(handles=list(self.rows[0]), **place, **title)


def _runs_by_line(grid: Grid, drawing: _Drawing) -> dict[str, str]:
    """Count the runs behind each line that is drawn; empty texts where all lines have as many."""
    counts: dict[str, set[int]] = {}
    for panel in grid.panels.values():
        for line in panel.lines:
            n = _rows_of(line, "mean", drawing)["n"].to_list()
            if n or _rows_of(line, "diverged", drawing).height:
                counts.setdefault(line.label, set()).update(n or [0])
    alike = len(set().union(*counts.values())) == 1
    return {label: "" if alike else f", n = {_range_text(n)}" for label, n in counts.items()}


def _range_text(counts: Iterable[int]) -> str:
    distinct = sorted(set(counts))
    return str(distinct[0]) if len(distinct) == 1 else f"{distinct[0]}{NONE}{distinct[-1]}"


def _handles(lines: Mapping[str, Line], runs: Mapping[str, str]) -> list[Line2D]:
    ordered = sorted(lines.values(), key=lambda line: not line.is_control)
    return [
        Line2D(
            [],
            [],
            color=line.hue.colour,
            linestyle=line.hue.dashes,
            marker=line.hue.marker,
            markeredgecolor="white",
            markeredgewidth=0.4,
            label=textwrap.fill(f"{line.label}{runs[line.label]}", _LEGEND),
        )
        for line in ordered
    ]


def _bands(marks: pl.DataFrame) -> str:
    means = marks.filter(pl.col("mark") == "mean")
    if means.is_empty():
        return "No run ended"
    most = max(means["n"])
    if most == 1:
        return "One run for each line"
    runs = f"{_range_text(means['n'])} runs"
    band = "; band: 95% t interval of the mean" if most >= 3 else ""
    thin = "; thin: single runs" if marks.filter(pl.col("mark") == "run").height else ""
    return f"Line: mean over {runs}{band}{thin}"


def _caption(drawing: _Drawing, frame: pl.DataFrame, factors: Sequence[Factor]) -> list[str]:
    named = drawing.labels.get(drawing.metric, drawing.metric)
    sentences = [f"{named} over training ({drawing.x}s).", _bands(drawing.marks) + "."]
    seeds = {
        column: frame[column].drop_nulls().n_unique() for column in replicates_of(factors) if column in frame
    }
    varied = [f"{column} ({count})" for column, count in seeds.items() if count > 1]
    fixed = [column for column, count in seeds.items() if count == 1]
    if varied:
        sentences.append(f"Replicates: {', '.join(varied)}.")
    if fixed:
        sentences.append(f"Fixed seeds: {', '.join(fixed)}.")
    if any(factor.control is not None and factor.treatments for factor in factors):
        sentences.append("Black: control.")
    if drawing.spans:
        sentences.append(f"Shaded: intervention windows (steps {', '.join(s.text for s in drawing.spans)}).")
    losses = losses_of(frame)
    if losses:
        dotted = "; diverged runs are dotted up to a cross" if "diverged" in losses else ""
        sentences.append(f"{losses}{dotted}.")
    return sentences

"""Figures as one picture: how many times better than its target each one is."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes

from paribus.bench.measure import Figure
from paribus.bench.table import Results
from paribus.plotting.style import ALARM, HUES, INK, MUTED, canvas, settle, styled, subtitle

_EDGE = 32.0  # times better or worse; what lies beyond is drawn there
_TICKS = {1 / 32: "1/32", 1 / 8: "1/8", 1 / 2: "1/2", 1: "1", 2: "2", 8: "8", 32: "32"}
_INCHES = 0.19
_MARGIN = 1.1


def draw(results: Results, path: Path) -> Path:
    """Draw every figure that has a target, and return the file.

    A figure's mark is at its number over the target where more is better, else at the target over it: at 1
    and to the right of it the target is met. A miss is a cross in red.

    Args:
        results: The figures of each benchmark.
        path: A file that ends in ``.png``, ``.svg`` or ``.pdf``.
    """
    judged = [(name, figure) for name, figures in results.items() for figure in figures if figure.target]
    with styled():
        page = canvas("page", _MARGIN + _INCHES * len(judged))
        axes = page.subplots()
        for place, (_, figure) in enumerate(judged):
            _mark(axes, place, figure)
        axes.set_yticks(range(len(judged)), [f"{name}: {figure.what}" for name, figure in judged], fontsize=6)
        axes.set_ylim(len(judged) - 0.3, -0.7)
        axes.set_xscale("log")
        axes.set_xlim(1 / _EDGE / 1.3, _EDGE * 5)  # room for the words on the right
        axes.set_xticks(list(_TICKS), list(_TICKS.values()), minor=False)
        axes.minorticks_off()
        axes.axvline(1, color=INK, linewidth=0.8)
        axes.set_xlabel("times better than the target")
        subtitle(page, f"{sum(bool(f.met) for _, f in judged)} of {len(judged)} targets met", "page")
        settle(page)
        page.savefig(path)
    return path


def better_than_target(figure: Figure) -> float:
    """Return how many times better than its target a figure is: below 1 where it is missed."""
    target = figure.target or 0.0
    if figure.better == "more":
        return max(figure.reached, 0.0) / target
    return target / figure.reached if figure.reached > 0 else _EDGE


def _mark(axes: Axes, place: int, figure: Figure) -> None:
    at = min(max(better_than_target(figure), 1 / _EDGE), _EDGE)
    colour, marker = (HUES[0].colour, "o") if figure.met else (ALARM, "X")
    axes.plot([1, at], [place, place], color=colour, linewidth=0.8)
    axes.plot(at, place, marker, color=colour, markersize=4)
    axes.annotate(
        f"{figure.reached:.3g} {figure.unit} ({'≥' if figure.better == 'more' else '≤'} {figure.target:g})",
        (max(at, 1), place),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=6,
        color=MUTED if figure.met else ALARM,
    )

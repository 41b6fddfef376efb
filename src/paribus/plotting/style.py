"""How figures look: colours that all can tell apart, sizes for a column or a page, embedded fonts.

Nothing global changes: a figure is made and saved inside `styled()`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from paribus.engine.learners.collection import collection_paused

Width = Literal["column", "page"]

WIDTHS: Mapping[Width, float] = {"column": 3.5, "page": 7.2}  # inches

INK = "#000000"
MUTED = "#5f6368"
FAINT = "#d7dade"
WINDOW = "#e9e2cf"
ALARM = "#b3261e"

_RC: Mapping[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.labelcolor": "#202124",
    "axes.edgecolor": "#80868b",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eceef0",
    "grid.linewidth": 0.6,
    "xtick.color": "#80868b",
    "ytick.color": "#80868b",
    "xtick.labelcolor": "#202124",
    "ytick.labelcolor": "#202124",
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.handlelength": 2.2,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.6,
    "figure.dpi": 150,
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
    "savefig.dpi": 300,
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,  # TrueType, embedded: text stays text
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "paribus",  # the same figure gives the same bytes
}


@dataclass(frozen=True)
class Hue:
    """How one condition is drawn: never by its colour alone."""

    colour: str
    marker: str
    dashes: Any  # what matplotlib takes as a line style


_SHORT = 12  # letters of a legend's text: three stand side by side in a column
_SOLID = "-"
_DASHED = (0, (4.0, 1.6))
_DOTTED = (0, (1.2, 1.2))
_DASH_DOT = (0, (5.0, 1.4, 1.2, 1.4))

# Okabe and Ito (2008) without black, which is the control's, and yellow, which white paper swallows; then
# darker tones after Tol's (2021) muted scheme, dashed, so that colour alone never tells two lines apart.
HUES: tuple[Hue, ...] = (
    Hue("#0072B2", "o", _SOLID),
    Hue("#D55E00", "s", _SOLID),
    Hue("#009E73", "^", _SOLID),
    Hue("#CC79A7", "D", _SOLID),
    Hue("#E69F00", "v", _SOLID),
    Hue("#56B4E9", "P", _SOLID),
    Hue("#332288", "X", _DASHED),
    Hue("#882255", "<", _DASHED),
    Hue("#999933", ">", _DASHED),
    Hue("#8C5A2B", "p", _DASHED),
    Hue("#7F7F7F", "h", _DASHED),
    Hue("#117733", "*", _DASHED),
)

CONTROLS: tuple[Hue, ...] = (
    Hue(INK, "", _SOLID),
    Hue(INK, "", _DASHED),
    Hue(INK, "", _DOTTED),
    Hue(INK, "", _DASH_DOT),
)


@contextmanager
def styled() -> Iterator[None]:
    """Apply the style for the length of a ``with`` block.

    Garbage waits until its end: to look for it among thousands of artists takes a fifth of the time.
    """
    with matplotlib.rc_context(dict(_RC)), collection_paused():  # type: ignore[arg-type]
        yield


def subtitle(figure: Canvas, text: str, width: Width) -> None:
    """Write what the marks are, and what is not drawn, above a figure, on the left."""
    wrapped = textwrap.fill(text, 110 if width == "page" else 52)
    figure.suptitle(wrapped, x=0.01, ha="left", fontsize=7.5, color=MUTED)


def add_legends(figure: Canvas, panels: Sequence[Axes], title: str, width: Width) -> None:
    """Put one legend beside or below a single panel; several panels have one each, beside them."""
    if len(panels) > 1:
        for axes in panels:
            axes.legend(title=title, alignment="left", loc="center left", bbox_to_anchor=(1.02, 0.5))
        return
    handles, texts = panels[0].get_legend_handles_labels()
    roomy = max(map(len, texts)) < _SHORT
    below: dict[str, Any] = {"loc": "outside lower center", "ncols": min(len(texts), 3 if roomy else 1)}
    beside: dict[str, Any] = {"loc": "outside right center"}
    figure.legend(handles, texts, title=title, alignment="left", **(beside if width == "page" else below))


def settle(figure: Canvas) -> None:
    """Place the axes once and for all: each further pass would move them, and change the bytes."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine(None)  # and not "none", for which saving would draw everything twice


def canvas(width: Width, height: float, constrained: bool = True) -> Canvas:
    """Make an empty figure on the Agg canvas; call it inside `styled()`.

    Args:
        width: A journal's column (3.5 inches) or page (7.2 inches).
        height: Inches.
        constrained: Whether matplotlib places the axes; else the caller does.
    """
    figure = Canvas(figsize=(WIDTHS[width], height), layout="constrained" if constrained else None)
    FigureCanvasAgg(figure)
    return figure

"""Where the noise comes from: the share of each seed."""

from __future__ import annotations

from matplotlib.ticker import MaxNLocator

from paribus.analysis.table import Table
from paribus.analysis.wording import number
from paribus.errors import AnalysisError
from paribus.plotting.figure import Figure
from paribus.plotting.style import HUES, Width, canvas, settle, styled, subtitle


def variance(table: Table, *, width: Width = "column") -> Figure:
    """Draw the share of each seed, and of their interactions, in the variance between replicates.

    Filled: single seeds; open: interactions.

    Args:
        table: What `paribus.analysis.variance` returned.
        width: Of the figure: a journal's column or page.

    Raises:
        AnalysisError: If the table holds no components of variance, or they are all zero.
    """
    frame = table.frame
    if not {"source", "variance", "share"} <= set(frame.columns):
        raise AnalysisError(
            "variance: this table has no components; give the table that variance(...) returns"
        )
    if frame["share"].null_count():
        raise AnalysisError("variance: all replicates are equal, so there is no variance to share out")
    names = [name.replace(" × ", " ×\n" if width == "column" else " × ") for name in frame["source"]]
    lines = sum(1 + name.count("\n") for name in names)
    with styled():
        figure = canvas(width, 1.0 + 0.1 * frame.height + 0.14 * lines)
        axes = figure.add_subplot()
        for place, row in enumerate(frame.iter_rows(named=True)):
            alone = " × " not in row["source"]
            axes.barh(
                place,
                100 * row["share"],
                height=0.62,
                facecolor=HUES[0].colour if alone else "white",
                edgecolor=HUES[0].colour,
                linewidth=1.0,
                gid="share",
            )
            text = f"  {100 * row['share']:.0f}% (sd {number(row['sd'], None)})"
            axes.text(100 * row["share"], place, text, va="center_baseline", fontsize=7.5)
        axes.set_yticks(range(frame.height), names)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        most = 100 * float(frame["share"].to_numpy().max())
        axes.set_xlim(0, most * (2.1 if width == "column" else 1.3))
        ticks = MaxNLocator(2 if width == "column" else 5).tick_values(0, min(100.0, most))
        axes.set_xticks([tick for tick in ticks if tick <= 100])
        axes.set_xlabel("share of variance (%)")
        left_out = [note for note in table.notes if "left out" in note]
        subtitle(figure, " ".join(["Filled: seeds; open: interactions.", *left_out]), width)
        settle(figure)
    words = "Bars: share of the variance between replicates; filled: single seeds; open: interactions."
    return Figure(figure, frame, " ".join([table.caption, words, *table.notes]), "variance")

"""A table of results that prints itself for a terminal, a notebook and a paper."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from paribus.analysis.layout import lay_out
from paribus.analysis.wording import NONE, level_text, number, telling

_WIDTH = 118
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "±": r"$\pm$",
        "≈": r"$\approx$",
        "²": r"$^2$",
        "·": r"$\cdot$",
        NONE: "--",
        "\N{MULTIPLICATION SIGN}": r"$\times$",
    }
)


@dataclass(frozen=True)
class Contrast:
    """What a table of effects compares: enough to draw it.

    Attributes:
        metric: Name of the metric.
        better: Which direction of it is better.
        margin: Half width of the range of equivalence, in the metric's unit; None where none was given.
        confidence: Coverage of the intervals.
        pairs: One row per treated learner and its control, as `paribus.analysis.pair` gives them.
        reference: Levels by column that were named to compare with; empty where the factors' controls served.
    """

    metric: str
    better: Literal["higher", "lower"]
    margin: float | None
    confidence: float
    pairs: pl.DataFrame
    reference: Mapping[str, object] = field(default_factory=dict)

    def telling(self, conditions: pl.DataFrame) -> list[str]:
        """List the columns that tell conditions apart, also from the reference; at least one."""
        rows = conditions.unique(maintain_order=True).to_dicts()
        rows += [{**rows[0], **self.reference}] if self.reference else []
        return telling(rows, conditions.columns) or conditions.columns[:1]


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """A frame with its caption and notes.

    Attributes:
        frame: The numbers, typed and unrounded.
        caption: One sentence that says what the table shows.
        notes: What a reader must know to read it rightly.
        shown: The cells as printed (all text); None: they are made from the frame.
        section: A column of `shown` that becomes headings over the rows; None: no headings.
        paper_only: Columns of `shown` that a terminal has no room for.
        contrast: For tables of effects: what was compared, with the raw pairs.
    """

    frame: pl.DataFrame
    caption: str
    notes: tuple[str, ...] = ()
    shown: pl.DataFrame | None = None
    section: str | None = None
    paper_only: tuple[str, ...] = ()
    contrast: Contrast | None = None

    @property
    def cells(self) -> pl.DataFrame:
        """The cells as printed: a frame of text."""
        if self.shown is not None:
            return self.shown
        return pl.DataFrame(
            {name: [_cell(value) for value in self.frame[name]] for name in self.frame.columns},
            schema=dict.fromkeys(self.frame.columns, pl.String),
        )

    def to_markdown(self) -> str:
        """Write the table as GitHub-flavoured Markdown, caption first, notes last."""
        cells = self.cells
        rule = ["---:" if _is_numeric(cells[name]) else ":---" for name in cells.columns]
        rows = [[text.replace("|", "\\|") for text in row] for row in [cells.columns, rule, *cells.rows()]]
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join([f"**{self.caption}**", "", *lines, *(f"\n*{note}*" for note in self.notes)]) + "\n"

    def to_latex(self, label: str = "tab:paribus") -> str:
        r"""Write the table for LaTeX with booktabs; needs ``\usepackage{booktabs}``.

        Args:
            label: The label to refer to, as in ``\ref{tab:paribus}``.
        """
        cells, sections = self._cells_and_sections()
        align = "".join("r" if _is_numeric(cells[name]) else "l" for name in cells.columns)
        body: list[str] = []
        for above, row in zip(_starts(sections, cells.height), cells.rows(), strict=True):
            if above is not None:
                head = rf"\multicolumn{{{cells.width}}}{{l}}{{\emph{{{above.translate(_LATEX)}}}}} \\"
                body.extend([r"\midrule", head] if body else [head])
            body.append(_latex_row(row))
        lines = [
            r"\begin{table}[t]",
            r"  \centering",
            rf"  \caption{{{self.caption.translate(_LATEX)}}}",
            rf"  \label{{{label}}}",
            rf"  \begin{{tabular}}{{{align}}}",
            r"    \toprule",
            f"    {_latex_row(tuple(cells.columns))}",
            r"    \midrule",
            *(f"    {row}" for row in body),
            r"    \bottomrule",
            r"  \end{tabular}",
            *(rf"  \par\smallskip\footnotesize {note.translate(_LATEX)}" for note in self.notes),
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def to_html(self) -> str:
        """Write the table as one HTML element without scripts or outside addresses."""
        cells, sections = self._cells_and_sections()
        align = ["right" if _is_numeric(cells[name]) else "left" for name in cells.columns]
        body = []
        for above, row in zip(_starts(sections, cells.height), cells.rows(), strict=True):
            if above is not None:
                body.append(
                    f'<tr><th colspan="{cells.width}" scope="rowgroup">{html.escape(above)}</th></tr>'
                )
            body.append(_html_row("td", row, align))
        notes = "".join(f"<p><small>{html.escape(note)}</small></p>\n" for note in self.notes)
        return (
            f'<div class="paribus-table">\n<table>\n<caption>{html.escape(self.caption)}</caption>\n'
            f"<thead>{_html_row('th', tuple(cells.columns), align)}</thead>\n<tbody>\n"
            + "\n".join(body)
            + f"\n</tbody>\n</table>\n{notes}</div>\n"
        )

    def _repr_html_(self) -> str:
        return self.to_html()

    def __rich__(self) -> str:
        return str(self).replace("[", "\\[")

    def __str__(self) -> str:
        """Lay the table out as plain text for a terminal of 118 columns."""
        cells, sections = self._cells_and_sections()
        cells = cells.drop(self.paper_only)
        right = [_is_numeric(cells[name]) for name in cells.columns]
        grid = lay_out(cells.columns, cells.rows(), right, sections, _WIDTH)
        notes = [textwrap.fill(note, _WIDTH) for note in self.notes]
        return "\n".join([textwrap.fill(self.caption, _WIDTH), "", grid, *([""] if notes else []), *notes])

    __repr__ = __str__

    def _cells_and_sections(self) -> tuple[pl.DataFrame, list[str] | None]:
        if self.section is None:
            return self.cells, None
        return self.cells.drop(self.section), self.cells[self.section].to_list()


def _starts(sections: list[str] | None, height: int) -> list[str | None]:
    """Give each row the heading that stands right above it, or None."""
    if sections is None:
        return [None] * height
    return [text if i == 0 or sections[i - 1] != text else None for i, text in enumerate(sections)]


def _cell(value: object) -> str:
    return number(value, None) if isinstance(value, float) else level_text(value)


def _is_numeric(column: pl.Series) -> bool:
    return column.len() > 0 and all(text[:1] in f"+-<0123456789{NONE}" for text in column)


def _latex_row(cells: tuple[str, ...]) -> str:
    return " & ".join(text.translate(_LATEX) for text in cells) + r" \\"


def _html_row(tag: str, cells: tuple[str, ...], align: list[str]) -> str:
    parts = (
        f'<{tag} style="text-align:{side}">{html.escape(text)}</{tag}>'
        for text, side in zip(cells, align, strict=True)
    )
    return f"<tr>{''.join(parts)}</tr>"

"""The elements that a report's sections are made of: HTML, escaped, without style and outside address."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import final

import polars as pl

from paribus.analysis import Table
from paribus.plotting.figure import Figure, file_name

_PIXELS_PER_INCH = 110
_ROOMY = 5.0  # inches: wider figures scroll on a phone
_LONG = 24  # letters: cells with more have room to break well
_NUMERIC = "+-<≈–0123456789"


@final
@dataclass(frozen=True)
class Grid:
    """The cells of a table as text.

    Attributes:
        heads: Names of the columns.
        rows: One text for each column.
        sections: A heading for each row, told once over rows that share it; None: no headings.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    sections: Sequence[str] | None = None

    @classmethod
    def of(cls, table: Table) -> Grid:
        """Read the printed cells of a table of results."""
        cells = table.cells
        if table.section is None:
            return cls(cells.columns, cells.rows())
        own = cells.drop(table.section)
        return cls(own.columns, own.rows(), cells[table.section].to_list())


def section(name: str, title: str, body: str) -> str:
    """Write a section under its heading."""
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">\n'
        f'<h2 id="{name}-title">{escape(title)}</h2>\n{body}</section>\n'
    )


def heading(text: str) -> str:
    """Write a heading within a section."""
    return f"<h3>{escape(text)}</h3>\n"


def paragraph(text: str, kind: str = "") -> str:
    """Write a paragraph, of a class where one is named."""
    return f"<p{_of_class(kind)}>{escape(text)}</p>\n"


def bullets(texts: Iterable[str]) -> str:
    """Write a list; nothing where it is empty."""
    items = "".join(f"<li>{escape(text)}</li>\n" for text in texts)
    return f"<ul>\n{items}</ul>\n" if items else ""


def folded(title: str, text: str) -> str:
    """Write a long text that is opened by its title."""
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>\n"


def download(name: str, content: str, kind: str = "text/csv") -> str:
    """Write a link that saves a text, which lies in the page itself, as a file."""
    data = base64.b64encode(content.encode()).decode()
    return f'<a download="{escape(name)}" href="data:{kind};base64,{data}">{escape(name)}</a>'


def csv(name: str, frame: pl.DataFrame) -> str:
    """Write the line that saves a frame."""
    return f'<p class="note download">{download(f"{name}.csv", frame.write_csv())}</p>\n'


def grid(name: str, caption: str, cells: Grid, below: str = "") -> str:
    """Write a sortable table with its caption; its rows have the ids ``<name>-0``, ``<name>-1``, ….

    Args:
        name: Unique on the page.
        caption: What it shows.
        cells: Its cells; the first of a row names it.
        below: What follows it, in HTML.
    """
    columns = list(zip(*cells.rows, strict=True)) or [()] * len(cells.heads)
    kinds = [_kind(column) for column in columns]
    heads = "".join(
        f'<th scope="col"{_of_class(kind)}>{escape(head)}</th>'
        for head, kind in zip(cells.heads, kinds, strict=True)
    )
    return (
        f'<figure>\n<figcaption id="{name}">{escape(caption)}</figcaption>\n'
        f'<div class="scroll" role="region" aria-labelledby="{name}" tabindex="0">\n'
        f'<table class="sortable" aria-labelledby="{name}">\n'
        f"<thead><tr>{heads}</tr></thead>\n{_bodies(name, cells, kinds)}</table>\n</div>\n{below}</figure>\n"
    )


def picture(name: str, figure: Figure) -> str:
    """Write a figure with its caption, which is also its text for those who do not see it."""
    width, height = (round(inches * _PIXELS_PER_INCH) for inches in figure.figure.get_size_inches())
    data, caption = base64.b64encode(figure._repr_png_()).decode(), escape(figure.caption)
    kind = "paper roomy" if width > _ROOMY * _PIXELS_PER_INCH else "paper"
    return (
        f'<figure id="{name}">\n'
        f'<div class="scroll" role="region" aria-label="Figure: {escape(figure.name)}" tabindex="0">'
        f'<div class="{kind}"><img src="data:image/png;base64,{data}" alt="{caption}" '
        f'width="{width}" height="{height}"></div></div>\n'
        f"<figcaption>{caption}</figcaption>\n{csv(file_name(figure.name), figure.table)}</figure>\n"
    )


def _bodies(name: str, cells: Grid, kinds: Sequence[str]) -> str:
    written = ["<tbody>\n"]
    above = None
    for place, row in enumerate(cells.rows):
        if cells.sections is not None and cells.sections[place] != above:
            above = cells.sections[place]
            written += ["</tbody>\n<tbody>\n"] if place else []
            written.append(
                f'<tr class="group"><th scope="rowgroup" colspan="{len(row)}">{escape(above)}</th></tr>\n'
            )
        written.append(_row(f"{name}-{place}", row, kinds))
    return "".join([*written, "</tbody>\n"])


def _row(name: str, texts: Sequence[str], kinds: Sequence[str]) -> str:
    tags = ['th scope="row"', *["td"] * (len(texts) - 1)]
    cells = (
        f"<{tag}{_of_class(kind)}>{escape(text)}</{tag[:2]}>"
        for tag, text, kind in zip(tags, texts, kinds, strict=True)
    )
    return f'<tr id="{name}">{"".join(cells)}</tr>\n'


def _kind(column: Sequence[str]) -> str:
    """Choose the class of a column's cells: numbers stand on the right, long texts have room."""
    if column and all(text[:1] in _NUMERIC and ", " not in text.partition("[")[0] for text in column):
        return "right"
    return "long" if max(map(len, column), default=0) > _LONG else ""


def _of_class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""

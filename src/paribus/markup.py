"""Small pieces of HTML for notebooks: escaped, in the notebook's own colours, light or dark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape


def titled(title: str, *bodies: str) -> str:
    """Put a bold line over pieces of HTML.

    >>> titled("a < b")
    '<div><b>a &lt; b</b></div>'
    """
    return f"<div><b>{escape(title)}</b>{''.join(bodies)}</div>"


def paragraph(text: str) -> str:
    """Write a paragraph."""
    return f"<p>{escape(text)}</p>"


def bullets(texts: Iterable[str]) -> str:
    """Write a list; nothing where it is empty."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def pairs(values: Mapping[str, object]) -> str:
    """Write names with their values as a table of two columns; nothing where there are none."""
    rows = "".join(
        f'<tr><th scope="row" style="text-align:left">{escape(name)}</th>'
        f'<td style="text-align:left">{escape(str(value))}</td></tr>'
        for name, value in values.items()
    )
    return f"<table><tbody>{rows}</tbody></table>" if rows else ""


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Write rows under a head."""
    heads = "".join(f'<th scope="col" style="text-align:left">{escape(name)}</th>' for name in head)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{escape(str(cell))}</td>' for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"

"""Plain-text layout of cells for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

_GAP = 2
_NARROWEST = 20


def lay_out(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[bool],
    sections: Sequence[str] | None = None,
    width: int = 118,
) -> str:
    """Align cells in columns; headings and the last column wrap, numbers never do.

    Args:
        header: One heading for each column.
        rows: The cells.
        right: For each column, whether it is aligned to the right.
        sections: For each row, the heading that it stands under; None: no headings.
        width: Columns of the terminal, kept as far as the cells allow.
    """
    widths = [_narrowest(name, [row[i] for row in rows]) for i, name in enumerate(header)]
    room = width - sum(widths[:-1]) - _GAP * (len(widths) - 1)
    widths[-1] = max(min(widths[-1], room), min(widths[-1], _NARROWEST))
    lines = _line(header, widths, right, bottom=True)
    lines.append("─" * (sum(widths) + _GAP * (len(widths) - 1)))
    above = None
    for index, row in enumerate(rows):
        if sections is not None and sections[index] != above:
            above = sections[index]
            lines.extend([above] if index == 0 else ["", above])
        lines.extend(_line(row, widths, right))
    return "\n".join(line.rstrip() for line in lines)


def _narrowest(name: str, cells: Sequence[str]) -> int:
    return max([len(word) for word in name.split()] + [len(cell) for cell in cells])


def _line(
    cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], bottom: bool = False
) -> list[str]:
    """Write one row as one or more lines; `bottom` aligns short cells with the last line."""
    wrapped = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
    height = max(len(lines) for lines in wrapped)
    blank = [[""] * (height - len(lines)) for lines in wrapped]
    filled = [gap + lines if bottom else lines + gap for gap, lines in zip(blank, wrapped, strict=True)]
    aligned = [
        [text.rjust(width) if to_right else text.ljust(width) for text in lines]
        for lines, width, to_right in zip(filled, widths, right, strict=True)
    ]
    return [(" " * _GAP).join(parts) for parts in zip(*aligned, strict=True)]

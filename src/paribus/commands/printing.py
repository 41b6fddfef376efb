"""What is printed: rich tables on a terminal, aligned text elsewhere, JSON when asked for."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header."""
    if sys.stdout.isatty():
        _print_rich(columns, rows)
    else:
        print_lines(_aligned([columns, *rows]))


def print_pairs(title: str, pairs: Mapping[str, str]) -> None:
    """Print names with their texts, one a line, under a title."""
    print_lines([title, *(f"  {line}" for line in _aligned(list(pairs.items())))])


def print_lines(lines: Sequence[str]) -> None:
    """Print plain lines."""
    typer.echo("\n".join(lines))


def print_json(value: object) -> None:
    """Print a value as JSON; numbers that are not finite become strings, which JSON has no other way for."""
    typer.echo(json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False))


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=SIMPLE_HEAD)
    for row in rows:
        # As texts: a window such as [0, 100] would be read as markup.
        table.add_row(*map(Text, row))
    Console().print(table)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case Mapping():
            return {name: _finite(entry) for name, entry in value.items()}
        case list() | tuple():
            return [_finite(entry) for entry in value]
        case _:
            return value

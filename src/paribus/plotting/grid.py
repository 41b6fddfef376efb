"""Where panels stand: in rows and columns, with their titles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paribus.plotting.panels import Panel

Place = tuple[int, int]

_COLUMNS = 3


@dataclass(frozen=True)
class Grid:
    """Panels by (row, column).

    Attributes:
        panels: What stands where; places may stay empty.
        titles: The text above each panel, empty for none.
        row_titles: The text beside each row, empty for none.
    """

    panels: Mapping[Place, Panel]
    titles: Mapping[Place, str]
    row_titles: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return 1 + max(row for row, _ in self.panels)

    @property
    def columns(self) -> int:
        """Number of columns."""
        return 1 + max(column for _, column in self.panels)

    @property
    def empty(self) -> list[Place]:
        """Places without a panel."""
        places = [(row, column) for row in range(self.rows) for column in range(self.columns)]
        return [place for place in places if place not in self.panels]


def lay_out(panels: Sequence[Panel], columns: int = _COLUMNS) -> Grid:
    """Cross the panels' two factors as rows and columns where both fit; else wrap after `columns` panels."""
    names = list(panels[0].levels)
    keys = [tuple(panel.levels.values()) for panel in panels]
    if len(names) == 2 and len(set(keys)) == len(keys) and columns > 1:
        return _crossed(panels)
    places = [divmod(index, columns) for index in range(len(panels))]
    titles = {place: panel.title for place, panel in zip(places, panels, strict=True)}
    rows = 1 + places[-1][0]
    return Grid(dict(zip(places, panels, strict=True)), titles, ("",) * rows)


def _crossed(panels: Sequence[Panel]) -> Grid:
    parts = [panel.title_parts for panel in panels]
    rows = list(dict.fromkeys(part[0] for part in parts))
    columns = list(dict.fromkeys(part[1] for part in parts))
    if len(rows) < len(columns) and len(columns) > _COLUMNS:
        rows, columns = columns, rows
        parts = [part[::-1] for part in parts]
    placed = {
        (rows.index(row), columns.index(column)): panel
        for (row, column), panel in zip(parts, panels, strict=True)
    }
    titles = {place: columns[place[1]] if place[0] == 0 else "" for place in placed}
    return Grid(placed, titles, tuple(rows))

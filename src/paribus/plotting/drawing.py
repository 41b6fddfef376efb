"""Figures of a run: written into files when it has ended, or in a notebook redrawn while it goes on."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import final

from paribus.engine.building.work import Outcome
from paribus.engine.showing.notebook import Place, in_notebook
from paribus.errors import AnalysisError
from paribus.plotting.figure import Figure

_LEAST_SECONDS = 2.0
_SHARE = 0.1


class Drawing(ABC):
    """An observer of a run that draws what was recorded."""

    @abstractmethod
    def settled(self, outcome: Outcome) -> None:
        """Take note that a segment was trained, and its outcome committed."""

    @abstractmethod
    def finish(self) -> tuple[str, ...]:
        """Draw what was recorded in the end; return the files that were written."""


def choose_drawing(draw: Callable[[], Iterable[Figure]], folder: Path) -> Drawing:
    """Choose how a run is drawn: in place in a notebook, into a folder elsewhere.

    Args:
        draw: Makes the figures of what is recorded by now.
        folder: Where files go.
    """
    return InPlace(draw) if in_notebook() else IntoFiles(draw, folder)


@final
class IntoFiles(Drawing):
    """Figures as PNG and CSV, written once."""

    def __init__(self, draw: Callable[[], Iterable[Figure]], folder: Path) -> None:
        self._draw = draw
        self._folder = folder

    def settled(self, outcome: Outcome) -> None:
        """Wait for the end."""

    def finish(self) -> tuple[str, ...]:
        """Write the figures."""
        files: list[Path] = []
        for figure in self._draw():
            files += figure.save(self._folder / figure.name, formats=("png", "csv"))
        return tuple(map(str, files))


@final
class InPlace(Drawing):
    """Figures in a notebook, each redrawn in its own place; drawing takes a tenth of the time at most."""

    def __init__(self, draw: Callable[[], Iterable[Figure]]) -> None:
        self._draw = draw
        self._places: dict[str, Place] = {}
        self._due = time.monotonic() + _LEAST_SECONDS

    def settled(self, outcome: Outcome) -> None:
        """Redraw where it is time to."""
        began = time.monotonic()
        if began < self._due:
            return
        with suppress(AnalysisError):  # what cannot be drawn yet may be drawn later
            self._show()
        ended = time.monotonic()
        self._due = ended + max(_LEAST_SECONDS, (ended - began) / _SHARE)

    def finish(self) -> tuple[str, ...]:
        """Redraw what was recorded in the end."""
        self._show()
        return ()

    def _show(self) -> None:
        for figure in self._draw():
            self._places.setdefault(figure.name, Place()).show(figure)

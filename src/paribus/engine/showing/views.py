"""Where a run's standing is shown: a terminal, a notebook, a log, and a file beside the store."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from abc import ABC, abstractmethod
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import ClassVar, TextIO, final

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from paribus.engine.showing.notebook import Place
from paribus.engine.showing.standing import Standing

_RUNS = "runs"


class View(ABC):
    """Somewhere that a run's standing is shown.

    Attributes:
        interval: Seconds between two showings.
        at_once: Whether the beginning is shown, or nothing before the first interval has passed.
    """

    interval: ClassVar[float]
    at_once: ClassVar[bool] = True

    @abstractmethod
    def show(self, standing: Standing) -> None:
        """Show how far the run is."""

    @abstractmethod
    def close(self, standing: Standing) -> None:
        """Show how the run ended."""


@final
class Terminal(View):
    """A line with a bar, drawn over and over by rich."""

    interval = 0.5

    def __init__(self) -> None:
        self._live = Live(console=Console(stderr=True), auto_refresh=False)
        self._live.start()

    def show(self, standing: Standing) -> None:
        """Draw the line."""
        line = Table.grid(padding=(0, 1))
        line.add_column(no_wrap=True)
        line.add_column(no_wrap=True, overflow="ellipsis")
        bar = ProgressBar(max(standing.total, 1), standing.steps, width=20)
        line.add_row(bar, Text(str(standing), style="red" if standing.failed else ""))
        self._live.update(line, refresh=True)

    def close(self, standing: Standing) -> None:
        """Leave the line as it is at the end."""
        self.show(standing)
        self._live.stop()


@final
class Notebook(View):
    """A line with a bar in a cell's output."""

    interval = 1.0

    def __init__(self) -> None:
        self._place = Place()

    def show(self, standing: Standing) -> None:
        """Put the line in place of the one before."""
        self._place.show(_Line(standing))

    def close(self, standing: Standing) -> None:
        """Leave the line as it is at the end."""
        self.show(standing)


@final
@dataclasses.dataclass(frozen=True)
class _Line:
    """A standing as a notebook shows it; the colours are the notebook's own, light or dark."""

    standing: Standing

    def __repr__(self) -> str:
        return str(self.standing)

    def _repr_html_(self) -> str:
        steps, total = self.standing.steps, max(self.standing.total, 1)
        return f'<progress value="{steps}" max="{total}"></progress> {escape(str(self.standing))}'


@final
class Log(View):
    """A line of its own every ten seconds, where nothing can be drawn over."""

    interval = 10.0
    at_once = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, standing: Standing) -> None:
        """Write a line."""
        print(standing, file=self._stream, flush=True)

    def close(self, standing: Standing) -> None:
        """Write nothing: the run's summary follows."""


@final
class Notice(View):
    """A file in the store's folder, for ``paribus watch`` in another process."""

    interval = 2.0

    def __init__(self, store: Path) -> None:
        self._path = store / _RUNS / f"{socket.gethostname()} {os.getpid()}.json"

    def show(self, standing: Standing) -> None:
        """Write the file anew; a run does not end because nobody can watch it."""
        partial = self._path.with_suffix(".partial")
        with suppress(OSError):
            self._path.parent.mkdir(exist_ok=True)
            partial.write_text(json.dumps(dataclasses.asdict(standing)))
            partial.replace(self._path)

    def close(self, standing: Standing) -> None:
        """Take the file away, and the folder with the last one."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
            self._path.parent.rmdir()


def notices(store: Path) -> dict[str, Standing]:
    """Read how far the runs on a store are, by host and process."""
    found = {}
    for path in sorted((store / _RUNS).glob("*.json")):
        with suppress(OSError, ValueError, TypeError):  # gone by now, or of another version
            found[path.stem] = Standing(**json.loads(path.read_text()))
    return found

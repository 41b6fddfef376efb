"""One progress line per run: how far it is, told to whoever shows it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import final

from paribus.engine.building.work import Outcome
from paribus.engine.planning.plan import Plan
from paribus.engine.showing.notebook import in_notebook
from paribus.engine.showing.standing import Tally
from paribus.engine.showing.views import Log, Notebook, Notice, Terminal, View

_INTERRUPTED = "interrupted: what was finished is stored, and the next run goes on from it"


@final
class Meter:
    """Tells views how far a run is, each as often as it asks for."""

    def __init__(self, plan: Plan, views: Sequence[View]) -> None:
        self._tally = Tally(plan)
        self._views = views
        self._began = now = time.monotonic()
        self._due = [now if view.at_once else now + view.interval for view in views]
        self._show()

    def reached(self, key: str, step: int, loss: float) -> None:
        """Note how far a task is; called ten times a second for each learner that is trained."""
        self._tally.reached(key, step, loss)
        self._show()

    def settled(self, outcome: Outcome) -> None:
        """Note what became of a task."""
        self._tally.settled(outcome)
        self._show()

    def close(self) -> None:
        """Show how the run ended."""
        standing = self._tally.standing(time.monotonic() - self._began)
        for view in self._views:
            view.close(standing)

    def _show(self) -> None:
        now = time.monotonic()
        for place, view in enumerate(self._views):
            if now >= self._due[place]:
                view.show(self._tally.standing(now - self._began))
                self._due[place] = now + view.interval


@contextmanager
def metered(plan: Plan, store: Path, *, shown: bool) -> Iterator[Meter]:
    """Show how far a run is while the block runs.

    Args:
        plan: What is to be trained.
        store: The store's folder.
        shown: Whether it is shown here, or only to those who watch the store.
    """
    meter = Meter(plan, [Notice(store), *([_view()] if shown else [])])
    try:
        yield meter
    except KeyboardInterrupt:
        if shown:
            print(_INTERRUPTED, file=sys.stderr)
        raise
    finally:
        meter.close()


def _view() -> View:
    if in_notebook():
        return Notebook()
    return Terminal() if sys.stderr.isatty() else Log(sys.stderr)

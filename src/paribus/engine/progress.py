"""One progress line per run, on whatever terminal there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from paribus.engine.plan import Plan
from paribus.engine.work import Outcome


@final
class Meter:
    """Counts steps and segments of a run, and shows them."""

    def __init__(self, bar: Progress, plan: Plan) -> None:
        self._bar = bar
        self._failed = 0
        self._row = bar.add_task("training", total=plan.steps_to_train, told="")

    def advance(self, steps: int) -> None:
        """Count steps trained."""
        self._bar.advance(self._row, steps)

    def settled(self, outcome: Outcome) -> None:
        """Count a segment, and say at once when one failed."""
        if outcome.status in ("failed", "blocked"):
            self._failed += 1
            self._bar.update(self._row, told=f"[red]{self._failed} failed")


@contextmanager
def metered(plan: Plan, *, shown: bool) -> Iterator[Meter]:
    """Show a bar over the steps to train while the block runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[told]}"),
    )
    with Progress(*columns, disable=not shown or not plan.to_run) as bar:
        try:
            yield Meter(bar, plan)
        except KeyboardInterrupt:
            bar.console.print("interrupted: what was finished is stored, and the next run goes on from it")
            raise

"""In process, one task after another: the reference for all other executors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from paribus.engine.executors.base import Executor, Frontier, Report, train_and_put
from paribus.engine.journal import Journal
from paribus.engine.state import State
from paribus.engine.training import Progress
from paribus.engine.work import Task, Work
from paribus.store import Store


@final
@dataclass(frozen=True)
class Serial(Executor):
    """Train in this process; a fork starts from the state in memory."""

    def execute(
        self,
        tasks: Sequence[Task],
        work: Work,
        journal: Journal,
        states: Mapping[str, str],
        report: Report,
        advance: Progress,
    ) -> None:
        """Train every task, depth first."""
        frontier = Frontier(tasks)
        held: dict[str, tuple[State, int]] = {}
        while (task := frontier.take()) is not None:
            state = _starting_state(task, held, journal.store, states)
            meter = _Meter(task.start, advance)
            end, outcome = train_and_put(task, work, state, journal, meter)
            meter(outcome.step)
            if end is not None and frontier.children(task.key):
                held[task.key] = end, frontier.children(task.key)
            report(outcome)
            for blocked in frontier.finish(outcome):
                report(blocked)


def _starting_state(
    task: Task, held: dict[str, tuple[State, int]], store: Store, states: Mapping[str, str]
) -> State | None:
    if task.parent is None:
        return None
    if task.parent not in held:
        return State.from_bytes(store.get(states[task.parent]))
    state, uses = held.pop(task.parent)
    if uses > 1:
        held[task.parent] = state, uses - 1
    return state


@final
class _Meter:
    """Turns steps reached into steps since the last call."""

    def __init__(self, start: int, advance: Progress) -> None:
        self._reached = start
        self._advance = advance

    def __call__(self, step: int) -> None:
        self._advance(step - self._reached)
        self._reached = step

"""What every executor is: something that walks tasks, parents first, and reports outcomes."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import final

from paribus.engine.state import State
from paribus.engine.training import Progress, train
from paribus.engine.work import Outcome, Task, Work
from paribus.store import Store

Report = Callable[[Outcome], None]


class Executor(ABC):
    """Trains tasks somewhere. Where it does so never changes a bit of the results."""

    @abstractmethod
    def execute(
        self,
        tasks: Sequence[Task],
        work: Work,
        store: Store,
        states: Mapping[str, str],
        report: Report,
        advance: Progress,
    ) -> None:
        """Train every task whose past can be had.

        Args:
            tasks: Parents before children.
            work: What all tasks share.
            store: Where states are put, by whoever trains.
            states: Digests of the stored states by key, for tasks whose parent is not among the tasks.
            report: Called in this process with each outcome, as it comes; it commits the row.
            advance: Called with numbers of steps trained since the last call.

        Raises:
            ExecutionError: The executor itself cannot start or go on.
        """


@final
class Frontier:
    """Which tasks can be trained now: pure bookkeeping, shared by all executors.

    The last task released is taken first, so that a worker goes on with what it has just reached and few
    states are held at a time.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        keys = {task.key for task in tasks}
        self._children: dict[str, list[Task]] = {}
        self._ready: list[Task] = []
        for task in tasks:
            if task.parent in keys:
                self._children.setdefault(str(task.parent), []).append(task)
            else:
                self._ready.append(task)
        self._ready.reverse()

    def take(self) -> Task | None:
        """Return a task whose past is there, or ``None`` where there is none at present."""
        return self._ready.pop() if self._ready else None

    def children(self, key: str) -> int:
        """Count the tasks that wait for a key."""
        return len(self._children.get(key, ()))

    def finish(self, outcome: Outcome) -> list[Outcome]:
        """Release what waited for an outcome; return the outcomes of tasks that cannot be trained any more.

        Above a failed segment everything is blocked; above a diverged one there is nothing left to train.
        """
        waiting = self._children.pop(outcome.key, [])
        if outcome.status == "done":
            self._ready.extend(reversed(waiting))
            return []
        blocked = []
        for task in waiting:
            error = f"not trained, since its past failed: {outcome.error.removeprefix(_BLOCKED)}"
            status = "blocked" if outcome.status in ("failed", "blocked") else outcome.status
            lost = Outcome(task.key, status, outcome.step, {}, False, error=error)
            blocked += [lost, *self.finish(lost)]
        return blocked


_BLOCKED = "not trained, since its past failed: "


def train_and_put(
    task: Task, work: Work, state: State | None, store: Store, progress: Progress
) -> tuple[State | None, Outcome]:
    """Train a task and put its final state into the store: the part that runs where the worker is."""
    end, outcome = train(task, work, state, progress)
    if end is None:
        return None, outcome
    return end, dataclasses.replace(outcome, state=store.put(end.to_bytes()))

"""What every executor is: something that walks tasks, parents first, and reports outcomes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import final

from paribus.engine.journal import Journal
from paribus.engine.state import State
from paribus.engine.training import Progress, train
from paribus.engine.work import Outcome, Task, Work

Report = Callable[[Outcome], None]


class Executor(ABC):
    """Trains tasks somewhere. Where it does so never changes a bit of the results."""

    @abstractmethod
    def execute(
        self,
        tasks: Sequence[Task],
        work: Work,
        journal: Journal,
        states: Mapping[str, str],
        report: Report,
        advance: Progress,
    ) -> None:
        """Train every task whose past can be had.

        Args:
            tasks: Parents before children.
            work: What all tasks share.
            journal: With it, whoever trains puts states and saves progress.
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
            if task.parent in keys and task.parent != task.key:
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
        status = "blocked" if outcome.status in ("failed", "blocked") else outcome.status
        above: list[Outcome] = []
        for task in waiting:
            lost = Outcome(task.key, status, outcome.step, {}, False, error=outcome.error, skipped=True)
            above += [lost, *self.finish(lost)]
        return above


def train_and_put(
    task: Task, work: Work, state: State | None, journal: Journal, progress: Progress
) -> tuple[State | None, Outcome]:
    """Train a task and put its final state into the store: the part that runs where the worker is."""
    saver = journal.saver(task)
    end, outcome = train(task, work, state, progress, saver)
    put = journal.put(outcome, end)
    if put.status != "failed":
        saver.clear()
    return end, put

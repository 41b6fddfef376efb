"""Where executors take tasks from and bring outcomes to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from paribus.engine.claiming import Claimant
from paribus.engine.journal import Journal
from paribus.engine.work import Outcome, Task
from paribus.store import Record

_POLL_SECONDS = 0.2


@final
class Frontier:
    """Which tasks can be trained now: pure bookkeeping.

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

    def put_back(self, tasks: Sequence[Task]) -> None:
        """Make tasks that were taken ready again."""
        self._ready.extend(tasks)

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


@final
class Board:
    """The driver's side of a run: hands out tasks that nobody else trains, and commits what comes back.

    Attributes:
        journal: Writes outcomes; it travels to workers.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        states: Mapping[str, str],
        journal: Journal,
        claimant: Claimant,
        settled: Callable[[Outcome], None],
    ) -> None:
        self.journal = journal
        self._frontier = Frontier(tasks)
        self._states = dict(states)
        self._claimant = claimant
        self._settled = settled
        self._elsewhere: list[Task] = []

    def take(self, *, wait: bool = True) -> Task | None:
        """Return a task to train, or ``None`` where nothing is left to take.

        Args:
            wait: Whether to wait for tasks that another driver is training; their outcomes are read from the
                store, and where that driver dies, the tasks are taken over.
        """
        while True:
            while (task := self._frontier.take()) is not None:
                if self._is_ours(task):
                    return task
            if not self._elsewhere or not wait:
                return None
            time.sleep(_POLL_SECONDS)
            self._frontier.put_back(self._elsewhere)
            self._elsewhere = []

    def state_of(self, task: Task) -> str | None:
        """Return the digest of the stored state that a task starts from; ``None`` at drawn weights."""
        return None if task.parent is None else self._states[task.parent]

    def children(self, task: Task) -> int:
        """Count the tasks that go on from a task's end."""
        return self._frontier.children(task.key)

    def settle(self, task: Task, outcome: Outcome) -> None:
        """Commit an outcome and release what waited for it."""
        self.journal.commit(task, outcome)
        self._claimant.give_back(task.key)
        self._finish(outcome)

    def _finish(self, outcome: Outcome) -> None:
        if outcome.state is not None:
            self._states[outcome.key] = outcome.state
        for each in (outcome, *self._frontier.finish(outcome)):
            self._settled(each)

    def _is_ours(self, task: Task) -> bool:
        """Claim a task, unless another driver has it or has done it meanwhile."""
        if not self._claimant.take(task.key):
            self._elsewhere.append(task)
            return False
        record = self.journal.store.records([task.key]).get(task.key)
        if record is None or not _fulfils(record, task, self.journal.digests):
            return True
        self._claimant.give_back(task.key)
        body: Any = record.body
        state = record.references.get("state")
        self._finish(
            Outcome(task.key, record.status, body["step"], {}, body["finite"], state=state, skipped=True)
        )
        return False


def _fulfils(record: Record, task: Task, digests: Mapping[str, str]) -> bool:
    """Tell whether a record holds all that a task would bring."""
    body: Any = record.body
    if record.status == "failed" or (record.status == "done" and "state" not in record.references):
        return False
    recorded = {digest: set(entry["steps"]) for digest, entry in body["metrics"].items()}
    return all(
        recorded.get(digests[name], set()).issuperset(step for step in steps if step <= body["step"])
        for name, steps in task.due.items()
    )

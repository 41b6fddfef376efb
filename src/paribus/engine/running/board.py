"""Where executors take tasks from and bring outcomes to."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard, final

from paribus.engine.building.work import Outcome, Task
from paribus.engine.planning.known import Known
from paribus.engine.running.claiming import POLL_SECONDS, Claimant
from paribus.engine.training.journal import Journal
from paribus.store import Record


@final
class Frontier:
    """Which tasks can be trained now: pure bookkeeping.

    The last task released is taken first, so that a worker goes on with what it has just reached and few
    states are held at a time.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        made = {task.key for task in tasks}
        self._waiting: dict[str, list[Task]] = {}
        self._lacking: dict[int, set[str]] = {}
        self._ready: list[Task] = []
        for task in tasks:
            lacking = {key for key in (task.parent, *task.reads) if key in made and key != task.key}
            for key in lacking:
                self._waiting.setdefault(str(key), []).append(task)
            if lacking:
                self._lacking[id(task)] = {str(key) for key in lacking}
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
        """Count the tasks that wait to go on from a key."""
        return sum(task.parent == key for task in self._waiting.get(key, ()))

    def finish(self, outcome: Outcome) -> list[Outcome]:
        """Release what waited for an outcome; return the outcomes of tasks that cannot be trained any more.

        Above a failed segment everything is blocked; above a diverged one there is nothing left to train.
        What only reads the state is released: whoever takes it finds out that there is none.
        """
        status = "blocked" if outcome.status in ("failed", "blocked") else outcome.status
        released: list[Task] = []
        above: list[Outcome] = []
        for task in self._waiting.pop(outcome.key, []):
            lacking = self._lacking.get(id(task))
            if lacking is None:  # lost before
                continue
            if outcome.status != "done" and task.parent == outcome.key:
                del self._lacking[id(task)]
                lost = Outcome(task.key, status, outcome.step, {}, False, error=outcome.error, skipped=True)
                above += [lost, *self.finish(lost)]
                continue
            lacking.discard(outcome.key)
            if not lacking:
                del self._lacking[id(task)]
                released.append(task)
        self._ready.extend(reversed(released))
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
                if (ours := self._claimed(task)) is not None:
                    return ours
            if not self._elsewhere or not wait:
                return None
            time.sleep(POLL_SECONDS)
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

    def resumed(self, task: Task) -> Task:
        """Cut a task to what is left of it, where one who died had saved progress."""
        configuration = task.configuration
        relatives = self.journal.store.relatives([configuration.family.hex()])
        stops = set(Known(relatives).stops(configuration.family))
        for step in sorted(stops.intersection(range(task.start + 1, task.stop)), reverse=True):
            record = relatives.get(configuration.key(step))
            if self._fulfils(record, task) and record.status == "done":
                self._states[record.key] = record.references["state"]
                due = {name: tuple(s for s in steps if s > step) for name, steps in task.due.items()}
                return dataclasses.replace(task, parent=record.key, start=step, due=due, reads=(), inputs={})
        return task

    def _claimed(self, task: Task) -> Task | None:
        """Claim a task and return what is left of it, unless another driver has it or has done it."""
        if not self._claimant.take(task.key):
            self._elsewhere.append(task)
            return None
        record = self.journal.store.records([task.key]).get(task.key)
        if not self._fulfils(record, task) and (record is not None or self._claimant.contested(task.key)):
            task = self.resumed(task)
        if not self._fulfils(record, task):
            return self._with_inputs(task)
        self._claimant.give_back(task.key)
        body: Any = record.body
        state = record.references.get("state")
        self._finish(
            Outcome(task.key, record.status, body["step"], {}, body["finite"], state=state, skipped=True)
        )
        return None

    def _with_inputs(self, task: Task) -> Task | None:
        """Add the states that a task reads; where one was not reached, the task fails."""
        absent = [key for key in task.reads if key not in self._states]
        if not absent:
            return dataclasses.replace(task, inputs={key: self._states[key] for key in task.reads})
        names = {type(e.intervention).__name__ for e in task.configuration.readers(task.start + 1)}
        error = (
            f"{', '.join(sorted(names))}: the state {absent[0]} that is read was not reached: its run failed "
            "or diverged before"
        )
        self.settle(task, Outcome(task.key, "failed", task.start, {}, False, error=error, skipped=True))
        return None

    def _fulfils(self, record: Record | None, task: Task) -> TypeGuard[Record]:
        """Tell whether a record holds all that a task would bring, up to the record's step."""
        if record is None or record.status == "failed":
            return False
        if record.status == "done" and "state" not in record.references:
            return False
        body: Any = record.body
        recorded = record.columns.layout.steps
        return all(
            recorded.get(self.journal.digests[name], frozenset()).issuperset(
                s for s in steps if s <= body["step"]
            )
            for name, steps in task.due.items()
        )

"""Which tasks of a tree can be trained now: pure bookkeeping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from paribus.engine.building.work import Outcome, Task


@final
class Frontier:
    """The open tasks of a plan, and what each waits for.

    Attributes:
        first: The tasks that wait for nothing, in the order of the plan.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._open = {task.key: task for task in tasks}
        self._waiting: dict[str, list[Task]] = {}
        self._lacking: dict[str, set[str]] = {}
        self.first: list[Task] = []
        for task in tasks:
            lacking = {key for key in (task.parent, *task.reads) if key in self._open and key != task.key}
            for key in lacking:
                self._waiting.setdefault(str(key), []).append(task)
            if lacking:
                self._lacking[task.key] = {str(key) for key in lacking}
            else:
                self.first.append(task)

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, key: str) -> bool:
        return key in self._open

    def __getitem__(self, key: str) -> Task:
        return self._open[key]

    def waits(self, key: str) -> bool:
        """Tell whether an open task waits for others."""
        return key in self._lacking

    def awaited(self, key: str) -> bool:
        """Tell whether open tasks wait for a key."""
        return key in self._waiting

    def next_of(self, key: str) -> Task | None:
        """Return the first task that goes on from a key and waits for nothing else."""
        return next((task for task in self._waiting.get(key, ()) if self._only_goes_on(task, key)), None)

    def tree_of(self, task: Task) -> list[Task]:
        """Return a task and what goes on from it and waits for nothing else, parents before children."""
        tree = [task]
        for each in tree:  # grows
            tree += [c for c in self._waiting.get(each.key, ()) if self._only_goes_on(c, each.key)]
        return tree

    def _only_goes_on(self, task: Task, key: str) -> bool:
        """Tell whether a task goes on from a key, and waits for nothing else, not even to read it."""
        return task.parent == key and key not in task.reads and self._lacking.get(task.key) == {key}

    def finish(self, outcome: Outcome) -> tuple[list[Task], list[Outcome]]:
        """Close a task; return what it releases, and the outcomes of what cannot be trained any more.

        Above a failed segment everything is blocked; above a diverged one there is nothing left to train.
        What only reads the state is released: whoever takes it finds out that there is none.
        """
        released: list[Task] = []
        ended = [outcome]
        for each in ended:  # grows
            self._close(each.key)
            status = "blocked" if each.status in ("failed", "blocked") else each.status
            for task in self._waiting.pop(each.key, ()):
                lacking = self._lacking.get(task.key)
                if lacking is None:  # closed before
                    continue
                if each.status != "done" and task.parent == each.key:
                    ended.append(
                        Outcome(task.key, status, each.step, {}, False, error=each.error, skipped=True)
                    )
                    del self._lacking[task.key]
                    continue
                lacking.discard(each.key)
                if not lacking:
                    del self._lacking[task.key]
                    released.append(task)
        return released, ended[1:]

    def _close(self, key: str) -> None:
        self._open.pop(key, None)
        self._lacking.pop(key, None)

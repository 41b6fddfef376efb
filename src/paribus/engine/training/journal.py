"""The pen of whoever trains: puts states and commits outcomes. It travels to workers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import final

from paribus.engine.building.work import Outcome, Task, Work
from paribus.engine.training.ledger import put_parts, record_of
from paribus.engine.training.state import State
from paribus.store import Store

_SIDE_BY_SIDE = 8


@final
@dataclass(frozen=True)
class Journal:
    """Writes outcomes into a store.

    Attributes:
        store: Where they go.
        digests: The digest of each metric by name, in hex.
        parts: Digests of the objects that hold the words behind a configuration's fingerprints, by component.
        interval: Seconds after which the progress of a long segment is saved.
    """

    store: Store
    digests: Mapping[str, str]
    parts: Mapping[str, str]
    interval: float

    @classmethod
    def open(cls, store: Store, work: Work, tasks: list[Task], interval: float) -> Journal:
        """Put what all records of some tasks refer to, and return the pen.

        Raises:
            StoreError: The store cannot be written.
        """
        store.require_writable()
        digests = {metric.name: metric.digest.hex() for metric in work.logger.metrics()}
        return cls(store, digests, put_parts(store, tasks[0].configuration), interval)

    def put(self, outcome: Outcome, state: State | None) -> Outcome:
        """Put the final state of a task, where there is one; return the outcome with its digest."""
        if state is None:
            return outcome
        return dataclasses.replace(outcome, state=self.store.put(state.to_bytes()))

    def put_all(self, ended: Sequence[tuple[State | None, Outcome]]) -> list[Outcome]:
        """Put the final states of tasks that ended together; return the outcomes with their digests.

        They are synced side by side: a disk takes little longer for a few files than for one. Each is there
        when this returns, and rows come after that.
        """
        if len(ended) < 2:
            return [self.put(outcome, state) for state, outcome in ended]
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as threads:
            return list(threads.map(lambda each: self.put(each[1], each[0]), ended))

    def commit(self, task: Task, outcome: Outcome) -> None:
        """Write an outcome; metrics that the store already has under the key are kept."""
        self.commit_all([(task, outcome)])

    def commit_all(self, done: Sequence[tuple[Task, Outcome]]) -> None:
        """Write outcomes of distinct tasks, all or none of them."""
        earlier = self.store.records(task.key for task, _ in done)
        self.store.commit_all(
            [record_of(task, o, self.digests, self.parts, earlier.get(task.key)) for task, o in done]
        )


@final
class Saver:
    """Saves a long segment at intervals, so that a crash costs no more than one.

    Args:
        journal: Puts states.
        send: Takes the outcome of a saved state, as that of a shorter segment.
    """

    def __init__(self, journal: Journal, send: Callable[[Outcome], object]) -> None:
        self._journal = journal
        self._send = send
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the interval has passed since the last time."""
        return time.monotonic() - self._last >= self._journal.interval

    def save(self, state: State, outcome: Outcome) -> None:
        """Put a state and tell of it."""
        self._send(self._journal.put(outcome, state))
        self._last = time.monotonic()

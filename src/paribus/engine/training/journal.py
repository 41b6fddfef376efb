"""The pen of whoever trains: puts states and commits outcomes. It travels to workers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from paribus.engine.building.work import Outcome, Task, Work
from paribus.engine.training.ledger import put_parts, record_of
from paribus.engine.training.state import State
from paribus.store import Store


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

    def commit(self, task: Task, outcome: Outcome) -> None:
        """Write an outcome; metrics that the store already has under the key are kept.

        What was saved on the way goes after it, so that a kill at any instant finds one of the two.
        """
        earlier = self.store.records([task.key]).get(task.key)
        self.store.commit(record_of(task, outcome, self.digests, self.parts, earlier))
        if outcome.saved is not None:
            self.store.discard(outcome.saved)

    def saver(self, task: Task) -> Saver:
        """Return what saves the progress of a task."""
        return Saver(self, task)


@final
class Saver:
    """Saves a long segment at intervals, so that a crash costs no more than one.

    Attributes:
        saved: Key of what was saved last; whoever commits the end of the segment discards it.
    """

    def __init__(self, journal: Journal, task: Task) -> None:
        self._journal = journal
        self._task = task
        self._last = time.monotonic()
        self.saved: str | None = None

    @property
    def due(self) -> bool:
        """Whether the interval has passed since the last time."""
        return time.monotonic() - self._last >= self._journal.interval

    def save(self, state: State, outcome: Outcome) -> None:
        """Commit the state as that of a shorter segment; what was saved before it is not needed any more."""
        partial = dataclasses.replace(self._task, key=outcome.key, stop=outcome.step)
        put = self._journal.put(outcome, state)
        # Where another experiment's run ends just here, the record is its result, and stays.
        known = self._journal.store.statuses([outcome.key])
        self._journal.commit(partial, dataclasses.replace(put, saved=self.saved))
        self.saved = None if known else outcome.key
        self._last = time.monotonic()

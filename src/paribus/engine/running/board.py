"""The driver's hand on the store: claims tasks, finds what is there already, and commits what comes back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard, final

from paribus.engine.building.work import Outcome, Task
from paribus.engine.planning.known import Known
from paribus.engine.running.claiming import Claimant
from paribus.engine.running.messages import Claim, Claimed, Order, Settle
from paribus.engine.training.journal import Journal
from paribus.store import Record


@final
class Board:
    """Claims tasks, so that nobody else trains them, and commits outcomes.

    Attributes:
        journal: Writes outcomes; it travels to agents.
    """

    def __init__(
        self,
        states: Mapping[str, str],
        journal: Journal,
        claimant: Claimant,
        settled: Callable[[Outcome], None],
    ) -> None:
        self.journal = journal
        self._states = dict(states)
        self._claimant = claimant
        self._settled = settled
        # What was given to agents, as it was left then, and where it began at first; and the key under which
        # its progress is saved.
        self._given: dict[str, Task] = {}
        self._begun: dict[str, int] = {}
        self._saved: dict[str, str] = {}

    def claim(self, asked: Claim) -> Claimed:
        """Claim tasks; what another driver has done meanwhile is read from the store."""
        ours = self._claimant.take_all(task.key for task, _ in asked.tasks)
        records = self.journal.store.records(ours)
        orders: list[Order] = []
        elsewhere: list[str] = []
        settled: list[Outcome] = []
        for task, kept in asked.tasks:
            if task.key not in ours or task.parent in elsewhere:
                elsewhere.append(task.key)
                continue
            found = self._order(task, kept, records.get(task.key))
            if isinstance(found, Order):
                orders.append(found)
            else:
                settled.append(found)
        self._given.update((order.task.key, order.task) for order in orders)
        for order in orders:
            self._begun.setdefault(order.task.key, order.task.start)
        self._claimant.give_all_back([*elsewhere, *(outcome.key for outcome in settled)])
        return Claimed(asked.agent, tuple(orders), tuple(elsewhere), tuple(settled))

    def settle(self, settled: Sequence[Settle]) -> None:
        """Commit outcomes, all at once and in their order.

        What was saved on the way goes after them, so that a kill at any instant finds one of the two.
        """
        done = [(each.task, each.outcome) for each in settled if each.task is not None]
        if done:
            self.journal.commit_all(done)
        for key in (each.outcome.key for each in settled if each.outcome.status != "failed"):
            self._given.pop(key, None)
            if (saved := self._saved.pop(key, None)) is not None:
                self.journal.store.discard(saved)
        self._claimant.give_all_back(each.outcome.key for each in settled)
        for outcome in (each.outcome for each in settled):
            begun = self._begun.pop(outcome.key, outcome.step)
            self._settled(dataclasses.replace(outcome, trained=outcome.step - begun))

    def save(self, key: str, outcome: Outcome) -> None:
        """Commit the progress of a task as a shorter segment, in place of what was saved before."""
        if key not in self._given:
            return
        task = dataclasses.replace(self._given[key], key=outcome.key, stop=outcome.step)
        # Where another experiment's run ends just here, the record is its result, and stays.
        known = self.journal.store.statuses([outcome.key])
        self.journal.commit(task, outcome)
        before = self._saved.pop(key, outcome.key)
        if before != outcome.key:
            self.journal.store.discard(before)
        if not known:
            self._saved[key] = outcome.key

    def note(self, outcome: Outcome) -> None:
        """Note where the end of a task is, so that others can go on from it."""
        if outcome.state is not None:
            self._states[outcome.key] = outcome.state

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

    def _order(self, task: Task, kept: bool, record: Record | None) -> Order | Outcome:
        """Return what is left of a task that is claimed, or its outcome, where nothing is."""
        if self._fulfils(record, task):
            body: Any = record.body
            state = record.references.get("state")
            outcome = Outcome(
                task.key, record.status, body["step"], {}, body["finite"], state=state, skipped=True
            )
            self.note(outcome)
            return outcome
        if record is not None or task.key in self._given or self._claimant.contested(task.key):
            task = self.resumed(task)
            self._saved.pop(task.key, None)  # it goes on from there, so that what was recorded before stays
        absent = [key for key in task.reads if key not in self._states]
        if absent:
            return self._unread(task, absent[0])
        task = dataclasses.replace(task, inputs={key: self._states[key] for key in task.reads})
        return Order(task, None if task.parent is None else self._states.get(task.parent), kept)

    def _unread(self, task: Task, absent: str) -> Outcome:
        """Fail a task that reads a state which was not reached."""
        names = {type(e.intervention).__name__ for e in task.configuration.readers(task.start + 1)}
        error = (
            f"{', '.join(sorted(names))}: the state {absent} that is read was not reached: its run failed "
            "or diverged before"
        )
        outcome = Outcome(task.key, "failed", task.start, {}, False, error=error, skipped=True)
        self.journal.commit(task, outcome)
        return outcome

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

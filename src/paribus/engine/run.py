"""The imperative shell: plan, let an executor walk the plan, and commit what comes back."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from paribus.engine.board import Board
from paribus.engine.claiming import Claimant
from paribus.engine.collection import collection_paused
from paribus.engine.configuration import Configuration
from paribus.engine.executors import Executor
from paribus.engine.journal import Journal
from paribus.engine.ledger import (
    check_hits,
    read_families,
    stops_by_family,
    stored_by_key,
)
from paribus.engine.pairs import Computed, Pair
from paribus.engine.plan import Plan, make_plan
from paribus.engine.termination import terminated_in_order
from paribus.engine.work import Outcome, Task, Work
from paribus.errors import CorruptObjectError
from paribus.loggers import Metric, Schedule
from paribus.store import Record, Store


@final
@dataclass(frozen=True)
class Session:
    """An experiment, resolved: what plans, runs and results are made from.

    Attributes:
        configurations: One per learner, all different.
        metrics: Each metric with its digest in hex.
        store: Where results are.
        controls: How many learners are declared controls.
        checkpoints: Steps at which states are kept besides forks, window edges and ends.
        pairs: The values of metrics of two learners.
    """

    configurations: Sequence[Configuration]
    metrics: Sequence[tuple[Metric, str]]
    store: Store
    controls: int = 0
    checkpoints: Schedule | None = None
    pairs: Sequence[Pair] = ()

    @property
    def digests(self) -> dict[str, str]:
        """The digest of each metric by name, in hex."""
        return {metric.name: digest for metric, digest in self.metrics}

    @collection_paused()
    def plan(self) -> tuple[Plan, Mapping[str, Record]]:
        """Read the store and plan; return the records that the plan was made from.

        Raises:
            StoreError: The store cannot be read, or holds another configuration under a key.
        """
        records = read_families(self.store, self.configurations)
        plan = make_plan(
            self.configurations,
            self.metrics,
            stored_by_key(records),
            stops_by_family(records),
            checkpoints=self.checkpoints,
            controls=self.controls,
        )
        check_hits(plan.segments, records)
        return dataclasses.replace(plan, pairs=len(self.missing_pairs(plan, records))), records

    def missing_pairs(self, plan: Plan, records: Mapping[str, Record]) -> list[Pair]:
        """List the values of pair metrics that the store does not hold, and that both learners live to."""
        known = self.store.statuses(pair.key for pair in self.pairs)
        ends = {r.key: _step_of(r) for r in records.values() if r.status == "diverged"}
        return [
            pair
            for pair in self.pairs
            if pair.key not in known
            and not any(
                ends.get(plan.segments[place].key, pair.step) < pair.step
                for index in (pair.learner, pair.other)
                for place in plan.learners[index].path
            )
        ]

    def sound_plan(self) -> tuple[Plan, Mapping[str, Record]]:
        """Plan, and read each state that the plan starts from: a damaged one costs its recomputation."""
        while True:
            plan, records = self.plan()
            points = plan.starting_points()
            damaged = [key for key in points if not self._is_sound(plan.states[key], key)]
            if not damaged:
                if points:
                    self.store.touch(points)  # gc beside the run takes what was not used lately
                return plan, records
            for key in damaged:
                self.store.discard(key)

    def _is_sound(self, digest: str, key: str) -> bool:
        try:
            self.store.get(digest)
        except CorruptObjectError as error:
            warnings.warn(f"{error}; the state {key} is computed again", stacklevel=4)
            return False
        return True


def _step_of(record: Record) -> int:
    body: Any = record.body
    step: int = body["step"]
    return step


@final
@dataclass(frozen=True, repr=False)
class Summary:
    """What a run did.

    Attributes:
        learners: How many learners the experiment has.
        cached: How many needed no training.
        diverged: How many have no finite result.
        failed: For each learner that failed, its index and the error's last line.
        steps_trained: Steps trained in this run.
        steps_asked: Steps of all learners, each counted alone.
        seconds: Wall time.
        files: Figures that were drawn.
        pairs: Values of pair metrics that were computed.
        replayed: States that were replayed for them, since they were not stored.
    """

    learners: int
    cached: int
    diverged: int
    failed: tuple[tuple[int, str], ...]
    steps_trained: int
    steps_asked: int
    seconds: float
    files: tuple[str, ...] = ()
    pairs: int = 0
    replayed: int = 0

    def __str__(self) -> str:
        trained = self.learners - self.cached
        head = f"{self.learners} learners: {self.cached} cached, {trained} trained"
        if self.cached == self.learners:
            head = f"{self.learners} learners: everything was cached, nothing was trained"
        tail = [f"{len(self.failed)} failed"] if self.failed else []
        tail += [f"{self.diverged} diverged"] if self.diverged else []
        lines = [", ".join([head, *tail]), f"{self.steps_trained:,} steps trained in {self.seconds:.1f} s"]
        if self.pairs:
            lines.append(
                f"{self.pairs} values of pair metrics computed, {self.replayed} states replayed for them"
            )
        lines += [f"  learner {index} failed: {error}" for index, error in self.failed]
        return "\n".join(lines)

    __repr__ = __str__


def execute(
    tasks: Sequence[Task],
    states: Mapping[str, str],
    journal: Journal,
    work: Work,
    executor: Executor,
    advance: Callable[[int], None],
    settled: Callable[[Outcome], None],
) -> list[Outcome]:
    """Let an executor walk tasks; commit each outcome as it comes.

    Args:
        tasks: What to train, parents before children.
        states: Digests of the stored states by key.
        journal: Writes what comes back.
        work: What all learners share.
        executor: Where to train.
        advance: Called with numbers of steps trained since the last call.
        settled: Called with each outcome after it was committed.
    """
    outcomes = []

    def told(outcome: Outcome) -> None:
        outcomes.append(outcome)
        settled(outcome)

    with terminated_in_order(), Claimant(journal.store) as claimant:
        executor.execute(Board(tasks, states, journal, claimant, told), work, advance)
    return outcomes


def summarise(
    plan: Plan,
    after: Plan,
    outcomes: Sequence[Outcome],
    computed: Computed,
    diverged: int,
    began: float,
) -> Summary:
    """Say what a run did, from the plan before it and the plan after it."""
    errors = {outcome.key: outcome.error for outcome in outcomes if outcome.status in ("failed", "blocked")}
    failed = []
    for index, learner in enumerate(after.learners):
        found = [errors[k] for k in (after.segments[i].key for i in learner.path) if k in errors]
        if found and learner.decision != "cached":
            failed.append((index, found[0]))
    starts = {task.key: task.start for task in plan.tasks()}
    trained = sum(o.step - starts[o.key] for o in outcomes if o.status != "failed" and not o.skipped)
    seconds = time.perf_counter() - began
    return Summary(
        learners=len(plan.learners),
        cached=plan.cached,
        diverged=diverged,
        failed=(*failed, *computed.failed),
        steps_trained=trained,
        steps_asked=plan.steps_asked,
        seconds=seconds,
        pairs=computed.values,
        replayed=computed.replayed,
    )

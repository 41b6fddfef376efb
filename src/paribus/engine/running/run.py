"""The imperative shell: plan, let an executor walk the plan, and commit what comes back."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

from paribus import markup
from paribus.engine.building.work import Outcome, Task, Work
from paribus.engine.fusion import Fuse
from paribus.engine.fusion.alone import worthwhile
from paribus.engine.learners.collection import collection_paused
from paribus.engine.learners.configuration import Configuration
from paribus.engine.learners.reads import read_states
from paribus.engine.planning.known import Known
from paribus.engine.planning.plan import Plan, Stop, make_plan
from paribus.engine.running.board import Board
from paribus.engine.running.claiming import Claimant
from paribus.engine.running.driver import Driver, driving
from paribus.engine.running.executors import Executor
from paribus.engine.running.pairs import Computed, Pair
from paribus.engine.running.termination import terminated_in_order
from paribus.engine.showing.notebook import Once
from paribus.engine.showing.standing import Tell
from paribus.engine.training.journal import Journal
from paribus.engine.training.ledger import check_hits, read_families
from paribus.errors import CorruptObjectError
from paribus.loggers import Metric, Schedule
from paribus.store import Record, Store

_ONCE = Once()


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
        stops: Where learners stop before their end, by key.
    """

    configurations: Sequence[Configuration]
    metrics: Sequence[tuple[Metric, str]]
    store: Store
    controls: int = 0
    checkpoints: Schedule | None = None
    pairs: Sequence[Pair] = ()
    stops: Mapping[str, Stop] = field(default_factory=dict)

    @property
    def digests(self) -> dict[str, str]:
        """The digest of each metric by name, in hex."""
        return {metric.name: digest for metric, digest in self.metrics}

    @property
    def once(self) -> frozenset[str]:
        """The metrics that wait for a condition, and have values at one step only."""
        return frozenset(metric.name for metric, _ in self.metrics if metric.condition is not None)

    @collection_paused()
    def plan(self, *, numbers: bool = True) -> tuple[Plan, Mapping[str, Record]]:
        """Read the store and plan; return the records that the plan was made from.

        Args:
            numbers: Whether the records have what was recorded, or only its layout.

        Raises:
            StoreError: The store cannot be read, or holds another configuration under a key.
        """
        read = (each.configuration for each in read_states(self.configurations))
        records = read_families(self.store, [*self.configurations, *read], numbers=numbers)
        plan = make_plan(
            self.configurations,
            self.metrics,
            Known(records),
            checkpoints=self.checkpoints,
            controls=self.controls,
            stops=self.stops,
        )
        check_hits(plan.segments, records)
        pairs = self.missing_pairs(plan, records)
        there = plan.states.keys() | {plan.segments[index].key for index in plan.to_run}
        both = ((index, pair.step) for pair in pairs for index in (pair.learner, pair.other))
        replays = {self.configurations[index].key(step) for index, step in both} - there
        return dataclasses.replace(plan, pairs=len(pairs), pair_replays=len(replays)), records

    def missing_pairs(self, plan: Plan, records: Mapping[str, Record]) -> list[Pair]:
        """List the values of pair metrics that the store does not hold, and that both learners live to."""
        known = self.store.statuses(pair.key for pair in self.pairs)
        ends = {r.key: _step_of(r) for r in records.values() if r.status == "diverged"}
        stops = {i: each.stop.step for i, each in enumerate(plan.learners) if each.stop is not None}
        missing = {  # learners that are one at a step have one value there
            pair.key: pair
            for pair in self.pairs
            if pair.key not in known
            and all(pair.step <= stops.get(index, pair.step) for index in (pair.learner, pair.other))
            and not any(
                ends.get(plan.segments[place].key, pair.step) < pair.step
                for index in (pair.learner, pair.other)
                for place in plan.learners[index].path
            )
        }
        return list(missing.values())

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
        evaluated: States at which metrics were evaluated that were added later.
        steps_replayed: Those of the steps that had been trained before, and lacked a metric or a state.
        seconds: Wall time.
        files: Figures that were drawn.
        pairs: Values of pair metrics that were computed.
        replayed: States that were replayed for them, since they were not stored.
        broken: For each metric that raised, its name, at which step and the exception's last line.
        pruned: How many a pruner stopped.
        notes: What else is to be told, such as how far a search came.
    """

    learners: int
    cached: int
    diverged: int
    failed: tuple[tuple[int, str], ...]
    steps_trained: int
    steps_asked: int
    evaluated: int
    steps_replayed: int
    seconds: float
    files: tuple[str, ...] = ()
    pairs: int = 0
    replayed: int = 0
    broken: tuple[tuple[str, str], ...] = ()
    pruned: int = 0
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        done = "trained" if self.steps_trained or not self.evaluated else "evaluated"
        head = f"{self.learners} learners: {self.cached} cached, {self.learners - self.cached} {done}"
        if self.cached == self.learners:
            head = f"{self.learners} learners: everything was cached, nothing was trained"
        tail = [f"{len(self.failed)} failed"] if self.failed else []
        tail += [f"{self.diverged} diverged"] if self.diverged else []
        tail += [f"{self.pruned} pruned"] if self.pruned else []
        lines = [", ".join([head, *tail]), f"{self.steps_trained:,} steps trained in {self.seconds:.1f} s"]
        if self.evaluated or self.steps_replayed:
            lines.append(
                f"{self.evaluated:,} states evaluated, {self.steps_replayed:,} of these steps replayed"
            )
        if self.pairs:
            lines.append(
                f"{self.pairs} values of pair metrics computed, {self.replayed} states replayed for them"
            )
        lines += [f"  learner {index} failed: {error}" for index, error in self.failed]
        lines += [
            f"  metric {name!r} failed {error}; it is tried again at the next run"
            for name, error in self.broken
        ]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    __repr__ = __str__

    def _ipython_display_(self) -> None:
        _ONCE.show(self)

    def _repr_html_(self) -> str:
        head, *lines = str(self).split("\n")
        return markup.titled(head, markup.bullets(line.strip() for line in lines))


def execute(
    tasks: Sequence[Task],
    states: Mapping[str, str],
    driver: Driver,
    tell: Tell,
    settled: Sequence[Callable[[Outcome], None]],
    fuse: Fuse = False,
) -> list[Outcome]:
    """Let agents walk tasks; commit each outcome as it comes.

    Args:
        tasks: What to train, parents before children.
        states: Digests of the stored states by key.
        driver: Has the agents.
        tell: Called now and then with the key of a task, the step reached and the loss there.
        settled: Called, one after the other, with each outcome after it was committed.
        fuse: How many learners may be trained as one.
    """
    outcomes = []

    def told(outcome: Outcome) -> None:
        outcomes.append(outcome)
        for tell_of in settled:
            tell_of(outcome)

    spans = [(task.configuration, task.start, task.stop) for task in tasks]
    fuse = worthwhile(fuse, spans, opaque=driver.work.train is not None)
    with Claimant(driver.journal.store) as claimant:
        driver.drive(tasks, Board(states, driver.journal, claimant, told), tell, fuse)
    return outcomes


@contextmanager
def driven(executor: Executor, work: Work, journal: Journal) -> Iterator[Driver]:
    """Have the agents of an executor for a run; where the system ends it, they end in good order.

    Raises:
        ExecutionError: The executor cannot start.
    """
    with terminated_in_order(), driving(executor, work, journal) as driver:
        yield driver


@final
@dataclass(frozen=True)
class Round:
    """One walk over a plan: most runs have one, a search that looks at results several.

    Attributes:
        plan: What was to do.
        tasks: What was done of it.
        outcomes: What became of that.
    """

    plan: Plan
    tasks: Sequence[Task]
    outcomes: Sequence[Outcome]


def untried(plan: Plan, rounds: Sequence[Round]) -> list[Task]:
    """List the tasks of a plan but those that this run has tried, and what lies above them."""
    tried = {task.key for each in rounds for task in each.tasks}
    tasks = []
    for task in plan.tasks():
        needed = {task.parent, *task.reads}
        if task.key in tried or any(key in tried and key not in plan.states for key in needed):
            tried.add(task.key)
        else:
            tasks.append(task)
    return tasks


def summarise(
    rounds: Sequence[Round],
    after: Plan,
    computed: Computed,
    diverged: int,
    began: float,
) -> Summary:
    """Say what a run did, from its rounds and the plan after them."""
    outcomes = [outcome for each in rounds for outcome in each.outcomes]
    errors = {outcome.key: outcome.error for outcome in outcomes if outcome.status in ("failed", "blocked")}
    failed = []
    for index, learner in enumerate(after.learners):
        found = [errors[k] for k in (after.segments[i].key for i in learner.path) if k in errors]
        if found and learner.decision != "cached":
            failed.append((index, found[0]))
    tasks = {task.key: task for each in rounds for task in each.tasks}
    done = [outcome for outcome in outcomes if outcome.status != "failed" and not outcome.skipped]
    trained = {outcome.key: outcome.trained for outcome in done}
    replays = {each.plan.segments[index].key for each in rounds for index in each.plan.to_replay}
    lacked = {p.key for each in rounds for p in each.plan.learners if p.decision != "cached"}
    seconds = time.perf_counter() - began
    return Summary(
        learners=len(after.learners),
        cached=sum(learner.key not in lacked for learner in after.learners),
        diverged=diverged,
        failed=(*failed, *computed.failed),
        steps_trained=sum(trained.values()),
        steps_asked=after.steps_asked,
        evaluated=sum(tasks[key].start == tasks[key].stop for key in trained),
        steps_replayed=sum(steps for key, steps in trained.items() if key in replays),
        seconds=seconds,
        pairs=computed.values,
        replayed=computed.replayed,
        broken=tuple(sorted({name: e for o in reversed(outcomes) for name, e in o.broken.items()}.items())),
        pruned=sum(learner.stop is not None and learner.stop.pruned for learner in after.learners),
    )

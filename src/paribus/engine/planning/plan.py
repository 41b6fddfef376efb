"""Plan before you pay: configurations and what the store holds → a tree of segments, pure.

Learners are merged by their restricted configurations: a segment is a stretch of steps that all learners
above it have in common. Segments end where learners part, where windows open or close, where a stored
state lies, and where learners end.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Literal, final

from paribus import markup
from paribus.engine.building.work import Task
from paribus.engine.learners.collection import collection_paused
from paribus.engine.learners.configuration import Configuration
from paribus.engine.learners.reads import keys_read, read_states
from paribus.engine.planning.known import Known
from paribus.engine.planning.lacks import Look, Need
from paribus.engine.planning.needs import with_what_they_need
from paribus.engine.planning.segments import Segment, grow
from paribus.loggers import Horizon, Metric, Schedule

Decision = Literal["cached", "resumable", "to run"]


@final
@dataclass(frozen=True, slots=True)
class Stop:
    """A step behind which a learner goes no further now.

    Attributes:
        step: Optimizer steps taken; 0: it does not begin.
        pruned: Whether that is for good: a pruner stopped it; else it waits for others.
    """

    step: int
    pruned: bool


@final
@dataclass(frozen=True, slots=True)
class Planned:
    """One learner in the plan.

    Attributes:
        key: Its key.
        path: Indices of its segments, the first step first.
        decision: Whether it is cached, goes on from a stored state, or runs from the start.
        reason: Why, for people.
        steps: Length of its run, as far as it goes.
        stop: Where it stops before its end; ``None``: nowhere.
    """

    key: str
    path: tuple[int, ...]
    decision: Decision
    reason: str
    steps: int
    stop: Stop | None = None


@final
@dataclass(frozen=True, repr=False)
class Plan:
    """What would be trained, what is cached, and why.

    Attributes:
        learners: One entry per learner, in the order of the grid.
        segments: The tree, parents before children.
        to_run: Indices of the segments that must be trained, parents before children.
        to_evaluate: Where metrics are missing that need no training, at stored states and initial ones: index
            of the segment and step, with the names of the metrics.
        states: Stored states by key: where a segment can start from.
        due: For each learner, for each metric by name, the steps at which it is recorded.
        controls: How many learners are declared controls.
        late: How many learners have an intervention that begins after their last step.
        pairs: How many values of pair metrics are to be computed once both learners exist.
        pair_replays: How many states must be replayed for them.
        to_replay: Those of the segments to run that were trained before.
        notes: What else is to be told, such as how many trials of a search are still open.
    """

    learners: tuple[Planned, ...]
    segments: tuple[Segment, ...]
    to_run: tuple[int, ...]
    states: Mapping[str, str]
    due: Sequence[Mapping[str, Sequence[int]]]
    to_evaluate: Mapping[tuple[int, int], frozenset[str]] = field(default_factory=dict)
    controls: int = 0
    late: int = 0
    pairs: int = 0
    pair_replays: int = 0
    to_replay: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def cached(self) -> int:
        """How many learners need no training."""
        return sum(planned.decision == "cached" for planned in self.learners)

    @property
    def steps_asked(self) -> int:
        """Steps of all learners, each counted alone."""
        return sum(planned.steps for planned in self.learners)

    @property
    def steps_distinct(self) -> int:
        """Steps of the tree: what the whole experiment takes when nothing is cached."""
        return sum(segment.steps for segment in self.segments)

    @property
    def steps_to_train(self) -> int:
        """Steps that must be trained now."""
        return sum(self.segments[index].steps for index in self.to_run)

    @property
    def steps_to_replay(self) -> int:
        """Those of the steps to train that were trained before, and lack a metric or a state."""
        return sum(self.segments[index].steps for index in self.to_replay)

    def tasks(self) -> list[Task]:
        """Return what is to do as tasks, parents before children; an evaluation is a task of no steps."""
        evaluations = [
            self._evaluation(self.segments[index].configuration, step, names)
            for (index, step), names in self.to_evaluate.items()
        ]
        return evaluations + [self._task(self.segments[index]) for index in self.to_run]

    def starting_points(self) -> list[str]:
        """Return the keys of the stored states that tasks start from."""
        made = {self.segments[index].key for index in self.to_run}
        needed = dict.fromkeys(key for task in self.tasks() for key in (task.parent, *task.reads))
        return [key for key in needed if key is not None and key in self.states and key not in made]

    def _evaluation(self, configuration: Configuration, step: int, names: Iterable[str]) -> Task:
        key = configuration.key(step)
        due = dict.fromkeys(sorted(names), (step,))
        if step == 0:
            return Task(key, None, 0, 0, configuration, due, keys_read(configuration, -1))
        return Task(key, key, step, step, configuration, due)

    def _task(self, segment: Segment) -> Task:
        parent = None if segment.parent is None else self.segments[segment.parent].key
        due: dict[str, set[int]] = {}
        for schedule in {id(self.due[learner]): self.due[learner] for learner in segment.learners}.values():
            for name, steps in schedule.items():
                due.setdefault(name, set()).update(_within(steps, segment.start, segment.stop))
        ordered = {name: tuple(sorted(steps)) for name, steps in due.items() if steps}
        start, stop, configuration = segment.start, segment.stop, segment.configuration
        return Task(segment.key, parent, start, stop, configuration, ordered, segment.reads)

    @property
    def read(self) -> tuple[Segment, ...]:
        """The segments that are part of no learner, and lead to states that learners read."""
        return tuple(segment for segment in self.segments if not segment.learners)

    def __str__(self) -> str:
        count, cached = len(self.learners), self.cached
        of_them = f"{count - self.controls} learners and {self.controls} control{'s'[: self.controls > 1]}"
        lines = [
            f"{of_them if self.controls else f'{count} learners'}: {cached} cached, {count - cached} to run",
            f"{self.steps_asked:,} steps asked, {self.steps_distinct:,} distinct, "
            f"{self.steps_to_train:,} to train",
        ]
        reasons = Counter(planned.reason for planned in self.learners if planned.decision != "cached")
        lines += [f"  {number} × {reason}" for reason, number in reasons.most_common()]
        if self.to_evaluate or self.to_replay:
            lines.append(
                f"  {len(self.to_evaluate):,} states to evaluate, {self.steps_to_replay:,} steps to replay"
            )
        if self.read:
            steps = sum(segment.steps for segment in self.read)
            lines.append(
                f"  {len(self.read)} × a segment of no learner, whose state others read: {steps:,} steps"
            )
        stopped = Counter(planned.stop.pruned for planned in self.learners if planned.stop is not None)
        lines += [f"  {stopped[True]} × pruned"] if stopped[True] else []
        lines += [f"  {stopped[False]} × stops at a check of the pruner for now"] if stopped[False] else []
        if self.late:
            lines.append(f"  {self.late} × an intervention begins after the last step and never happens")
        if self.pairs:
            replays = f", {self.pair_replays:,} of which are replayed" if self.pair_replays else ""
            lines.append(f"  {self.pairs} × a metric of two learners, computed from their states{replays}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, steps, *reasons = str(self).split("\n")
        return markup.titled(head, markup.paragraph(steps), markup.bullets(map(str.strip, reasons)))


@collection_paused()
def make_plan(
    configurations: Sequence[Configuration],
    metrics: Sequence[tuple[Metric, str]],
    known: Known,
    *,
    checkpoints: Schedule | None = None,
    controls: int = 0,
    stops: Mapping[str, Stop] | None = None,
) -> Plan:
    """Plan an experiment.

    Args:
        configurations: One per learner, all different.
        metrics: Each metric with its digest in hex.
        known: What the store holds of their trajectories.
        checkpoints: Steps at which states are kept besides forks, window edges and ends.
        controls: How many learners are declared controls.
        stops: Where learners stop before their end, by key.
    """
    read = read_states(configurations)
    limits = [(stops or {}).get(each.key()) for each in configurations] if stops else None
    edges = _edges(configurations, known, checkpoints)
    if limits:
        pairs = zip(edges, limits, strict=True)
        edges = [own if limit is None else _until(limit.step, own) for own, limit in pairs]
    past = _edges([each.configuration for each in read], known, None)
    segments, paths = grow(
        [*configurations, *(each.configuration for each in read)],
        [*edges, *(_until(each.step, own) for each, own in zip(read, past, strict=True))],
        len(configurations),
    )
    due = _due(configurations, [metric for metric, _ in metrics])
    look = Look(known, {metric.name: digest for metric, digest in metrics})
    needs = [
        look.need(configuration, [segments[index] for index in path], asked)
        for configuration, path, asked in zip(configurations, paths, due, strict=True)
    ]
    states = known.states
    found = zip(paths, needs, strict=True)
    lacking = [(path, need) for path, need in found if need.places or need.evaluations]
    wanted = {path[place] for path, need in lacking for place in need.places}
    drawn = {path[0] for path, need in lacking if need.draws}
    to_run = with_what_they_need(wanted, drawn, segments, known)
    to_evaluate = _evaluations(segments, lacking, to_run)
    trained = {index for path, need in zip(paths, needs, strict=True) for index in path[: need.trained]}
    learners = tuple(
        Planned(
            configuration.key(),
            path,
            _decision(need, path, to_run),
            need.reason,
            segments[path[-1]].stop if path else 0,
            limit,
        )
        for configuration, path, need, limit in zip(
            configurations, paths, needs, limits or repeat(None, len(paths)), strict=True
        )
    )
    late = sum(bool(configuration.timeline and configuration.late) for configuration in configurations)
    return Plan(
        learners,
        tuple(segments),
        tuple(sorted(to_run)),
        states,
        due,
        to_evaluate,
        controls,
        late,
        to_replay=tuple(sorted(to_run & trained)),
    )


def _edges(
    configurations: Sequence[Configuration], known: Known, checkpoints: Schedule | None
) -> list[list[int]]:
    """List where each run's segments end: its own edges, checkpoints, and stored states of its trajectory."""
    if not known and checkpoints is None:
        return [configuration.edges() for configuration in configurations]
    edges = []
    for configuration in configurations:
        family, own = configuration.family, configuration.edges()
        marks = {
            stop
            for stop in known.stops(family)
            if stop < own[-1] and known.stored(configuration.key(stop), family, stop) is not None
        }
        if checkpoints is not None:
            marks.update(checkpoints.steps(horizon_of(configuration)))
        edges.append(sorted({*own, *marks} - {0}) if marks else own)
    return edges


def horizon_of(configuration: Configuration) -> Horizon:
    """Return the length and the landmarks of a run, which schedules read."""
    windows = tuple(configuration.edges()[:-1])
    epochs = configuration.course.ends(configuration.total) if configuration.varies else ()
    return Horizon(configuration.total, configuration.steps_per_epoch, windows, epochs)


def _due(
    configurations: Sequence[Configuration], metrics: Sequence[Metric]
) -> list[dict[str, Sequence[int]]]:
    """List, for each learner, the steps of each metric; equal horizons share one list."""
    known: dict[object, dict[str, Sequence[int]]] = {}
    due = []
    for configuration in configurations:
        windows = tuple(configuration.edges()) if configuration.timeline else ()
        marks: tuple[object, ...] = (configuration.total, configuration.steps_per_epoch, windows)
        if configuration.varies:
            marks += (configuration.course,)
        if marks not in known:
            horizon = horizon_of(configuration)
            known[marks] = {m.name: configuration.visible(m.schedule.steps(horizon)) for m in metrics}
        due.append(known[marks])
    return due


def _evaluations(
    segments: Sequence[Segment],
    lacking: Iterable[tuple[Sequence[int], Need]],
    to_run: Collection[int],
) -> dict[tuple[int, int], frozenset[str]]:
    """Gather what is only to be evaluated, by segment and step; what is trained records it anyway."""
    gathered: dict[tuple[int, int], frozenset[str]] = {}
    roots: dict[str, int] = {}
    for path, need in lacking:
        for place, step, names in need.evaluations:
            if path[place] not in to_run:
                first = path[place]
                if step == 0:  # segments that part at their first step have one state there
                    first = roots.setdefault(segments[first].configuration.key(0), first)
                at = first, step
                gathered[at] = gathered.get(at, frozenset()) | names
    return gathered


def _until(step: int, edges: Sequence[int]) -> list[int]:
    return [*(edge for edge in edges if edge < step), step]


def _decision(need: Need, path: Sequence[int], to_run: Collection[int]) -> Decision:
    if not need.places:
        return "resumable" if need.evaluations else "cached"
    first = min(need.places)
    while first > 0 and path[first - 1] in to_run:
        first -= 1
    return "to run" if first == 0 else "resumable"


def _within(steps: Sequence[int], start: int, stop: int) -> Sequence[int]:
    """Return the steps in ``(start, stop]``, and step 0 where the segment starts there."""
    low = bisect_left(steps, 0) if start == 0 else bisect_right(steps, start)
    return steps[low : bisect_right(steps, stop)]

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
from typing import Literal, final

from paribus.engine.collection import collection_paused
from paribus.engine.configuration import Configuration
from paribus.engine.segments import Segment, grow
from paribus.engine.work import Task
from paribus.loggers import Horizon, Metric, Schedule

Decision = Literal["cached", "resumable", "to run"]


@final
@dataclass(frozen=True, slots=True)
class Stored:
    """What the store knows of a state.

    Attributes:
        status: ``done``, ``diverged`` or ``failed``.
        step: The step reached.
        recorded: For each metric digest, the steps at which it was recorded.
        state: Digest of the state object; ``None`` where there is none.
    """

    status: str
    step: int
    recorded: Mapping[str, frozenset[int]] = field(default_factory=dict)
    state: str | None = None


@final
@dataclass(frozen=True, slots=True)
class Planned:
    """One learner in the plan.

    Attributes:
        key: Its key.
        path: Indices of its segments, the first step first.
        decision: Whether it is cached, goes on from a stored state, or runs from the start.
        reason: Why, for people.
        steps: Length of its run.
    """

    key: str
    path: tuple[int, ...]
    decision: Decision
    reason: str
    steps: int


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
        parents = dict.fromkeys(task.parent for task in self.tasks())
        return [key for key in parents if key is not None and key in self.states and key not in made]

    def _evaluation(self, configuration: Configuration, step: int, names: Iterable[str]) -> Task:
        key = configuration.key(step)
        due = dict.fromkeys(sorted(names), (step,))
        return Task(key, None if step == 0 else key, step, step, configuration, due)

    def _task(self, segment: Segment) -> Task:
        parent = None if segment.parent is None else self.segments[segment.parent].key
        due: dict[str, set[int]] = {}
        for schedule in {id(self.due[learner]): self.due[learner] for learner in segment.learners}.values():
            for name, steps in schedule.items():
                due.setdefault(name, set()).update(_within(steps, segment.start, segment.stop))
        ordered = {name: tuple(sorted(steps)) for name, steps in due.items() if steps}
        return Task(segment.key, parent, segment.start, segment.stop, segment.configuration, ordered)

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
        if self.late:
            lines.append(f"  {self.late} × an intervention begins after the last step and never happens")
        if self.pairs:
            lines.append(f"  {self.pairs} × a metric of two learners, computed from their states")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, steps, *reasons = str(self).split("\n")
        items = "".join(f"<li>{reason.strip()}</li>" for reason in reasons)
        return f"<b>{head}</b><br>{steps}<ul>{items}</ul>"


@collection_paused()
def make_plan(
    configurations: Sequence[Configuration],
    metrics: Sequence[tuple[Metric, str]],
    stored: Mapping[str, Stored],
    stops: Mapping[bytes, Sequence[int]],
    *,
    checkpoints: Schedule | None = None,
    controls: int = 0,
) -> Plan:
    """Plan an experiment.

    Args:
        configurations: One per learner, all different.
        metrics: Each metric with its digest in hex.
        stored: What the store holds, by key.
        stops: For each family, the steps at which the store holds a state of it.
        checkpoints: Steps at which states are kept besides forks, window edges and ends.
        controls: How many learners are declared controls.
    """
    segments, paths = grow(configurations, _edges(configurations, stored, stops, checkpoints))
    due = _due(configurations, [metric for metric, _ in metrics])
    digests = {metric.name: digest for metric, digest in metrics}
    needs = [
        _need(configuration.total, [segments[index] for index in path], asked, digests, stored)
        for configuration, path, asked in zip(configurations, paths, due, strict=True)
    ]
    to_run = {path[place] for path, need in zip(paths, needs, strict=True) for place in need.places}
    for index in list(to_run):
        _need_state(segments, segments[index].parent, stored, to_run)
    to_evaluate = _evaluations(paths, needs, to_run)
    learners = tuple(
        Planned(
            configuration.key(),
            path,
            _decision(need, path, segments, to_run),
            need.reason,
            configuration.total,
        )
        for configuration, path, need in zip(configurations, paths, needs, strict=True)
    )
    states = {key: entry.state for key, entry in stored.items() if entry.state is not None}
    late = sum(bool(configuration.timeline and configuration.late) for configuration in configurations)
    return Plan(learners, tuple(segments), tuple(sorted(to_run)), states, due, to_evaluate, controls, late)


def _edges(
    configurations: Sequence[Configuration],
    stored: Mapping[str, Stored],
    stops: Mapping[bytes, Sequence[int]],
    checkpoints: Schedule | None,
) -> list[list[int]]:
    """List where each run's segments end: its own edges, checkpoints, and stored states of its trajectory."""
    if not stored and checkpoints is None:
        return [configuration.edges() for configuration in configurations]
    edges = []
    for configuration in configurations:
        marks = set(configuration.edges())
        if checkpoints is not None:
            marks.update(checkpoints.steps(horizon_of(configuration)))
        known = stops.get(configuration.family, ())
        marks.update(s for s in known if s < configuration.total and configuration.key(s) in stored)
        edges.append(sorted(marks - {0}))
    return edges


def horizon_of(configuration: Configuration) -> Horizon:
    """Return the length and the landmarks of a run, which schedules read."""
    windows = tuple(configuration.edges()[:-1])
    return Horizon(configuration.total, configuration.steps_per_epoch, windows)


def _due(
    configurations: Sequence[Configuration], metrics: Sequence[Metric]
) -> list[dict[str, Sequence[int]]]:
    """List, for each learner, the steps of each metric; equal horizons share one list."""
    known: dict[tuple[int, int, tuple[int, ...]], dict[str, Sequence[int]]] = {}
    due = []
    for configuration in configurations:
        windows = tuple(configuration.edges()) if configuration.timeline else ()
        marks = (configuration.total, configuration.steps_per_epoch, windows)
        if marks not in known:
            horizon = horizon_of(configuration)
            known[marks] = {metric.name: sorted(metric.schedule.steps(horizon)) for metric in metrics}
        due.append(known[marks])
    return due


@final
@dataclass(frozen=True, slots=True)
class _Need:
    """Places on a learner's path that must be trained, why, and where metrics need only be evaluated."""

    places: frozenset[int]
    reason: str
    evaluations: tuple[tuple[int, int, frozenset[str]], ...] = ()


_NOTHING = _Need(frozenset(), "cached")
_NEW = "new: not in the store"


def _need(
    total: int,
    path: Sequence[Segment],
    due: Mapping[str, Sequence[int]],
    digests: Mapping[str, str],
    stored: Mapping[str, Stored],
) -> _Need:
    if not stored:
        return _Need(frozenset(range(len(path))), _NEW)
    entries = [stored.get(segment.key) for segment in path]
    for place, entry in enumerate(entries):
        if entry is not None and entry.status == "diverged":
            path, entries = path[: place + 1], entries[: place + 1]
            total = entry.step
            break
    trained = max((p for p, e in enumerate(entries) if e is not None and e.status != "failed"), default=-1)
    places = set(range(trained + 1, len(path)))
    reach = total if trained == len(path) - 1 else path[trained].stop
    known = [*entries, stored.get(path[0].configuration.key(0))]
    missing = _missing(reach, due, digests, known) if trained >= 0 else {}
    evaluations = []
    for step, names in missing.items():
        place = bisect_left(path, step, key=lambda segment: segment.stop)
        entry = entries[place]
        if step == 0 or (path[place].stop == step and entry is not None and entry.state is not None):
            evaluations.append((place, step, names))
        else:
            places.add(place)
    if not places and not evaluations:
        return _NOTHING
    reason = _reason(entries, trained, len(path), missing, replayed=bool(places))
    return _Need(frozenset(places), reason, tuple(evaluations))


def _missing(
    reach: int,
    due: Mapping[str, Sequence[int]],
    digests: Mapping[str, str],
    entries: Sequence[Stored | None],
) -> dict[int, frozenset[str]]:
    """List, for each step up to ``reach``, the metrics that are due and not recorded."""
    missing: dict[int, frozenset[str]] = {}
    for name, steps in due.items():
        recorded = [e.recorded.get(digests[name], frozenset()) for e in entries if e is not None]
        for step in steps:
            if step <= reach and not any(step in known for known in recorded):
                missing[step] = missing.get(step, frozenset()) | {name}
    return missing


def _reason(
    entries: Sequence[Stored | None],
    trained: int,
    length: int,
    missing: Mapping[int, frozenset[str]],
    *,
    replayed: bool,
) -> str:
    if any(entry is not None and entry.status == "failed" for entry in entries):
        return "failed before: tried again"
    if trained == length - 1:
        names = ", ".join(map(repr, sorted(frozenset[str]().union(*missing.values()))))
        how = "replayed from the nearest stored state" if replayed else "evaluated at stored states"
        return f"trained, but {names} was not recorded: {how}"
    if trained >= 0:
        return "goes on from a stored state"
    return _NEW


def _evaluations(
    paths: Sequence[Sequence[int]], needs: Sequence[_Need], to_run: Collection[int]
) -> dict[tuple[int, int], frozenset[str]]:
    """Gather what is only to be evaluated, by segment and step; what is trained records it anyway."""
    gathered: dict[tuple[int, int], frozenset[str]] = {}
    for path, need in zip(paths, needs, strict=True):
        for place, step, names in need.evaluations:
            if path[place] not in to_run:
                at = path[place], step
                gathered[at] = gathered.get(at, frozenset()) | names
    return gathered


def _need_state(
    segments: Sequence[Segment], parent: int | None, stored: Mapping[str, Stored], to_run: set[int]
) -> None:
    """Walk back from a segment to the nearest stored state and mark what lies between."""
    while parent is not None and parent not in to_run:
        entry = stored.get(segments[parent].key)
        if entry is not None and entry.state is not None:
            return
        to_run.add(parent)
        parent = segments[parent].parent


def _decision(need: _Need, path: Sequence[int], segments: Sequence[Segment], to_run: set[int]) -> Decision:
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

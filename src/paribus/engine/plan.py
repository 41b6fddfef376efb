"""Plan before you pay: configurations and what the store holds → a tree of segments, pure.

Learners are merged by their restricted configurations: a segment is a stretch of steps that all learners
above it have in common. Segments end where learners part, where windows open or close, where a stored
state lies, and where learners end.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

from paribus.engine.collection import collection_paused
from paribus.engine.configuration import Configuration
from paribus.engine.work import Task
from paribus.loggers import Horizon, Metric

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
class Segment:
    """A stretch of steps that some learners have in common.

    Attributes:
        key: Key of the state at ``stop``.
        parent: Index of the segment before it; ``None`` for a root.
        start: First step.
        stop: Step after the last one.
        configuration: Of the first learner that passes through.
        learners: Indices of the learners that pass through.
    """

    key: str
    parent: int | None
    start: int
    stop: int
    configuration: Configuration
    learners: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Length in steps."""
        return self.stop - self.start


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
@dataclass(frozen=True)
class Plan:
    """What would be trained, what is cached, and why.

    Attributes:
        learners: One entry per learner, in the order of the grid.
        segments: The tree, parents before children.
        to_run: Indices of the segments that must be trained, parents before children.
        states: Stored states by key: where a segment can start from.
        due: For each learner, for each metric by name, the steps at which it is recorded.
        controls: How many learners are declared controls.
    """

    learners: tuple[Planned, ...]
    segments: tuple[Segment, ...]
    to_run: tuple[int, ...]
    states: Mapping[str, str]
    due: Sequence[Mapping[str, Sequence[int]]] = field(repr=False)
    controls: int = 0

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
        """Return the segments to train as tasks, parents before children."""
        return [self._task(self.segments[index]) for index in self.to_run]

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
        return "\n".join(lines)

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
    controls: int = 0,
) -> Plan:
    """Plan an experiment.

    Args:
        configurations: One per learner, all different.
        metrics: Each metric with its digest in hex.
        stored: What the store holds, by key.
        stops: For each family, the steps at which the store holds a state of it.
        controls: How many learners are declared controls.
    """
    segments, paths = grow(configurations, _known_edges(configurations, stored, stops))
    due = _due(configurations, [metric for metric, _ in metrics])
    digests = {metric.name: digest for metric, digest in metrics}
    needs = [
        _need(configuration.total, [segments[index] for index in path], asked, digests, stored)
        for configuration, path, asked in zip(configurations, paths, due, strict=True)
    ]
    to_run = {path[place] for path, need in zip(paths, needs, strict=True) for place in need.places}
    for index in sorted(to_run, reverse=True):  # parents lie before children
        _need_state(segments, segments[index].parent, stored, to_run)
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
    return Plan(learners, tuple(segments), tuple(sorted(to_run)), states, due, controls)


def grow(
    configurations: Sequence[Configuration], edges: Sequence[Sequence[int]]
) -> tuple[list[Segment], list[tuple[int, ...]]]:
    """Merge runs into a tree of segments.

    Args:
        configurations: One per learner.
        edges: For each learner the steps, ascending, at which its segments must end.

    Returns:
        The segments, parents before children, and each learner's path of indices into them.
    """
    segments: list[Segment] = []
    paths: list[list[int]] = [[] for _ in configurations]
    roots: dict[object, list[int]] = {}
    for index, configuration in enumerate(configurations):
        past = (configuration.family, *_signature(configuration, -1))
        roots.setdefault(past, []).append(index)
    pending: list[tuple[list[int], int, int | None]] = [(members, 0, None) for members in roots.values()]
    while pending:
        members, start, parent = pending.pop()
        for group in _parted(configurations, members, start):
            stop = min(edges[index][bisect_right(edges[index], start)] for index in group)
            chosen = configurations[group[0]]
            for index in group:
                paths[index].append(len(segments))
            going_on = [index for index in group if configurations[index].total > stop]
            if going_on:
                pending.append((going_on, stop, len(segments)))
            segments.append(Segment(chosen.key(stop), parent, start, stop, chosen, tuple(group)))
    return segments, [tuple(path) for path in paths]


def _parted(configurations: Sequence[Configuration], members: list[int], start: int) -> Iterable[list[int]]:
    """Part learners of one past by what acts on them from here."""
    if len(members) == 1:
        return [members]
    groups: dict[object, list[int]] = {}
    for index in members:
        groups.setdefault(_signature(configurations[index], start), []).append(index)
    return groups.values()


def _signature(configuration: Configuration, step: int) -> tuple[bytes, ...]:
    return tuple(event.digest for event in configuration.active(step))


def _known_edges(
    configurations: Sequence[Configuration],
    stored: Mapping[str, Stored],
    stops: Mapping[bytes, Sequence[int]],
) -> list[list[int]]:
    """Add the steps at which a state of the very trajectory is stored."""
    if not stored:
        return [configuration.edges() for configuration in configurations]
    edges = []
    for configuration in configurations:
        own = configuration.edges()
        known = stops.get(configuration.family, ())
        extra = {s for s in known if 0 < s < configuration.total and configuration.key(s) in stored}
        edges.append(sorted({*own, *extra}) if extra else own)
    return edges


def _due(
    configurations: Sequence[Configuration], metrics: Sequence[Metric]
) -> list[dict[str, Sequence[int]]]:
    """List, for each learner, the steps of each metric; equal horizons share one list."""
    known: dict[Horizon, dict[str, Sequence[int]]] = {}
    due = []
    for configuration in configurations:
        horizon = (configuration.total, configuration.steps_per_epoch, tuple(configuration.edges()[:-1]))
        if horizon not in known:  # type: ignore[comparison-overlap]
            made = Horizon(*horizon)
            known[horizon] = {  # type: ignore[index]
                metric.name: sorted(metric.schedule.steps(made)) for metric in metrics
            }
        due.append(known[horizon])  # type: ignore[index]
    return due


@final
@dataclass(frozen=True, slots=True)
class _Need:
    """Places on a learner's path that must be trained, and why."""

    places: frozenset[int]
    reason: str


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
    missing = _missing(reach, due, digests, entries) if trained >= 0 else {}
    for steps in missing.values():
        places.update(bisect_left(path, step, key=lambda segment: segment.stop) for step in steps)
    if not places:
        return _NOTHING
    return _Need(frozenset(places), _reason(entries, trained, len(path), missing))


def _missing(
    reach: int,
    due: Mapping[str, Sequence[int]],
    digests: Mapping[str, str],
    entries: Sequence[Stored | None],
) -> dict[str, list[int]]:
    """List, for each metric, the steps up to ``reach`` at which it is due and not recorded."""
    missing = {}
    for name, steps in due.items():
        recorded = [e.recorded.get(digests[name], frozenset()) for e in entries if e is not None]
        lacking = [step for step in steps if step <= reach and not any(step in known for known in recorded)]
        if lacking:
            missing[name] = lacking
    return missing


def _reason(
    entries: Sequence[Stored | None], trained: int, length: int, missing: Mapping[str, object]
) -> str:
    if any(entry is not None and entry.status == "failed" for entry in entries):
        return "failed before: tried again"
    if trained == length - 1:
        return f"trained, but {', '.join(map(repr, missing))} was not recorded: replayed for it"
    if trained >= 0:
        return "goes on from a stored state"
    return _NEW


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
        return "cached"
    first = min(need.places)
    while first > 0 and path[first - 1] in to_run:
        first -= 1
    return "to run" if first == 0 else "resumable"


def _within(steps: Sequence[int], start: int, stop: int) -> Sequence[int]:
    """Return the steps in ``(start, stop]``, and step 0 where the segment starts there."""
    low = bisect_left(steps, 0) if start == 0 else bisect_right(steps, start)
    return steps[low : bisect_right(steps, stop)]

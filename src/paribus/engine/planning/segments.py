"""The tree of segments: runs merged by what they have in common. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from paribus.engine.learners.configuration import Configuration
from paribus.engine.learners.reads import keys_read


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
        learners: Indices of the learners that pass through; none where it only leads to a state that is read.
        reads: Keys of the states of other trajectories that it starts with.
    """

    key: str
    parent: int | None
    start: int
    stop: int
    configuration: Configuration
    learners: tuple[int, ...]
    reads: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """Length in steps."""
        return self.stop - self.start


def grow(
    configurations: Sequence[Configuration],
    edges: Sequence[Sequence[int]],
    learners: int | None = None,
) -> tuple[list[Segment], list[tuple[int, ...]]]:
    """Merge runs into a tree of segments.

    Args:
        configurations: One per learner, then those of states that learners read.
        edges: For each the steps, ascending, at which its segments must end; ``[0]``: its initial state, and
            for a learner: nothing.
        learners: How many of them are learners; ``None``: all.

    Returns:
        The segments, parents before children, and each learner's path of indices into them.
    """
    count = len(configurations) if learners is None else learners
    read = zip(configurations[count:], edges[count:], strict=True)
    segments = [_start(configuration) for configuration, own in read if own[-1] == 0]
    paths: list[list[int]] = [[] for _ in configurations]
    roots: dict[object, list[int]] = {}
    for index, configuration in enumerate(configurations):
        if edges[index][-1] > 0:
            past = (configuration.family, *_signature(configuration, -1))
            roots.setdefault(past, []).append(index)
    reading = count < len(configurations)
    pending: list[tuple[list[int], int, int | None]] = [(each, 0, None) for each in reversed(roots.values())]
    while pending:
        members, start, parent = pending.pop()
        for group in [members] if len(members) == 1 else _parted(configurations, members, start):
            stop = min([_next(edges[index], start) for index in group])
            chosen, place, going_on = configurations[group[0]], len(segments), []
            for index in group:
                paths[index].append(place)
                if edges[index][-1] > stop:
                    going_on.append(index)
            if going_on:
                pending.append((going_on, stop, place))
            passing = tuple([index for index in group if index < count] if reading else group)
            reads = keys_read(chosen, start, drawn=parent is None) if reading else ()
            segments.append(Segment(chosen.key(stop), parent, start, stop, chosen, passing, reads))
    return segments, [tuple(path) for path in paths[:count]]


def _next(edges: Sequence[int], start: int) -> int:
    return edges[bisect_right(edges, start)]


def _start(configuration: Configuration) -> Segment:
    """Return the segment of no steps that draws an initial state and keeps it."""
    key, reads = configuration.key(0), keys_read(configuration, -1)
    return Segment(key, None, 0, 0, configuration, (), reads)


def _parted(configurations: Sequence[Configuration], members: list[int], start: int) -> Iterable[list[int]]:
    """Part learners of one past by what acts on them from here."""
    groups: dict[object, list[int]] = {}
    for index in members:
        groups.setdefault(_signature(configurations[index], start), []).append(index)
    return groups.values()


def _signature(configuration: Configuration, step: int) -> tuple[bytes, ...]:
    return tuple([event.digest for event in configuration.active(step)]) if configuration.timeline else ()

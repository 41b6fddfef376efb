"""The states that learners read of other trajectories, or of earlier steps of their own. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from paribus.engine.learners.configuration import Configuration, Read


def read_states(configurations: Iterable[Configuration]) -> list[Read]:
    """List the states that some runs read, and those that the runs of these states read."""
    found: dict[str, Read] = {}
    timed = [each for each in configurations if each.timeline]
    readers = (each for each in timed if any(event.reads for event in each.timeline))
    pending = [(each, each.total) for each in readers]
    while pending:
        configuration, stop = pending.pop()
        for read in (read for event in configuration.readers(stop) for read in event.reads):
            if read.key not in found:
                found[read.key] = read
                pending.append((read.configuration, read.step))
    return list(found.values())


def reads_at(configuration: Configuration, start: int, *, drawn: bool = False) -> dict[str, Read]:
    """Return what the events that begin at a step read, by key.

    Args:
        configuration: Whose events.
        start: The step; -1 for the initial state.
        drawn: Whether the initial state is made on the way to the first step.
    """
    if not configuration.timeline:
        return {}
    starts = (-1, start) if drawn else (start,)
    events = (event for event in configuration.readers(start + 1) if event.start in starts)
    return {read.key: read for event in events for read in event.reads}


def keys_read(configuration: Configuration, start: int, *, drawn: bool = False) -> tuple[str, ...]:
    """Return the keys of what the events that begin at a step read."""
    return tuple(reads_at(configuration, start, drawn=drawn))

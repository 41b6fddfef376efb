"""What must be trained besides what is asked for: the way to it, and to the states that it reads. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache

from paribus.engine.planning.known import Known
from paribus.engine.planning.segments import Segment


def with_what_they_need(
    wanted: Collection[int], drawn: Collection[int], segments: Sequence[Segment], known: Known
) -> set[int]:
    """Add the segments between those wanted and stored states, and those that lead to states they read.

    Args:
        wanted: Places of segments to train.
        drawn: Places of segments of which only the initial state is needed.
        segments: The tree.
        known: What the store holds.
    """
    states = known.states
    to_run: set[int] = set()

    @cache
    def places() -> dict[str, int]:
        return {segment.key: place for place, segment in enumerate(segments) if segment.key not in states}

    def read_by(place: int) -> list[int]:
        found = [places()[key] for key in segments[place].reads if key in places()]
        return [each for each in found if not _is_lost(each, segments, known)]

    pending = [*wanted, *(each for place in drawn for each in read_by(place))]
    while pending:
        place = pending.pop()
        if place in to_run:
            continue
        to_run.add(place)
        parent = segments[place].parent
        if parent is not None and segments[parent].key not in states:
            pending.append(parent)
        if segments[place].reads:
            pending += read_by(place)
    return to_run


def _is_lost(place: int | None, segments: Sequence[Segment], known: Known) -> bool:
    """Tell whether a run diverged on the way to the end of a segment."""
    while place is not None:
        record = known.records.get(segments[place].key)
        if record is not None and record.status == "diverged":
            return True
        place = segments[place].parent
    return False

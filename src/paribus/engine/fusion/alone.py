"""What is trained alone, as far as configurations tell, and why: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from paribus.engine.fusion import Fuse, worth
from paribus.engine.learners.configuration import Configuration
from paribus.interventions.freezing import FreezeWeights
from paribus.interventions.sites import ActivationsIntervention

# What acts between the operations of a step, and what lets a parameter take no step.
_WITHIN = (ActivationsIntervention, FreezeWeights)


def obstacle_of(configuration: Configuration, step: int, *, opaque: bool) -> str | None:
    """Tell why the segment that begins at a step is trained alone; ``None`` where nothing is against a group.

    Args:
        configuration: The learner's.
        step: The segment's first.
        opaque: Whether the training function is the user's own.
    """
    if opaque:
        return "the training function is the user's own"
    for event in configuration.active(step):
        if isinstance(event.intervention, _WITHIN):
            return f"{type(event.intervention).__name__} acts within the step"
    return None


def worthwhile(fuse: Fuse, segments: Iterable[tuple[Configuration, int, int]], *, opaque: bool) -> Fuse:
    """Return ``fuse``, or ``False`` where too few steps of segments may be those of groups.

    Args:
        fuse: How many learners are one group at most.
        segments: Each with its configuration, its first step and the step after its last.
        opaque: Whether the training function is the user's own.
    """
    if fuse is False:
        return False
    free = (s for s in segments if obstacle_of(s[0], s[1], opaque=opaque) is None)
    return worth(fuse, sum(stop - start for _, start, stop in free))


def notes_of(segments: Iterable[tuple[Configuration, int]], *, opaque: bool) -> tuple[str, ...]:
    """Count segments, each with its first step, by why they are trained alone: lines of a plan."""
    reasons = Counter(obstacle_of(configuration, step, opaque=opaque) for configuration, step in segments)
    return tuple(
        f"{count} × a segment that is no part of a group: {reason}"
        for reason, count in reasons.most_common()
        if reason is not None
    )

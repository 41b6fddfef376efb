"""What is trained alone, as far as configurations tell, and why: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from paribus.engine.learners.configuration import Configuration
from paribus.interventions.sites import ActivationsIntervention, BuffersIntervention, GradientsIntervention

_WITHIN = (ActivationsIntervention, GradientsIntervention, BuffersIntervention)


def obstacle_of(configuration: Configuration, step: int, *, opaque: bool) -> str | None:
    """Tell why the segment that begins at a step is trained alone; ``None`` where nothing is against a group.

    Args:
        configuration: The learner's.
        step: The segment's first.
        opaque: Whether the training function is the user's own.
    """
    if opaque:
        return "the training function is the user's own"
    if configuration.numerics.device != "cpu":
        return f"groups are made on the CPU, not on {configuration.numerics.device}"
    for event in configuration.active(step):
        if isinstance(event.intervention, _WITHIN):
            return f"{type(event.intervention).__name__} acts within the step"
    return None


def notes_of(segments: Iterable[tuple[Configuration, int]], *, opaque: bool) -> tuple[str, ...]:
    """Count segments, each with its first step, by why they are trained alone: lines of a plan."""
    reasons = Counter(obstacle_of(configuration, step, opaque=opaque) for configuration, step in segments)
    return tuple(
        f"{count} × a segment that is no part of a group: {reason}"
        for reason, count in reasons.most_common()
        if reason is not None
    )

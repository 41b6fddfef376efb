"""Learning-rate schedules: a factor on the base learning rate as a pure function of the step."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, final

from paribus.errors import ConfigurationError
from paribus.interventions.checks import check_count


class LearningRateSchedule(ABC):
    """A factor on the learning rate for each step.

    Attributes:
        reads_total: Whether the factor depends on the total number of steps. A run under such a schedule
            shares no past with a run of another length.
    """

    reads_total: ClassVar[bool] = False

    @abstractmethod
    def factor(self, step: int, total: int) -> float:
        """Return the factor at a step in ``[0, total)``."""


@final
@dataclass(frozen=True)
class Cosine(LearningRateSchedule):
    """Anneal from 1 to ``floor`` along half a cosine (Loshchilov and Hutter, 2017), after a linear warm-up.

    Attributes:
        warmup: Steps of the warm-up.
        floor: The factor at the end.

    Example:
        >>> Cosine().factor(50, total=100)
        0.5
    """

    warmup: int = 0
    floor: float = 0.0
    reads_total: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count("Cosine", "warmup", self.warmup)

    def factor(self, step: int, total: int) -> float:
        """Return the factor at a step in ``[0, total)``."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        progress = (step - self.warmup) / max(total - self.warmup, 1)
        return self.floor + (1 - self.floor) * round((1 + math.cos(math.pi * progress)) / 2, 12)


@final
@dataclass(frozen=True)
class StepDecay(LearningRateSchedule):
    """Multiply by ``gamma`` after each ``every`` steps.

    Example:
        >>> StepDecay(every=100, gamma=0.1).factor(250, total=1000)
        0.010000000000000002
    """

    every: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_count("StepDecay", "every", self.every, least=1)

    def factor(self, step: int, total: int) -> float:
        """Return the factor at a step; the total does not matter."""
        return float(self.gamma ** (step // self.every))


@final
@dataclass(frozen=True)
class Warmup(LearningRateSchedule):
    """Rise linearly to 1 over the first ``steps`` steps, then stay."""

    steps: int

    def __post_init__(self) -> None:
        check_count("Warmup", "steps", self.steps, least=1)

    def factor(self, step: int, total: int) -> float:
        """Return the factor at a step; the total does not matter."""
        return min(1.0, (step + 1) / self.steps)


@final
@dataclass(frozen=True)
class Constant(LearningRateSchedule):
    """Leave the learning rate as it is: what stands for "no schedule" among levels."""

    def factor(self, step: int, total: int) -> float:
        """Return 1."""
        return 1.0


@final
@dataclass(frozen=True)
class Within(LearningRateSchedule):
    """A schedule that counts from a window's first step, and has the window's length as its total.

    Attributes:
        schedule: The schedule.
        start: First step of the window.
        stop: Step after its last one; ``None``: the schedule does not read it.
    """

    schedule: LearningRateSchedule
    start: int
    stop: int | None

    def factor(self, step: int, total: int) -> float:
        """Return the factor at a step of the run."""
        return self.schedule.factor(step - self.start, (self.stop or total) - self.start)

    def __repr__(self) -> str:
        return repr(self.schedule)


@final
@dataclass(frozen=True)
class FromFunction(LearningRateSchedule):
    """A user's ``factor(step)``."""

    function: Callable[[int], float]

    def factor(self, step: int, total: int) -> float:
        """Return the function's value."""
        return float(self.function(step))


@final
@dataclass(frozen=True)
class FromFunctionOfTotal(LearningRateSchedule):
    """A user's ``factor(step, total)``."""

    function: Callable[[int, int], float]
    reads_total: ClassVar[bool] = True

    def factor(self, step: int, total: int) -> float:
        """Return the function's value."""
        return float(self.function(step, total))


def as_schedule(given: object) -> LearningRateSchedule | None:
    """Read a schedule: one of this module's, a function ``f(step)`` or ``f(step, total)``, or ``None``.

    Raises:
        ConfigurationError: It is none of these.
    """
    if given is None or isinstance(given, Constant):
        return None
    if isinstance(given, LearningRateSchedule):
        return given
    if callable(given) and not isinstance(given, type):
        count = len(inspect.signature(given).parameters)
        if count in (1, 2):
            return FromFunction(given) if count == 1 else FromFunctionOfTotal(given)
    raise ConfigurationError(
        f"schedule: got {given!r}; expected Cosine(), StepDecay(every=…), Warmup(steps=…), "
        "a function factor(step) or a function factor(step, total)"
    )

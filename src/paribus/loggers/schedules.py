"""When a metric is due: values that list their steps once the length of the run is known.

Step `s` means "after `s` optimizer steps", so step 0 is the learner as initialized, before any training.
Listing is cheap however long the run is: regular schedules are ranges.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final, get_args

from paribus.errors import MetricError, suggest

if TYPE_CHECKING:
    from paribus.loggers.learner import ObservedLearner

Steps: TypeAlias = range | frozenset[int]
Unit = Literal["step", "epoch"]
Event = Literal["step", "epoch", "start", "end", "intervention"]


@final
@dataclass(frozen=True)
class Horizon:
    """Give the length of a run and its landmarks, all in optimizer steps.

    Attributes:
        total: Steps of the whole run.
        per_epoch: Steps of one epoch.
        interventions: The steps at which a timed intervention begins or ends; those after `total` are never
            due.
        epochs: The steps at which epochs end, where those differ in length.

    Raises:
        MetricError: A length or a landmark is not a whole number, or too small.
    """

    total: int
    per_epoch: int
    interventions: tuple[int, ...] = ()
    epochs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", _whole("Horizon.total", self.total, least=0))
        object.__setattr__(self, "per_epoch", _whole("Horizon.per_epoch", self.per_epoch, least=1))
        object.__setattr__(self, "interventions", _steps("Horizon.interventions", self.interventions))


class Schedule(ABC):
    """Say at which steps a metric is due; `a | b` is due where either is.

    Example:
        >>> sorted((Every(4) | On("end")).steps(Horizon(total=10, per_epoch=5)))
        [0, 4, 8, 10]
    """

    @abstractmethod
    def steps(self, horizon: Horizon) -> Steps:
        """List the due steps, all between 0 and `horizon.total` inclusive."""

    def __or__(self, other: Schedule) -> Schedule:
        """Be due where either schedule is."""
        if not isinstance(other, Schedule):
            return NotImplemented
        if isinstance(self, FirstWhen) or isinstance(other, FirstWhen):
            raise MetricError(
                "first_when: it is united with another schedule, and a metric has one first step only; "
                "register a second metric for the other schedule"
            )
        return AnyOf((*_alternatives(self), *_alternatives(other)))


@final
@dataclass(frozen=True)
class Every(Schedule):
    """Be due at step 0 and every `n` steps, or epochs, after it.

    The last step is due only where it is a multiple; `Every(n) | On("end")` adds it.

    Example:
        >>> list(Every(2, "epoch").steps(Horizon(total=20, per_epoch=5)))
        [0, 10, 20]

    Raises:
        MetricError: `n` is not a positive whole number, or `unit` is unknown.
    """

    n: int
    unit: Unit = "step"

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", _whole("Every", self.n, least=1))
        _one_of("Every", "unit", self.unit, get_args(Unit))

    def steps(self, horizon: Horizon) -> Steps:
        """List the multiples of `n` steps or epochs."""
        if self.unit == "epoch" and horizon.epochs:
            return frozenset((0, *horizon.epochs)[:: self.n])
        stride = self.n * (horizon.per_epoch if self.unit == "epoch" else 1)
        return range(0, horizon.total + 1, stride)


@final
@dataclass(frozen=True)
class On(Schedule):
    """Be due at each event of a kind.

    `"step"`: at every step, 0 included. `"epoch"`: at the end of each whole epoch. `"start"`: at step 0.
    `"end"`: at the last step. `"intervention"`: where a timed intervention begins or ends.

    Example:
        >>> list(On("epoch").steps(Horizon(total=12, per_epoch=5)))
        [5, 10]

    Raises:
        MetricError: `event` is unknown.
    """

    event: Event

    def __post_init__(self) -> None:
        _one_of("On", "event", self.event, get_args(Event))

    def steps(self, horizon: Horizon) -> Steps:
        """List the steps of the event."""
        match self.event:
            case "step":
                return range(horizon.total + 1)
            case "epoch" if horizon.epochs:
                return frozenset(horizon.epochs)
            case "epoch":
                return range(horizon.per_epoch, horizon.total + 1, horizon.per_epoch)
            case "start":
                return range(1)
            case "end":
                return range(horizon.total, horizon.total + 1)
            case "intervention":
                return frozenset(step for step in horizon.interventions if step <= horizon.total)


@final
@dataclass(frozen=True)
class At(Schedule):
    """Be due at the given steps; those after the last step of a run are not due in it.

    Example:
        >>> sorted(At([0, 3, 99]).steps(Horizon(total=10, per_epoch=5)))
        [0, 3]

    Raises:
        MetricError: The steps are no sequence of whole numbers ≥ 0, or there are none.
    """

    at: tuple[int, ...]

    def __init__(self, at: Iterable[int]) -> None:
        object.__setattr__(self, "at", _steps("At", at))
        if not self.at:
            raise MetricError("At: got no steps, expected at least one; write for example At([0, 10])")

    def steps(self, horizon: Horizon) -> frozenset[int]:
        """List the given steps that the run reaches."""
        return frozenset(step for step in self.at if step <= horizon.total)


@final
@dataclass(frozen=True)
class LogSpaced(Schedule):
    """Be due at `k` steps evenly spaced in logarithm; see `log_spaced`."""

    k: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", _whole("log_spaced", self.k, least=1))

    def steps(self, horizon: Horizon) -> frozenset[int]:
        """List `min(k, total)` steps from 1 to the last."""
        count = min(self.k, horizon.total)
        steps: list[int] = []
        for i in range(count):
            ideal = round(horizon.total ** (i / (count - 1))) if count > 1 else horizon.total
            # The first ideals round to the same step; moving on by one keeps the count, and since the ideals
            # are convex in `i`, never runs past the last.
            steps.append(max(ideal, steps[-1] + 1) if steps else ideal)
        return frozenset(steps)


@final
@dataclass(frozen=True)
class AnyOf(Schedule):
    """Be due where any of the schedules is; written `a | b`."""

    schedules: tuple[Schedule, ...]

    def steps(self, horizon: Horizon) -> Steps:
        """List the union of the steps."""
        parts = [schedule.steps(horizon) for schedule in self.schedules]
        widest = max(parts, key=len)
        # A range that holds all the others stays one: `On("step") | On("end")` over 10^6 steps costs nothing.
        if all(step in widest for part in parts if part is not widest for step in part):
            return widest
        return frozenset[int]().union(*parts)


@final
@dataclass(frozen=True)
class FirstWhen(Schedule):
    """Be due once; see `first_when`.

    Attributes:
        condition: Tells of a learner whether the time has come.
        looked: The steps at which it is asked.
    """

    condition: Callable[[ObservedLearner], Any]
    looked: Schedule

    def __post_init__(self) -> None:
        if not callable(self.condition):
            raise MetricError(
                f"first_when: got {self.condition!r}, expected a function of the learner; "
                "write for example first_when(lambda learner: learner.predictions('test').loss < 0.5)"
            )
        ahead = [part for part in _alternatives(self.looked) if not _reads_the_past_alone(part)]
        if ahead:
            raise MetricError(
                f"first_when: looked={ahead[0]!r} depends on what comes later in a run, and runs of one past "
                "would not share the first step; give Every(…), At(…), On('step') or On('epoch')"
            )

    def steps(self, horizon: Horizon) -> Steps:
        """List the steps at which the condition is asked."""
        return self.looked.steps(horizon)


def first_when(condition: Callable[[ObservedLearner], Any], looked: Schedule | None = None) -> Schedule:
    """Be due once in a run: at the first step at which a condition on the learner holds.

    The condition sees the learner at the step, and nothing of what was recorded before: a fork starts from a
    stored state, and a metric that is added later is evaluated at one, where the past is not at hand. So the
    step is the same wherever a run is cut, and whenever the metric is added.

    Args:
        condition: A function of the learner. Its code is part of the metric's identity.
        looked: The steps at which it is asked, which must not depend on how long a run is; by default the
            start and the end of each epoch, where the evaluation is shared with the default metrics.

    Example:
        >>> from paribus.loggers import Logger, register_metric
        >>> class Arrival(Logger):
        ...     @register_metric(schedule=first_when(lambda learner: learner.predictions("test").loss < 0.5))
        ...     def arrived(self, learner):
        ...         return learner.step

    Raises:
        MetricError: The condition is no function, or the steps depend on what comes later in a run.
    """
    return FirstWhen(condition, On("start") | On("epoch") if looked is None else looked)


def log_spaced(k: int) -> Schedule:
    """Be due at `k` steps from 1 to the last, evenly spaced in logarithm and all distinct.

    A run of fewer than `k` steps is due at each of them. Step 0 has no logarithm: add `On("start")` for it.

    Example:
        >>> sorted(log_spaced(4).steps(Horizon(total=1000, per_epoch=5)))
        [1, 10, 100, 1000]

    Raises:
        MetricError: `k` is not a positive whole number.
    """
    return LogSpaced(k)


def _alternatives(schedule: Schedule) -> tuple[Schedule, ...]:
    return schedule.schedules if isinstance(schedule, AnyOf) else (schedule,)


def _reads_the_past_alone(schedule: Schedule) -> bool:
    return isinstance(schedule, Every | At) or (
        isinstance(schedule, On) and schedule.event in ("step", "start", "epoch")
    )


def _whole(owner: str, value: object, least: int) -> int:
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < least:
        raise MetricError(
            f"{owner}: got {value!r}, expected a whole number ≥ {least}; give an int such as 100"
        )
    return number


def _steps(owner: str, values: object) -> tuple[int, ...]:
    if not isinstance(values, Iterable) or isinstance(values, str):
        raise MetricError(f"{owner}: got {values!r}, expected a sequence of steps; write for example [0, 10]")
    return tuple(sorted({_whole(owner, value, least=0) for value in values}))


def _one_of(owner: str, field: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise MetricError(f"{owner}: {value!r} is no {field} {suggest(str(value), known)}")


DEFAULT_SCHEDULE = On("start") | On("epoch") | On("end")

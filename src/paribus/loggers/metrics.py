"""Metrics: how a method becomes one, and what one is."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from operator import or_
from types import CodeType, FunctionType
from typing import Any, TypeVar, final, overload

from paribus.errors import MetricError
from paribus.loggers.learner import ObservedLearner
from paribus.loggers.schedules import At, Event, Every, FirstWhen, On, Schedule
from paribus.loggers.values import Value, flatten, merge

F = TypeVar("F", bound=Callable[..., object])

_MARK = "__paribus_metric__"
_WHOLE = {"__dict__", "__getattribute__"}
_ACCESSES = {"LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR", "LOAD_SUPER_ATTR"}


@final
@dataclass(frozen=True)
class Registration:
    """What `register_metric` writes on a method.

    Attributes:
        schedule: When the metric is due; None for the logger's own schedule.
        per_split: Whether the method also takes the name of a split.
        pair: Whom the method compares the learner with: "control", or the one factor in which the other
            differs; None for a metric of one learner.
        stream: The split whose batches the method also takes; None where it takes none.
    """

    # Not compared, hence no part of the identity of the method: when a metric is due changes no value of it.
    schedule: Schedule | None = field(compare=False)
    per_split: bool
    pair: str | None = field(default=None, compare=False)
    stream: str | None = field(default=None, compare=False)


@final
@dataclass(frozen=True)
class Metric:
    """One metric of one logger.

    Attributes:
        name: Name of its method.
        schedule: When it is due.
        compute: The method, bound: takes the learner, and the name of a split where `per_split`.
        per_split: Whether it is computed once for each split, and recorded as "split/name".
        pair: Whom the learner is compared with: "control", or a factor; None for a metric of one learner.
        stream: The split whose batches it is computed over, and recorded as "split/name"; None for none.
    """

    name: str
    schedule: Schedule
    compute: Callable[..., object]
    per_split: bool = False
    pair: str | None = None
    stream: str | None = None

    @property
    def condition(self) -> Callable[[ObservedLearner], Any] | None:
        """What must hold of the learner for the metric to have values, once; None where it always has."""
        return self.schedule.condition if isinstance(self.schedule, FirstWhen) else None

    @property
    def over(self) -> str:
        """What it is computed of, in words."""
        if self.pair is not None:
            return f"the learner and its {self.pair}"
        if self.stream is not None:
            return f"the batches of {self.stream}"
        return "each split" if self.per_split else "the learner"

    @property
    def digest(self) -> bytes:
        """Identify what is computed, (16 bytes): the method's code, and what it names of its logger.

        The schedule is no part of it, but for one with a condition, which decides on values. Stored values of
        an equal digest were computed by the same code.

        Raises:
            FingerprintError: The code, or an attribute that it reads, has no identity.
        """
        from paribus.identity import digest

        logger, function = self.compute.__self__, self.compute.__func__  # type: ignore[attr-defined]
        decides = [part for part in (self.stream, self.schedule if self.condition else None) if part]
        return digest((function, read_members(logger, function), *decides))

    def values(self, learner: ObservedLearner) -> dict[str, Value]:
        """Compute and name the metric's values; what its method raises passes through unchanged.

        Raises:
            MetricError: A value cannot be recorded, or two have the same name.
        """
        if self.stream is not None:
            value = self.compute(learner, learner.batches(self.stream))
            return flatten(f"{self.stream}/{self.name}", value)
        if not self.per_split:
            return flatten(self.name, self.compute(learner))
        row: dict[str, Value] = {}
        for split in learner.splits:
            merge(row, flatten(f"{split}/{self.name}", self.compute(learner, split)))
        return row

    def pair_values(self, learner: ObservedLearner, other: ObservedLearner) -> dict[str, Value]:
        """Compute and name the values of a metric of two learners, at one step of both.

        Raises:
            MetricError: A value cannot be recorded.
        """
        return flatten(self.name, self.compute(learner, other))


@overload
def register_metric(method: F, /) -> F: ...


@overload
def register_metric(
    *,
    every: int | None = None,
    on: Event | None = None,
    at: Iterable[int] | None = None,
    schedule: Schedule | None = None,
    pair: str | None = None,
    stream: str | None = None,
) -> Callable[[F], F]: ...


def register_metric(
    method: Any = None,
    /,
    *,
    every: int | None = None,
    on: Event | None = None,
    at: Iterable[int] | None = None,
    schedule: Schedule | None = None,
    pair: str | None = None,
    stream: str | None = None,
) -> Any:
    """Make a method of a `Logger` a metric, recorded under the method's name.

    A method `(self, learner)` is recorded as "name". A method `(self, learner, split)` is computed for each
    split and recorded as "train/name", "test/name", …. A method `(self, learner, batches)` with
    `stream="test"` reads the predictions on a split batch by batch, which need not fit in memory together. A
    method `(self, learner, other)` with `pair=` is computed after both learners exist, from their states. The
    method itself is left as it is.

    Args:
        method: The method, where the decorator stands bare; it is then due when the logger's schedule says.
        every: Due every so many steps.
        on: Due at each "step", "epoch", "start", "end" or "intervention".
        at: Due at these steps.
        schedule: Due when this schedule says; where several are given, when any of them does.
        pair: Whom the learner is compared with: "control" (all treatments at control, all else equal), or the
            name of a factor: each two learners that differ in nothing else.
        stream: The split whose batches the method reads; recorded as "split/name". Each such method costs an
            evaluation of its own: return a dictionary where several values come from the same batches.

    Example:
        >>> import torch
        >>> from paribus.loggers import Logger
        >>> class CustomLogger(Logger):
        ...     @register_metric
        ...     def weight_norm(self, learner):
        ...         return torch.norm(learner.model.fc1.weight)
        ...
        ...     @register_metric(every=100, on="end")
        ...     def confidence(self, learner, split):
        ...         return learner.predictions(split).outputs.softmax(1).amax(1).mean()
        ...
        ...     @register_metric(stream="test", on="end")
        ...     def largest(self, learner, batches):
        ...         return max(float(batch.outputs.max()) for batch in batches)

    Raises:
        MetricError: The schedule is wrong, or what is decorated is no such method.
    """
    if method is not None:
        return _mark(method, None, None, None)
    if pair is not None and stream is not None:
        raise MetricError("register_metric: got pair= and stream=; a metric of two learners has no batches")
    timed = any(part is not None for part in (every, on, at, schedule))
    due = _union(every, on, at, schedule) if timed or (pair is None and stream is None) else None
    return lambda decorated: _mark(decorated, due, pair, stream)


def registration(member: object) -> Registration | None:
    """Find what `register_metric` wrote on a member of a class, if anything."""
    found = getattr(member, _MARK, None)
    return found if isinstance(found, Registration) else None


def read_members(logger: object, function: FunctionType) -> dict[str, object]:
    """Collect what a function's code names of a logger, followed through the methods it names.

    A name counts wherever it occurs, so too much is collected rather than too little; code that hands its
    logger on, as in `free(self)` or `getattr(self, name)`, is taken to read every attribute.
    """
    members: dict[str, object] = {}
    seen: set[str] = set()
    pending = [(function, True)]
    while pending:
        function, bound = pending.pop()
        names = {*_names(function.__code__), *_names(inspect.unwrap(function).__code__)}
        if names & _WHOLE or (bound and _hands_on(function)):
            names |= _all_members(logger)
        for name in sorted(names - seen):
            seen.add(name)
            found = list(_definitions(logger, name))
            if found:
                members[name] = found
                free = name in vars(logger) or isinstance(inspect.getattr_static(logger, name), staticmethod)
                pending += [(member, not free) for member in found if isinstance(member, FunctionType)]
    return members


def _definitions(logger: object, name: str) -> Iterator[object]:
    """Yield what a name means on a logger, in the order of lookup, with what `super()` would reach."""
    if name in vars(logger):
        yield vars(logger)[name]
    for owner in type(logger).__mro__[:-1]:
        if name in vars(owner) and not (name.startswith("__") and name.endswith("__")):
            member = vars(owner)[name]
            yield member.fget if isinstance(member, property) else getattr(member, "__func__", member)


def _all_members(logger: object) -> set[str]:
    """List what a logger and its classes define; the last two classes are Logger and object."""
    owners = [vars(logger), *(vars(owner) for owner in type(logger).__mro__[:-2])]
    names = set[str]().union(*owners) - {"schedule", "defaults", "strict"}
    return {name for name in names if not (name.startswith("__") and name.endswith("__"))}


def _hands_on(function: FunctionType) -> bool:
    """Tell whether a method does anything with its first argument but read and set attributes of it."""
    inner = inspect.unwrap(function)
    if inner.__code__.co_argcount == 0:  # a wrapper that hides what it wraps
        return True
    # A wrapper that takes any arguments hands them to what it wraps.
    named = [each.__code__ for each in {function, inner} if each.__code__.co_argcount]
    return any(_uses(code, code.co_varnames[0]) for code in named)


def _uses(code: CodeType, name: str) -> bool:
    """Tell whether code loads a variable for anything but an access to an attribute."""
    steps = list(dis.get_instructions(code))
    for step, following in pairwise(steps):
        if step.opname.startswith(("LOAD_FAST", "LOAD_DEREF")):
            # Some Pythons load two variables at once; only the last can have its attribute accessed next.
            *others, last = step.argval if isinstance(step.argval, tuple) else (step.argval,)
            if name in others or (last == name and following.opname not in _ACCESSES):
                return True
    return any(_uses(each, name) for each in code.co_consts if isinstance(each, CodeType))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _union(
    every: int | None, on: Event | None, at: Iterable[int] | None, schedule: Schedule | None
) -> Schedule:
    if schedule is not None and not isinstance(schedule, Schedule):
        raise MetricError(
            f"register_metric: schedule={schedule!r} is no Schedule; "
            "write every=, on= or at=, or for example schedule=log_spaced(20)"
        )
    given = (
        None if every is None else Every(every),
        None if on is None else On(on),
        None if at is None else At(at),
        schedule,
    )
    schedules = [each for each in given if each is not None]
    if not schedules:
        raise MetricError(
            "register_metric: got no schedule in its parentheses; write @register_metric without them"
        )
    return reduce(or_, schedules)


def _mark(method: Any, schedule: Schedule | None, pair: str | None, stream: str | None) -> Any:
    if not inspect.isfunction(method):
        raise MetricError(
            f"register_metric: got {method!r}, expected a method (self, learner); "
            "write @register_metric above its def, and a schedule by name: every=, on=, at= or schedule="
        )
    positional = [
        parameter.name
        for parameter in inspect.signature(method).parameters.values()
        if parameter.default is parameter.empty
    ]
    third = "other" if pair else "batches" if stream else "split"
    allowed = [[third]] if pair or stream else [[], [third]]
    if positional[2:] not in allowed or len(positional) < 2:
        expected = " or ".join(f"({', '.join(['self', 'learner', *more])})" for more in allowed)
        raise MetricError(
            f"register_metric: {method.__qualname__} takes ({', '.join(positional)}), "
            f"expected {expected}; change its parameters"
        )
    setattr(method, _MARK, Registration(schedule, positional[2:] == ["split"], pair, stream))
    return method

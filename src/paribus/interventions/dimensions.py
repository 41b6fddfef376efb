"""Search dimensions: levels that a search fills."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from paribus.errors import LevelError


class Dimension(ABC):
    """A level that stands for a range of values, of which a search takes one for each of its trials.

    It is a level of any parameter of any intervention, beside levels that are values.
    """

    @abstractmethod
    def at(self, position: float) -> Any:
        """Return the value at a position in ``[0, 1)`` of the range; equal lengths are equally likely."""

    @abstractmethod
    def holds(self, value: object) -> bool:
        """Tell whether a value is one of the dimension's."""

    @abstractmethod
    def grid(self) -> Sequence[Any] | None:
        """List every value; ``None`` where they are not finitely many."""

    @abstractmethod
    def ends(self) -> Sequence[Any]:
        """List the values by which the whole range is judged: its ends, or every one that has no order."""


@final
@dataclass(frozen=True)
class Float(Dimension):
    """A real number in ``[low, high]``.

    Attributes:
        low: The least value.
        high: The greatest one.
        log: Whether equal ratios are equally likely, as for learning rates.
        step: Distance between values; ``None``: every number.

    Raises:
        LevelError: The range is empty, or ``log`` or ``step`` does not fit it.

    Example:
        >>> from paribus.interventions import SetOptimizer
        >>> design = SetOptimizer.make_variations(lr=Float(1e-4, 1.0, log=True))
        >>> round(Float(1e-4, 1.0, log=True).at(0.5), 6)
        0.01
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        _check_range(self, float)
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))
        if self.step is None:
            return
        if self.log:
            raise LevelError(f"{self}: log=True has no step; leave one of them out")
        _check_step(self, self.step, round((self.high - self.low) / self.step, 9) if self.step > 0 else 0.5)

    def at(self, position: float) -> float:
        """Return the value at a position in ``[0, 1)``."""
        if self.step is not None:
            return self._steps(int(position * self._count))
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return min(max(math.exp(low + position * (high - low)), self.low), self.high)
        return min(self.low + position * (self.high - self.low), self.high)

    def holds(self, value: object) -> bool:
        """Tell whether a value is a number in the range, and on a step."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not self.low <= value <= self.high:
            return False
        return self.step is None or value in (self.grid() or ())

    def grid(self) -> Sequence[float] | None:
        """List the values on steps; ``None`` without a step."""
        if self.step is None:
            return [self.low] if self.low == self.high else None
        return [self._steps(count) for count in range(self._count)]

    def ends(self) -> Sequence[float]:
        """List the least and the greatest value."""
        return [self.low, self.high]

    @property
    def _count(self) -> int:
        return round((self.high - self.low) / (self.step or math.inf)) + 1

    def _steps(self, count: int) -> float:
        return min(float(f"{self.low + count * (self.step or 0.0):.12g}"), self.high)


@final
@dataclass(frozen=True)
class Int(Dimension):
    """A whole number in ``[low, high]``.

    Attributes:
        low: The least value.
        high: The greatest one.
        log: Whether equal ratios are equally likely, as for widths.
        step: Distance between values.

    Raises:
        LevelError: The range is empty, or ``log`` or ``step`` does not fit it.

    Example:
        >>> Int(8, 64, log=True).at(0.5), Int(0, 10, step=5).grid()
        (22, [0, 5, 10])
    """

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        _check_range(self, int)
        if self.log and self.step != 1:
            raise LevelError(f"{self}: log=True has no step; leave one of them out")
        whole = isinstance(self.step, int) and self.step > 0
        _check_step(self, self.step, (self.high - self.low) / self.step if whole else 0.5)

    def at(self, position: float) -> int:
        """Return the value at a position in ``[0, 1)``."""
        if self.log:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return min(max(round(math.exp(low + position * (high - low))), self.low), self.high)
        return self.low + int(position * ((self.high - self.low) // self.step + 1)) * self.step

    def holds(self, value: object) -> bool:
        """Tell whether a value is a whole number in the range, and on a step."""
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0

    def grid(self) -> Sequence[int]:
        """List every value."""
        return list(range(self.low, self.high + 1, self.step))

    def ends(self) -> Sequence[int]:
        """List the least and the greatest value."""
        return [self.low, self.high]


@final
@dataclass(frozen=True, init=False)
class Categorical(Dimension):
    """One of a few values of any kind, without an order.

    Attributes:
        values: What there is to choose from.

    Raises:
        LevelError: There is no value, or one is there twice.

    Example:
        >>> Categorical([True, False]).at(0.7)
        False
    """

    values: tuple[Any, ...]

    def __init__(self, values: Sequence[Any]) -> None:
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise LevelError(f"Categorical: values={values!r}; expected a list of at least one value")
        for place, value in enumerate(values):
            if any(value == earlier for earlier in values[:place]):
                raise LevelError(f"Categorical: {value!r} is there twice, or equals another; give it once")
        object.__setattr__(self, "values", tuple(values))

    def at(self, position: float) -> Any:
        """Return the value at a position in ``[0, 1)``."""
        return self.values[int(position * len(self.values))]

    def holds(self, value: object) -> bool:
        """Tell whether a value is one of them."""
        return any(type(value) is type(each) and value == each for each in self.values)

    def grid(self) -> Sequence[Any]:
        """List every value."""
        return self.values

    def ends(self) -> Sequence[Any]:
        """List every value."""
        return self.values


def _check_range(dimension: Float | Int, kind: type) -> None:
    for name in ("low", "high"):
        value = getattr(dimension, name)
        number = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise LevelError(
                f"{dimension}: {name} is no {'whole' if kind is int else 'finite'} number; "
                f"give one, as in {kind.__name__.capitalize()}(1, 10)"
            )
    if dimension.low > dimension.high:
        raise LevelError(f"{dimension}: the range is empty; expected low <= high")
    if dimension.log and dimension.low <= 0:
        raise LevelError(f"{dimension}: log=True needs low > 0; raise low, or leave log out")


def _check_step(dimension: Float | Int, step: object, count: float) -> None:
    if count != int(count):
        raise LevelError(
            f"{dimension}: step={step!r} does not lead from low to high; give a positive divisor of their "
            "distance"
        )

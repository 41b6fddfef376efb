"""How sets of interventions are written: levels, and designs made of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from paribus import markup
from paribus.errors import LevelError
from paribus.interventions.dimensions import Dimension

if TYPE_CHECKING:
    from paribus.interventions.base import Intervention

Components = Mapping[str, Any]


class Design(ABC):
    """A set of cells: what an experiment's grid is made of.

    ``a + b`` holds the cells of both, ``a * b`` every cell of ``a`` with every cell of ``b``.
    """

    @abstractmethod
    def kinds(self) -> Iterator[type[Intervention]]:
        """Yield the intervention classes that occur in it."""

    @final
    def __add__(self, other: Design) -> Union:
        return Union((self, other))

    @final
    def __mul__(self, other: Design) -> Product:
        return Product((self, other))


@final
@dataclass(frozen=True)
class Union(Design):
    """The cells of each term, one after another."""

    terms: tuple[Design, ...]

    def kinds(self) -> Iterator[type[Intervention]]:
        """Yield the intervention classes of the terms."""
        return (kind for term in self.terms for kind in term.kinds())

    def _repr_html_(self) -> str:
        return markup.titled("Union", markup.bullets(map(repr, self.terms)))


@final
@dataclass(frozen=True)
class Product(Design):
    """Each cell of the first factor with each cell of the next; of no factors: the one unchanged cell."""

    factors: tuple[Design, ...] = ()

    def kinds(self) -> Iterator[type[Intervention]]:
        """Yield the intervention classes of the factors."""
        return (kind for factor in self.factors for kind in factor.kinds())

    def _repr_html_(self) -> str:
        return markup.titled("Product", markup.bullets(map(repr, self.factors)))


@final
@dataclass(frozen=True)
class Modified:
    """A callable level: it is given the value that it modifies and yields levels."""

    function: Callable[[Any], object]


@final
@dataclass(frozen=True)
class Variations(Design):
    """The product of the levels given for one intervention's parameters."""

    intervention: type[Intervention]
    axes: Mapping[str, tuple[object, ...] | Modified]
    control: bool = False

    def kinds(self) -> Iterator[type[Intervention]]:
        """Yield the one intervention class."""
        yield self.intervention

    def _repr_html_(self) -> str:
        title = f"Variations of {self.intervention.__name__}{', the control' if self.control else ''}"
        return markup.titled(title, markup.pairs({name: _listed(axis) for name, axis in self.axes.items()}))

    def levels(self, components: Components) -> Iterator[Intervention]:
        """Yield each intervention, the last parameter varying fastest.

        Args:
            components: The configuration that is modified, which callable levels read.

        Raises:
            LevelError: A level is NaN, or one that the intervention refuses.
        """
        cells: list[dict[str, object]] = [{}]
        for name in self.axes:
            values = self.values(name, components)
            cells = [cell | {name: value} for cell in cells for value in values]
        return (self.intervention(**cell) for cell in cells)

    def values(self, name: str, components: Components) -> tuple[object, ...]:
        """List the levels of one parameter."""
        axis = self.axes[name]
        if not isinstance(axis, Modified):
            return axis
        reader = self.intervention.modifies.get(name) or self.intervention.modifies["*"]
        owner = self.intervention.__name__
        return checked(owner, name, as_levels(owner, name, axis.function(reader(components, name))))


def _listed(axis: tuple[object, ...] | Modified) -> str:
    return repr(axis.function) if isinstance(axis, Modified) else ", ".join(map(repr, axis))


def as_levels(name: str, parameter: str, value: object) -> tuple[object, ...]:
    """Read what a user gives as levels: a tuple, list, range, generator or 1-D array of them, or one value.

    Raises:
        LevelError: It is a set, which has no order.
    """
    if isinstance(value, set | frozenset):
        raise LevelError(
            f"{name}: the levels of {parameter!r} are a set, which has no order; give a tuple or a list"
        )
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return tuple(value.tolist())
    return tuple(value) if isinstance(value, tuple | list | range | Iterator) else (value,)


def checked(name: str, parameter: str, values: Iterable[object]) -> tuple[object, ...]:
    """Refuse no levels, and NaN among them; NumPy's scalars become Python's.

    Raises:
        LevelError: There is no level, or one is NaN.
    """
    levels = tuple(value.item() if isinstance(value, np.generic) else value for value in values)
    if not levels:
        raise LevelError(
            f"{name}: {parameter!r} has no levels, so the grid is empty; give at least one value"
        )
    for level in levels:
        if isinstance(level, float) and math.isnan(level):
            raise LevelError(
                f"{name}: a level of {parameter!r} is NaN; give a number, or leave the level out"
            )
        if isinstance(level, tuple | list) and any(isinstance(part, Dimension) for part in level):
            raise LevelError(
                f"{name}: {parameter!r} has a search dimension inside the value {level!r}; give whole "
                "values, as in Categorical([(0.9, 0.99), (0.9, 0.999)])"
            )
    return levels

"""What an intervention is, at which site it acts, and how sets of them are written.

An intervention is a frozen value: *what* to change. It never trains anything. A setting intervention
edits a component of the configuration before training; a timed one acts at a site of the training step
while its span lasts. To add one, subclass the site's class and write its one abstract method.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np

from paribus.errors import LevelError, suggest

if TYPE_CHECKING:
    import torch

    from paribus.interventions.settings import OptimizerSetting

Window = tuple[int, int | None]
Components = Mapping[str, Any]
Reader = Callable[[Components, str], object]
Edit = Callable[[Any], Any]


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


@final
@dataclass(frozen=True)
class Product(Design):
    """Each cell of the first factor with each cell of the next; of no factors: the one unchanged cell."""

    factors: tuple[Design, ...] = ()

    def kinds(self) -> Iterator[type[Intervention]]:
        """Yield the intervention classes of the factors."""
        return (kind for factor in self.factors for kind in factor.kinds())


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

    def levels(self, components: Components) -> Iterator[Intervention]:
        """Yield each intervention, the last parameter varying fastest.

        Args:
            components: The configuration that is modified, which callable levels read.

        Raises:
            LevelError: A level is NaN, or one that the intervention refuses.
        """
        cells: list[dict[str, object]] = [{}]
        for name, axis in self.axes.items():
            values = self._values(name, axis, components)
            cells = [cell | {name: value} for cell in cells for value in values]
        return (self.intervention(**cell) for cell in cells)

    def _values(
        self, name: str, axis: tuple[object, ...] | Modified, components: Components
    ) -> tuple[object, ...]:
        if not isinstance(axis, Modified):
            return axis
        reader = self.intervention.modifies.get(name) or self.intervention.modifies["*"]
        owner = self.intervention.__name__
        return _checked(owner, name, _as_levels(owner, name, axis.function(reader(components, name))))


class Intervention(Design):
    """One change to training; as a design, the single cell that has it.

    Attributes:
        modifies: For each parameter that takes a callable level, how to read the value it modifies
            (``"*"`` stands for any parameter).
        windows: The parameters whose value is a window ``(start, stop)`` in steps.
        replicates: The parameters that are seeds: repetitions, not treatments.
        stage: Interventions of a lower stage are applied first, whatever the order of the list.
    """

    modifies: ClassVar[Mapping[str, Reader]] = {}
    windows: ClassVar[frozenset[str]] = frozenset({"when"})
    replicates: ClassVar[frozenset[str]] = frozenset({"seed"})
    stage: ClassVar[int] = 0

    @final
    def kinds(self) -> Iterator[type[Intervention]]:
        """Yield its own class."""
        yield type(self)

    @abstractmethod
    def edits(self) -> Mapping[str, Edit]:
        """Return, for each component of the configuration that changes, the function old → new."""

    @final
    @classmethod
    def make_variations(cls, *, control: bool = False, **levels: object) -> Variations:
        """Write the product of levels for this intervention's parameters.

        A top-level tuple, list, range, generator or one-dimensional array is a set of levels; anything
        else is one level. A callable level is given the value that it modifies and yields levels.

        Args:
            control: Whether this one level is what the others of its factor are compared with.
            **levels: Levels by parameter name; the plural of a name is accepted.

        Raises:
            LevelError: A name is unknown, a set of levels is empty, or a level is NaN.

        Example:
            >>> from paribus.interventions import PerturbWeights
            >>> design = PerturbWeights.make_variations(epsilon=(0.01, 0.1), seed=range(3))
            >>> len(list(design.levels({})))
            6
        """
        axes: dict[str, tuple[object, ...] | Modified] = {}
        for given, value in levels.items():
            name = cls._parameter(given)
            axes[name] = cls._axis(name, value)
        return Variations(cls, axes, control)

    @final
    def parameters(self) -> dict[str, object]:
        """Return the parameters by name, those of a mapping field by their own names."""
        values: dict[str, object] = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            values.update(value) if isinstance(value, Mapping) else values.update({field.name: value})
        return values

    @final
    @classmethod
    def _parameter(cls, given: str) -> str:
        fields = {field.name: field.type for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for name in (given, given.removesuffix("s")):
            if name in fields:
                return name
        if any(str(kind).startswith("Mapping") for kind in fields.values()):
            return given
        raise LevelError(f"{cls.__name__}: {given!r} is no parameter of it {suggest(given, fields)}")

    @final
    @classmethod
    def _axis(cls, name: str, value: object) -> tuple[object, ...] | Modified:
        readable = name in cls.modifies or "*" in cls.modifies
        if callable(value) and readable and not isinstance(value, type):
            return Modified(value)
        if name in cls.windows and _is_window(value):
            return (tuple(value),)  # type: ignore[arg-type]
        return _checked(cls.__name__, name, _as_levels(cls.__name__, name, value))


class TimedIntervention(Intervention):
    """An intervention that acts at a site of the training step while its span lasts."""

    stage: ClassVar[int] = 2

    @property
    @abstractmethod
    def span(self) -> tuple[int, int | None]:
        """The steps ``[start, stop)`` in which it acts; a change of the initial state has ``(-1, 0)``."""

    @abstractmethod
    def is_null(self, components: Components) -> bool:
        """Tell whether it changes nothing under these components: then it is not part of the identity."""

    @abstractmethod
    def clipped(self) -> Self:
        """Return the same change without its span, for the identity of a restricted configuration."""


class WeightsIntervention(TimedIntervention):
    """A change of the parameters, once: in the initial state (step 0) or just before a later step.

    Subclasses are frozen dataclasses with a field ``step: int`` and write ``edit`` and ``is_null``.
    """

    step: int

    @abstractmethod
    def edit(self, parameters: Mapping[str, torch.Tensor]) -> None:
        """Change the parameters in place; gradients are not recorded here.

        Args:
            parameters: Every parameter by its dotted name, in the model's own shapes and dtype.
        """

    @final
    @property
    def span(self) -> tuple[int, int | None]:
        """The one step at which it acts; ``(-1, 0)`` when it is part of the initial state."""
        return (-1, 0) if self.step == 0 else (self.step, self.step + 1)

    @final
    def edits(self) -> Mapping[str, Edit]:
        """Put this intervention on the timeline."""
        return {"timeline": lambda events: (*events, self)}

    @final
    def clipped(self) -> Self:
        """Return the same change at the initial state: the step itself is kept beside it."""
        return dataclasses.replace(self, step=0)  # type: ignore[type-var]


class HyperparameterIntervention(TimedIntervention):
    """A change of the optimizer's hyperparameters while a window lasts; without a window, throughout.

    Subclasses are frozen dataclasses with a field ``when: Window | None = None`` and write ``edit``.
    """

    when: Window | None

    @abstractmethod
    def edit(self, optimizer: OptimizerSetting) -> OptimizerSetting:
        """Return the setting that holds inside the window."""

    @final
    @property
    def span(self) -> tuple[int, int | None]:
        """The window, in steps."""
        return self.when or (0, None)

    @final
    def edits(self) -> Mapping[str, Edit]:
        """Put this intervention on the timeline; without a window it is a plain setting."""
        if self.when is None:
            return {"optimizer": self.edit}
        return {"timeline": lambda events: (*events, self)}

    @final
    def is_null(self, components: Components) -> bool:
        """Tell whether the window leaves every hyperparameter as it is."""
        optimizer: OptimizerSetting = components["optimizer"]
        return self.edit(optimizer) == optimizer

    @final
    def clipped(self) -> Self:
        """Return the same change without its window."""
        return dataclasses.replace(self, when=None)  # type: ignore[type-var]


def check_window(name: str, when: object) -> None:
    """Refuse what is no window of steps.

    Raises:
        LevelError: ``when`` is neither ``None`` nor ``(start, stop)`` with ``0 <= start <= stop``.
    """
    if when is None:
        return
    if not isinstance(when, tuple) or not _is_window(when):
        raise LevelError(
            f"{name}: when={when!r} is no window; expected (start, stop) in steps, as in when=(0, 100)"
        )
    start: int = when[0]
    stop: int | None = when[1]
    if start < 0 or (stop is not None and stop < start):
        raise LevelError(f"{name}: the window {when!r} runs backwards; expected 0 <= start <= stop, in steps")


def check_count(name: str, parameter: str, value: object, *, least: int = 0) -> None:
    """Refuse what is no whole number of at least ``least``.

    Raises:
        LevelError: The value is no integer, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise LevelError(f"{name}: {parameter}={value!r} is no whole number >= {least}; give an integer")


def check_number(name: str, parameter: str, value: object) -> None:
    """Refuse what is no real number.

    Raises:
        LevelError: The value is no number, or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise LevelError(f"{name}: {parameter}={value!r} is no number; give a float such as 0.1")


def _is_window(value: object) -> bool:
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    return isinstance(value[0], int) and isinstance(value[1], int | None)


def _as_levels(name: str, parameter: str, value: object) -> tuple[object, ...]:
    if isinstance(value, set | frozenset):
        raise LevelError(
            f"{name}: the levels of {parameter!r} are a set, which has no order; give a tuple or a list"
        )
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return tuple(value.tolist())
    return tuple(value) if isinstance(value, tuple | list | range | Iterator) else (value,)


def _checked(name: str, parameter: str, values: Iterable[object]) -> tuple[object, ...]:
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
    return levels

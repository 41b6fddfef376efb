"""What an intervention is, and at which site it acts.

An intervention is a frozen value: *what* to change. It never trains anything. A setting intervention
edits a component of the configuration before training; a timed one acts at a site of the training step
while its span lasts. To add one, subclass the class of a site (``sites.py``) and write its one method.
"""

from __future__ import annotations

import dataclasses
import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from paribus import markup
from paribus.errors import LevelError, suggest
from paribus.interventions.checks import is_window
from paribus.interventions.designs import Components, Design, Modified, Variations, as_levels, checked
from paribus.interventions.dimensions import Dimension

if TYPE_CHECKING:
    pass

Reader = Callable[[Components, str], object]
Edit = Callable[[Any], Any]


@final
class _Signature:
    """The parameters of a class as ``__init__`` has them, although there is a ``__new__``."""

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        _, *parameters = inspect.signature(owner.__init__).parameters.values()  # type: ignore[misc]
        return inspect.Signature(parameters)


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
    __signature__ = _Signature()

    def __new__(cls, *arguments: object, **named: object) -> Self:
        """Make an intervention; with a search dimension among the arguments, the variations that it spans."""
        made = super().__new__(cls)
        if not any(isinstance(value, Dimension) for value in (*arguments, *named.values())):
            return made
        given = inspect.signature(cls).bind(*arguments, **named)
        levels = {**dict(zip(given.signature.parameters, given.args, strict=False)), **given.kwargs}
        return cls.make_variations(**{n: (v,) for n, v in levels.items()})  # type: ignore[return-value,arg-type]

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
        kind: Any = type(self)
        for name in _field_names(kind):
            value = getattr(self, name)
            values.update(value) if isinstance(value, Mapping) else values.update({name: value})
        return values

    @final
    def _repr_html_(self) -> str:
        return markup.titled(type(self).__name__, markup.pairs(self.parameters()))

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
        if name in cls.windows and is_window(value):
            return (tuple(value),)  # type: ignore[arg-type]
        return checked(cls.__name__, name, as_levels(cls.__name__, name, value))


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

    @final
    def _on_timeline(self) -> Mapping[str, Edit]:
        return {"timeline": lambda events: (*events, self)}

    @abstractmethod
    def clipped(self) -> Self:
        """Return the same change without its span, for the identity of a restricted configuration."""


@cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))

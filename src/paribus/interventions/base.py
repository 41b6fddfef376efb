"""What an intervention is, and at which site it acts.

An intervention is a frozen value: *what* to change. It never trains anything. A setting intervention
edits a component of the configuration before training; a timed one acts at a site of the training step
while its span lasts. To add one, subclass the site's class and write its one abstract method.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from paribus.errors import LevelError, suggest
from paribus.interventions.checks import Window, is_window
from paribus.interventions.designs import Components, Design, Modified, Variations, as_levels, checked

if TYPE_CHECKING:
    import torch

    from paribus.interventions.settings import OptimizerSetting

Reader = Callable[[Components, str], object]
Edit = Callable[[Any], Any]


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

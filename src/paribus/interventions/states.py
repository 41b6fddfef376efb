"""Interventions that see a learner's whole state, and may read others: its own past, a sibling, a draw."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar, final

from paribus.errors import LevelError
from paribus.interventions.base import Edit, Intervention, TimedIntervention

if TYPE_CHECKING:
    import torch

Changed = TypeVar("Changed", bound=Intervention)


@final
@dataclass(frozen=True, eq=False)
class LearnerState:
    """A learner at a step, as interventions see it.

    Attributes:
        parameters: By dotted name, in the model's own shapes and dtype.
        buffers: By dotted name, as running means.
        optimizer: For each parameter by its dotted name, what the optimizer keeps, by the optimizer's own
            names; empty where the parameter has taken no step.
        kept: What constraints keep, one mapping each; a mask is a bool tensor by its parameter's name.
    """

    parameters: Mapping[str, torch.Tensor]
    buffers: Mapping[str, torch.Tensor] = field(default_factory=dict)
    optimizer: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    kept: Sequence[Mapping[str, torch.Tensor]] = ()


@final
@dataclass(frozen=True)
class Sibling:
    """The state of this learner but for some changes, and without the intervention that reads it.

    Attributes:
        changes: What is changed, on top of this learner's own interventions; none: this learner itself.
        step: Optimizer steps taken; ``None``: at the end of its run.
    """

    changes: tuple[Intervention, ...] = ()
    step: int | None = None


@final
@dataclass(frozen=True)
class Drawn:
    """Weights as the model's source draws them; under ``weights="keep"``, as ``reset_parameters`` does.

    Attributes:
        seed: Seed of the ``init`` stream; ``None``: this learner's own.
    """

    seed: int | None = None


class StateReader(ABC):
    """What an intervention is besides, if it reads states of other trajectories.

    The plan has what is read as segments of its own, trained before; the keys of these states are part of
    the intervention's identity.
    """

    @abstractmethod
    def reads(self) -> Sequence[Sibling | Drawn]:
        """Name the states, in the order in which they are given to the intervention."""


class StateIntervention(TimedIntervention, StateReader):
    """A change of the learner's state, once: in the initial state (step 0) or just before a later step.

    Subclasses are frozen dataclasses with a field ``step: int``.
    """

    step: int

    @abstractmethod
    def change(self, own: LearnerState, read: Sequence[LearnerState]) -> None:
        """Change the learner's state in place; gradients are not recorded here.

        Args:
            own: The learner's state; what the optimizer keeps for a parameter may be replaced.
            read: The states that ``reads`` names, on the CPU; of one that is drawn, parameters and buffers.
        """

    @final
    @property
    def span(self) -> tuple[int, int | None]:
        """The one step at which it acts; ``(-1, 0)`` when it is part of the initial state."""
        return (-1, 0) if self.step == 0 else (self.step, self.step + 1)

    @final
    def edits(self) -> Mapping[str, Edit]:
        """Put this intervention on the timeline."""
        return self._on_timeline()

    @final
    def clipped(self) -> Self:
        """Return the same change at the initial state: the step itself is kept beside it."""
        return unchecked(self, step=0)


def unchecked(intervention: Changed, **values: object) -> Changed:
    """Copy an intervention with other values, which need not be such as could be written."""
    changed = copy.copy(intervention)
    for name, value in values.items():
        object.__setattr__(changed, name, value)
    return changed


def refuse_other_shapes(name: str, own: Mapping[str, torch.Tensor], read: Mapping[str, torch.Tensor]) -> None:
    """Refuse a state of another architecture.

    Raises:
        LevelError: The tensors differ in their names or shapes.
    """
    for tensor in [*own, *read]:
        one, two = own.get(tensor), read.get(tensor)
        if one is None or two is None or one.shape != two.shape:
            shapes = [None if each is None else tuple(each.shape) for each in (one, two)]
            raise LevelError(
                f"{name}: {tensor!r} has the shape {shapes[0]} in this learner and {shapes[1]} in the one "
                "that it reads; let both have the same architecture"
            )

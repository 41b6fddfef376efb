"""Interventions that put weights of another state into a learner: of its own past, or of a sibling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from paribus.errors import LevelError
from paribus.interventions.base import Intervention
from paribus.interventions.checks import check_choice, check_count, check_number, layers_or_none
from paribus.interventions.designs import Components
from paribus.interventions.selection import Globs, selected_tensors
from paribus.interventions.states import LearnerState, Sibling, StateIntervention, refuse_other_shapes

if TYPE_CHECKING:
    import torch


@final
@dataclass(frozen=True)
class RewindWeights(StateIntervention):
    """Put weights back to what they were at an earlier step; training goes on with the data of the later one.

    Buffers of the layers, as running means, go with them (Frankle et al., 2020).

    Attributes:
        to: The step whose state is taken, before what happens at that step.
        step: Step before which it happens; at ``to`` itself nothing is changed.
        layers: Globs over parameters and submodules.
        optimizer: Whether what the optimizer keeps for these parameters, as momentum, is put back too.

    Example:
        >>> RewindWeights(to=100, step=1000, layers="fc*").reads()
        (Sibling(changes=(), step=100),)
    """

    to: int
    step: int
    layers: Globs = "*"
    optimizer: bool = False

    def __post_init__(self) -> None:
        for name in ("to", "step"):
            check_count("RewindWeights", name, getattr(self, name))
            object.__setattr__(self, name, int(getattr(self, name)))
        if self.to > self.step:
            raise LevelError(
                f"RewindWeights: to={self.to} comes after step={self.step}; give an earlier step of the run"
            )
        check_choice("RewindWeights", "optimizer", self.optimizer, (False, True))
        object.__setattr__(self, "layers", layers_or_none("RewindWeights", self.layers))

    def reads(self) -> tuple[Sibling]:
        """Read the learner's own state at the earlier step."""
        return (Sibling(step=self.to),)

    def is_null(self, components: Components) -> bool:
        """Tell whether nothing is put back."""
        return self.to == self.step or not self.layers

    def change(self, own: LearnerState, read: Sequence[LearnerState]) -> None:
        """Copy the earlier state, in place."""
        (earlier,) = read
        before = {**earlier.parameters, **earlier.buffers}
        for name, tensor in selected_tensors(own, self.layers, "RewindWeights").items():
            tensor.copy_(before[name])
            if self.optimizer and name in own.parameters:
                self._put_back(own.optimizer[name], earlier.optimizer.get(name, {}), tensor)

    def _put_back(self, entries: dict[str, Any], before: dict[str, Any], parameter: torch.Tensor) -> None:
        if entries and before and entries.keys() != before.keys():
            raise LevelError(
                f"RewindWeights: at step {self.to} another optimizer kept {', '.join(sorted(before))} than "
                f"the one at step {self.step}, {', '.join(sorted(entries))}; rewind with optimizer=False"
            )
        placed = {name: _placed(value, entries.get(name), parameter) for name, value in before.items()}
        entries.clear()
        entries.update(placed)


@final
@dataclass(frozen=True)
class InterpolateWeights(StateIntervention):
    """Move on the straight line to a sibling's weights: ``(1 - alpha) * w + alpha * w_sibling``.

    The sibling is this learner with other interventions on top; it is trained as far as its state is read,
    whether or not it is a learner of the grid. ``alpha=0.5`` is the average of the two, 1 the sibling itself,
    and beyond the line is extrapolated. Floating buffers of the layers, as running means, go with them.

    Attributes:
        toward: The intervention that names the sibling, or several: ``InitWeights(seed=1)``.
        alpha: The sibling's share.
        step: Step before which it happens; 0: the initial weights.
        at: Step of the sibling's state; ``None``: the same.
        layers: Globs over parameters and submodules.

    Raises:
        LevelError: The sibling has another architecture.

    Example:
        >>> from paribus.interventions import InitWeights
        >>> design = InterpolateWeights.make_variations(
        ...     toward=InitWeights(seed=1), alpha=(0.25, 0.5, 0.75), step=1000)
        >>> [level.alpha for level in design.levels({})]
        [0.25, 0.5, 0.75]
    """

    toward: Intervention | tuple[Intervention, ...]
    alpha: float = 0.5
    step: int = 0
    at: int | None = None
    layers: Globs = "*"

    def __post_init__(self) -> None:
        toward = self.toward if isinstance(self.toward, tuple) else (self.toward,)
        if not toward or not all(isinstance(each, Intervention) for each in toward):
            raise LevelError(
                f"InterpolateWeights: toward={self.toward!r} names no sibling; give an intervention, as in "
                "toward=InitWeights(seed=1), or a tuple of them"
            )
        check_number("InterpolateWeights", "alpha", self.alpha)
        at = self.step if self.at is None else self.at
        for name, value in (("step", self.step), ("at", at)):
            check_count("InterpolateWeights", name, value)
            object.__setattr__(self, name, int(value))
        object.__setattr__(self, "toward", toward)
        object.__setattr__(self, "alpha", float(self.alpha))
        object.__setattr__(self, "layers", layers_or_none("InterpolateWeights", self.layers))

    def reads(self) -> tuple[Sibling]:
        """Read the sibling's state."""
        return (Sibling(self.toward, self.at),)  # type: ignore[arg-type]  # a tuple by now

    def is_null(self, components: Components) -> bool:
        """Tell whether nothing moves."""
        return self.alpha == 0 or not self.layers

    def change(self, own: LearnerState, read: Sequence[LearnerState]) -> None:
        """Interpolate, in place."""
        (sibling,) = read
        theirs = {**sibling.parameters, **sibling.buffers}
        refuse_other_shapes("InterpolateWeights", {**own.parameters, **own.buffers}, theirs)
        for name, tensor in selected_tensors(own, self.layers, "InterpolateWeights").items():
            if tensor.is_floating_point():
                tensor.lerp_(theirs[name].to(tensor), self.alpha)


def _placed(value: Any, present: Any, parameter: torch.Tensor) -> Any:
    """Copy an entry of an optimizer to where the optimizer has it; counters of steps stay on the CPU."""
    if not hasattr(value, "to"):
        return value
    if present is not None:
        return value.to(present, copy=True)
    return value.to(parameter.device if value.ndim else value.device, copy=True)

"""An intervention that holds weights still."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

from paribus.interventions.checks import Window, check_window, layers_or_none
from paribus.interventions.selection import Globs, matching_parameters
from paribus.interventions.sites import GradientsIntervention

if TYPE_CHECKING:
    import torch


@final
@dataclass(frozen=True)
class FreezeWeights(GradientsIntervention):
    """Hold parameters still while a window lasts: no bit of them moves, by weight decay and momentum neither.

    Gradients flow through to the layers before. What the optimizer keeps for them rests too, and goes on
    where the window ends. Buffers, as running means, are no parameters and move on.

    Attributes:
        layers: Globs over parameters and submodules.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> FreezeWeights(layers=("conv*", "fc1"), when=(0, 100)).span
        (0, 100)
    """

    layers: Globs
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"layers": ()}

    def __post_init__(self) -> None:
        check_window("FreezeWeights", self.when)
        object.__setattr__(self, "layers", layers_or_none("FreezeWeights", self.layers))

    def edit(self, gradients: dict[str, torch.Tensor], step: int) -> None:
        """Take the gradients away: without one, an optimizer passes a parameter over."""
        for name in matching_parameters(tuple(gradients), self.layers):
            del gradients[name]

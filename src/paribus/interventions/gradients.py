"""Interventions on the gradients, between backward pass and optimizer step.

Each takes ``layers``, globs over parameters and submodules, and ``when``, a window in steps. A parameter
without a gradient is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, final

from paribus.interventions.checks import (
    Window,
    check_choice,
    check_count,
    check_number,
    check_share,
    check_size,
    settle_noise,
    settle_place,
)
from paribus.interventions.draws import chosen, normal
from paribus.interventions.selection import Globs, matching_parameters
from paribus.interventions.sites import GradientsIntervention

if TYPE_CHECKING:
    import torch


@final
@dataclass(frozen=True)
class PerturbGradients(GradientsIntervention):
    """Add Gaussian noise to gradients: ``g + epsilon * n``, with ``n ~ N(0, 1)`` element by element.

    Attributes:
        epsilon: Standard deviation of the noise, absolute; or relative to what ``relative`` names.
        relative: ``"norm"``: each gradient moves by ``epsilon`` times its norm, ``g + epsilon |g| n / |n|``.
        layers: Globs over parameters and submodules.
        seed: Seed of the noise. The draws of one parameter depend on nothing but this seed, the step and the
            parameter's name.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> PerturbGradients(epsilon=0.1, relative="norm", layers="fc*", when=(0, 100)).span
        (0, 100)
    """

    epsilon: float
    relative: Literal["norm"] | None = None
    layers: Globs = "*"
    seed: int = 0
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"epsilon": 0}

    def __post_init__(self) -> None:
        settle_place(self)
        settle_noise(self)

    def edit(self, gradients: dict[str, torch.Tensor], step: int) -> None:
        """Add the noise, in place."""
        if self.epsilon == 0:  # -0.0 + 0.0 is 0.0: a placebo must not touch a bit
            return
        for name, gradient in _selected(gradients, self.layers).items():
            noise = normal(gradient, self.seed, "PerturbGradients", step, name)
            size = gradient.norm() / noise.norm() if self.relative else 1
            gradient.add_(self.epsilon * size * noise)


@final
@dataclass(frozen=True)
class ScaleGradients(GradientsIntervention):
    """Multiply gradients by a factor; a negative one climbs where the others descend.

    Attributes:
        factor: The factor.
        layers: Globs over parameters and submodules.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> len(list(ScaleGradients.make_variations(factor=(0.1, 10.0), layers=("fc1", "fc2")).levels({})))
        4
    """

    factor: float
    layers: Globs = "*"
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"factor": 1}

    def __post_init__(self) -> None:
        settle_place(self)
        check_number("ScaleGradients", "factor", self.factor)
        object.__setattr__(self, "factor", float(self.factor))

    def edit(self, gradients: dict[str, torch.Tensor], step: int) -> None:
        """Multiply, in place."""
        for gradient in _selected(gradients, self.layers).values():
            gradient.mul_(self.factor)


@final
@dataclass(frozen=True)
class ClipGradients(GradientsIntervention):
    """Clip gradients by their joint norm, by the size of each entry, or by both: first by norm.

    Attributes:
        norm: Greatest L2 norm of the selected gradients together, as in ``torch.nn.utils.clip_grad_norm_``.
        value: Greatest size of an entry.
        layers: Globs over parameters and submodules.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> ClipGradients(norm=1.0, when=(0, 100))
        ClipGradients(norm=1.0, value=inf, layers='*', when=(0, 100))
    """

    norm: float = math.inf
    value: float = math.inf
    layers: Globs = "*"
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"norm": math.inf, "value": math.inf}

    def __post_init__(self) -> None:
        settle_place(self)
        for name in ("norm", "value"):
            check_size("ClipGradients", name, getattr(self, name))
            object.__setattr__(self, name, float(getattr(self, name)))

    def edit(self, gradients: dict[str, torch.Tensor], step: int) -> None:
        """Clip, in place."""
        import torch

        selected = list(_selected(gradients, self.layers).values())
        if selected and self.norm < math.inf:
            total = torch.nn.utils.get_total_norm(selected)
            factor = torch.clamp(self.norm / (total + 1e-6), max=1.0)  # as torch's clip_grad_norm_ has it
            for gradient in selected:
                gradient.mul_(factor)
        for gradient in selected:
            gradient.clamp_(-self.value, self.value)


@final
@dataclass(frozen=True)
class SignGradients(GradientsIntervention):
    """Keep the sign of each entry of the gradients, 1, 0 or -1, and forget its size.

    Attributes:
        layers: Globs over parameters and submodules.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> SignGradients(layers="fc1.weight").span
        (0, None)
    """

    layers: Globs = "*"
    when: Window | None = None

    def __post_init__(self) -> None:
        settle_place(self)

    def edit(self, gradients: dict[str, torch.Tensor], step: int) -> None:
        """Take the sign, in place."""
        for gradient in _selected(gradients, self.layers).values():
            gradient.sign_()


@final
@dataclass(frozen=True)
class DropGradients(GradientsIntervention):
    """Set a share of the gradients to zero: entry by entry, or layer by layer.

    The optimizer takes its step all the same, so momentum and weight decay go on.

    Attributes:
        share: Probability with which each entry, or each layer, is dropped in a step; 1 drops all.
        whole: Whether a submodule's own parameters are dropped together, or not at all.
        layers: Globs over parameters and submodules.
        seed: Seed of the choice. It depends on nothing else but the step and the name.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> DropGradients(layers="encoder.*", when=(0, 100)).share
        1.0
    """

    share: float = 1.0
    whole: bool = False
    layers: Globs = "*"
    seed: int = 0
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"share": 0}

    def __post_init__(self) -> None:
        settle_place(self)
        check_share("DropGradients", "share", self.share)
        check_choice("DropGradients", "whole", self.whole, (False, True))
        check_count("DropGradients", "seed", self.seed)
        object.__setattr__(self, "share", float(self.share))
        object.__setattr__(self, "seed", int(self.seed))

    def edit(self, gradients: dict[str, torch.Tensor], step: int) -> None:
        """Set to zero, in place."""
        for name, gradient in _selected(gradients, self.layers).items():
            place = name.rpartition(".")[0] if self.whole else name
            drawn = gradient.new_empty(()) if self.whole else gradient
            gradient.masked_fill_(chosen(drawn, self.share, self.seed, "DropGradients", step, place), 0)


def _selected(gradients: Mapping[str, torch.Tensor], layers: Globs) -> dict[str, torch.Tensor]:
    names = matching_parameters(tuple(gradients), layers)
    return {name: gradient for name, gradient in gradients.items() if name in names}

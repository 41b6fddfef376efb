"""Interventions on the activations: what submodules give, in the forward passes of training steps.

Each takes ``layers``, globs over submodule paths, and ``when``, a window in steps. Evaluation is never
touched: a metric sees the model itself, so learners are compared on equal terms. A submodule that is called
several times in a step draws anew at each call. Gradients flow through what is changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, final

from paribus.errors import LevelError
from paribus.interventions.checks import (
    Window,
    check_count,
    check_number,
    check_share,
    settle_noise,
    settle_place,
)
from paribus.interventions.draws import chosen, normal, permutation
from paribus.interventions.selection import Globs
from paribus.interventions.sites import ActivationsIntervention, Call

if TYPE_CHECKING:
    import torch


@final
@dataclass(frozen=True)
class PerturbActivations(ActivationsIntervention):
    """Add Gaussian noise to activations: ``a + epsilon * n``, with ``n ~ N(0, 1)`` element by element.

    Attributes:
        layers: Globs over submodule paths.
        epsilon: Standard deviation of the noise, absolute; or relative to what ``relative`` names.
        relative: ``"norm"``: the tensor moves by ``epsilon`` times its norm, ``a + epsilon |a| n / |n|``; no
            gradient flows through the norm.
        seed: Seed of the noise. The draws depend on nothing else but the step, the layer and the call.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> PerturbActivations(layers="encoder.*", epsilon=0.1, when=(0, 100)).span
        (0, 100)
    """

    layers: Globs
    epsilon: float
    relative: Literal["norm"] | None = None
    seed: int = 0
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"epsilon": 0}

    def __post_init__(self) -> None:
        settle_place(self)
        settle_noise(self)

    def edit(self, output: torch.Tensor, call: Call) -> torch.Tensor:
        """Add the noise."""
        if self.epsilon == 0:  # -0.0 + 0.0 is 0.0: a placebo must not touch a bit
            return output
        noise = normal(output, self.seed, "PerturbActivations", *_at(call))
        size = output.detach().norm() / noise.norm() if self.relative else 1
        return output + self.epsilon * size * noise


@final
@dataclass(frozen=True)
class ScaleActivations(ActivationsIntervention):
    """Multiply activations by a factor.

    Attributes:
        layers: Globs over submodule paths.
        factor: The factor.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> design = ScaleActivations.make_variations(layers=("fc1", "fc2"), factor=(0.5, 2.0))
        >>> len(list(design.levels({})))
        4
    """

    layers: Globs
    factor: float
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"factor": 1}

    def __post_init__(self) -> None:
        settle_place(self)
        check_number("ScaleActivations", "factor", self.factor)
        object.__setattr__(self, "factor", float(self.factor))

    def edit(self, output: torch.Tensor, call: Call) -> torch.Tensor:
        """Multiply."""
        return output * self.factor


@final
@dataclass(frozen=True)
class ClampActivations(ActivationsIntervention):
    """Bring activations between two bounds; where they were outside, no gradient flows.

    Attributes:
        layers: Globs over submodule paths.
        low: Lower bound.
        high: Upper bound.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> ClampActivations(layers="fc1", high=6.0)
        ClampActivations(layers='fc1', low=-inf, high=6.0, when=None)
    """

    layers: Globs
    low: float = -math.inf
    high: float = math.inf
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"low": -math.inf, "high": math.inf}

    def __post_init__(self) -> None:
        settle_place(self)
        for name in ("low", "high"):
            check_number("ClampActivations", name, getattr(self, name))
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.low > self.high:
            raise LevelError(
                f"ClampActivations: low={self.low!r} is above high={self.high!r}; exchange the bounds"
            )

    def edit(self, output: torch.Tensor, call: Call) -> torch.Tensor:
        """Clamp."""
        return output.clamp(self.low, self.high)


@final
@dataclass(frozen=True)
class ZeroActivations(ActivationsIntervention):
    """Set activations, or a share of them, to zero; no gradient flows back from there.

    What is kept is not scaled up, as dropout does.

    Attributes:
        layers: Globs over submodule paths.
        share: Probability with which each entry is set to zero; 1 sets all.
        seed: Seed of the choice. It depends on nothing else but the step, the layer and the call.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> ZeroActivations(layers="blocks.3", when=(0, 100)).share
        1.0
    """

    layers: Globs
    share: float = 1.0
    seed: int = 0
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"share": 0}

    def __post_init__(self) -> None:
        settle_place(self)
        check_share("ZeroActivations", "share", self.share)
        check_count("ZeroActivations", "seed", self.seed)
        object.__setattr__(self, "share", float(self.share))
        object.__setattr__(self, "seed", int(self.seed))

    def edit(self, output: torch.Tensor, call: Call) -> torch.Tensor:
        """Set to zero."""
        return output.masked_fill(chosen(output, self.share, self.seed, "ZeroActivations", *_at(call)), 0)


@final
@dataclass(frozen=True)
class MeanActivations(ActivationsIntervention):
    """Give every sample the mean of the activations over the batch.

    Attributes:
        layers: Globs over submodule paths.
        dim: The dimension of the batch.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Raises:
        LevelError: An output has no such dimension (in the first step, before training).

    Example:
        >>> MeanActivations(layers="fc1").dim
        0
    """

    layers: Globs
    dim: int = 0
    when: Window | None = None

    def __post_init__(self) -> None:
        settle_place(self)
        check_count("MeanActivations", "dim", self.dim)
        object.__setattr__(self, "dim", int(self.dim))

    def edit(self, output: torch.Tensor, call: Call) -> torch.Tensor:
        """Take the mean."""
        _check_dim(self, self.dim, output, call)
        return output.mean(self.dim, keepdim=True).expand_as(output)


@final
@dataclass(frozen=True)
class ResampleActivations(ActivationsIntervention):
    """Give every sample the activations of another one of its batch: a random permutation.

    All tensors of one output are permuted alike.

    Attributes:
        layers: Globs over submodule paths.
        dim: The dimension of the batch.
        seed: Seed of the permutation. It depends on nothing else but the step, the layer and the call.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Raises:
        LevelError: An output has no such dimension (in the first step, before training).

    Example:
        >>> ResampleActivations.make_variations(layers=("fc1", "fc2")).axes["layers"]
        ('fc1', 'fc2')
    """

    layers: Globs
    dim: int = 0
    seed: int = 0
    when: Window | None = None

    def __post_init__(self) -> None:
        settle_place(self)
        for name in ("dim", "seed"):
            check_count("ResampleActivations", name, getattr(self, name))
            object.__setattr__(self, name, int(getattr(self, name)))

    def edit(self, output: torch.Tensor, call: Call) -> torch.Tensor:
        """Permute."""
        _check_dim(self, self.dim, output, call)
        at = call.step, call.layer, call.number
        order = permutation(output.shape[self.dim], self.seed, "ResampleActivations", *at)
        return output.index_select(self.dim, order.to(output.device))


def _at(call: Call) -> tuple[int | str, ...]:
    return call.step, call.layer, call.number, call.place


def _check_dim(intervention: ActivationsIntervention, dim: int, output: torch.Tensor, call: Call) -> None:
    if dim >= output.ndim:
        raise LevelError(
            f"{type(intervention).__name__}: {call.layer!r} gives a tensor of shape {tuple(output.shape)}, "
            f"which has no dimension {dim}; give dim=, the dimension of the batch, or another layer"
        )

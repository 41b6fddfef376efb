"""Interventions that set weights to zero and hold them there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from paribus.errors import LevelError
from paribus.identity import digest, generator
from paribus.interventions.checks import (
    Window,
    check_choice,
    check_count,
    check_share,
    check_window,
    layers_or_none,
)
from paribus.interventions.selection import Globs, selected_parameters
from paribus.interventions.sites import ConstraintIntervention
from paribus.interventions.states import LearnerState, Sibling, StateReader

if TYPE_CHECKING:
    import torch

_MATRIX = 2


class MaskingIntervention(ConstraintIntervention):
    """A constraint that holds entries of parameters at zero; what it keeps are bool masks, True where free.

    Masks are applied when the window begins and after each of its steps; gradients and what the optimizer
    keeps are not touched. Masks of several interventions hold together.
    """

    @final
    def edit(self, parameters: Mapping[str, torch.Tensor], kept: Mapping[str, torch.Tensor]) -> None:
        """Set what is masked to zero, in place."""
        for name, mask in kept.items():
            parameters[name].masked_fill_(~mask, 0)


@final
@dataclass(frozen=True)
class PruneWeights(MaskingIntervention):
    """Prune a share of the weights when the window begins, and hold them at zero while it lasts.

    Attributes:
        fraction: Share of the weights that are left; what other masks of this learner hold at zero is not
            counted, so that a second pruning takes its share of what the first one left.
        by: ``"magnitude"``: the smallest go; ``"random"``: any, and at a larger fraction these and more.
        scope: ``"global"``: all layers are ranked together; ``"layer"``: each parameter loses this share.
        layers: Globs over parameters and submodules. Of these, tensors of two or more dimensions are pruned:
            biases and scales are not.
        seed: Seed of the random choice.
        when: Window ``(start, stop)`` in steps; ``None``: throughout, and the initial weights too.

    Example:
        >>> PruneWeights(fraction=0.5, scope="layer", layers="conv*", when=(1000, None)).span
        (1000, None)
    """

    fraction: float
    by: Literal["magnitude", "random"] = "magnitude"
    scope: Literal["global", "layer"] = "global"
    layers: Globs = "*"
    seed: int = 0
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"fraction": 0}

    def __post_init__(self) -> None:
        _check(self)
        check_choice("PruneWeights", "by", self.by, ("magnitude", "random"))
        check_count("PruneWeights", "seed", self.seed)
        check_window("PruneWeights", self.when)
        object.__setattr__(self, "seed", int(self.seed))

    def prepare(self, own: LearnerState, read: Sequence[LearnerState]) -> Mapping[str, torch.Tensor]:
        """Choose what is pruned of the present weights."""
        free = _free(own, self.layers, "PruneWeights")
        scores = {name: self._scores(name, own.parameters[name]) for name in free}
        return _pruned(scores, free, self.fraction, self.scope)

    def _scores(self, name: str, parameter: torch.Tensor) -> torch.Tensor:
        import torch

        if self.by == "magnitude":
            return parameter.detach().abs()
        drawn = torch.rand(parameter.shape, generator=generator(self.seed, "PruneWeights", name))
        return drawn.to(parameter.device)


@final
@dataclass(frozen=True)
class PruneRounds(MaskingIntervention, StateReader):
    """Prune by magnitude in rounds, each from the end of the last, and rewind: lottery tickets.

    A round is a learner of its own: the one before it, trained on, gives the weights that are ranked; those
    that are left go back to what the unpruned learner had at the first step of the window, and are trained
    with the new mask. So round n is a fork of the trunk at that step, and needs round n - 1, which the plan
    adds where the grid does not have it. (Frankle and Carbin, "The lottery ticket hypothesis", 2019, where
    the window begins at 0; Frankle et al., "Linear mode connectivity and the lottery ticket hypothesis",
    2020.)

    Attributes:
        rounds: How many; after n rounds a share ``(1 - fraction) ** n`` is left.
        fraction: Share of the weights left that each round prunes.
        after: Step at which a round's weights are ranked; ``None``: at the end of its run.
        scope: ``"global"``: all layers are ranked together; ``"layer"``: each parameter loses this share.
        layers: Globs over parameters and submodules; of these, tensors of two or more dimensions.
        when: Window ``(start, stop)`` in steps: the step to which each round is rewound, and the step from
            which nothing is held at zero any more; ``None``: from the initial weights on.

    Example:
        >>> PruneRounds(rounds=3, fraction=0.2, when=(100, None)).reads()[0].changes[0].rounds
        2
    """

    rounds: int
    fraction: float = 0.2
    after: int | None = None
    scope: Literal["global", "layer"] = "global"
    layers: Globs = "*"
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"rounds": 0}

    def __post_init__(self) -> None:
        _check(self)
        check_count("PruneRounds", "rounds", self.rounds)
        check_window("PruneRounds", self.when)
        object.__setattr__(self, "rounds", int(self.rounds))
        if self.after is not None:
            check_count("PruneRounds", "after", self.after)
            object.__setattr__(self, "after", int(self.after))

    def reads(self) -> tuple[Sibling, ...]:
        """Read the end of the round before; before the first one, of the unpruned learner."""
        before = (replace(self, rounds=self.rounds - 1),) if self.rounds > 1 else ()
        return (Sibling(before, self.after),) if self.rounds else ()

    def prepare(self, own: LearnerState, read: Sequence[LearnerState]) -> Mapping[str, torch.Tensor]:
        """Choose what is pruned of the weights that the last round ended with."""
        if not read:
            return {}
        (last,) = read
        free = _free(last, self.layers, "PruneRounds")
        scores = {name: last.parameters[name].abs() for name in free}
        masks = _pruned(scores, free, self.fraction, self.scope)
        return {name: mask.to(own.parameters[name].device) for name, mask in masks.items()}


@final
@dataclass(frozen=True)
class Mask:
    """Which entries of parameters are free: bool tensors by the parameter's name, True where free.

    Example:
        >>> import torch
        >>> Mask.of({"fc1.weight": torch.tensor([[True, False], [True, True]])})
        Mask(1 of 4 entries of 1 parameter at zero)
    """

    tensors: Mapping[str, Any]
    name: str

    @classmethod
    def of(cls, tensors: Mapping[str, Any] | Mask) -> Mask:
        """Read a mask; parameters of which all is free are left out.

        Raises:
            LevelError: A tensor is not bool.
        """
        if isinstance(tensors, Mask):
            return tensors
        import torch

        for name, tensor in tensors.items():
            if not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.bool:
                raise LevelError(
                    f"MaskWeights: the mask of {name!r} is {type(tensor).__name__}; give a bool tensor, True "
                    "where the parameter is free"
                )
        held = {name: tensor.detach().cpu() for name, tensor in sorted(tensors.items()) if not tensor.all()}
        return cls(held, digest(held).hex()[:8])

    @property
    def __name__(self) -> str:
        """What it is called in tables."""
        return f"Mask-{self.name}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        zeros = sum(int((~tensor).sum()) for tensor in self.tensors.values())
        entries = sum(tensor.numel() for tensor in self.tensors.values())
        count = len(self.tensors)
        return f"Mask({zeros} of {entries} entries of {count} parameter{'s'[: count != 1]} at zero)"


@final
@dataclass(frozen=True)
class MaskWeights(MaskingIntervention):
    """Hold given entries of the weights at zero while a window lasts.

    Attributes:
        mask: Bool tensors by the parameter's name, in its shape, True where it is free; or a `Mask`.
        when: Window ``(start, stop)`` in steps; ``None``: throughout, and the initial weights too.

    Example:
        >>> import torch
        >>> MaskWeights(mask={"fc1.weight": torch.eye(3) > 0}, when=(10, 20)).span
        (10, 20)
    """

    mask: Mask | Mapping[str, Any]
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"mask": Mask({}, digest({}).hex()[:8])}

    def __post_init__(self) -> None:
        if not isinstance(self.mask, Mapping | Mask):
            raise LevelError(f"MaskWeights: mask={self.mask!r}; expected bool tensors by parameter name")
        check_window("MaskWeights", self.when)
        object.__setattr__(self, "mask", Mask.of(self.mask))

    @property
    def layers(self) -> tuple[str, ...]:
        """The parameters that are masked."""
        return tuple(Mask.of(self.mask).tensors)

    def prepare(self, own: LearnerState, read: Sequence[LearnerState]) -> Mapping[str, torch.Tensor]:
        """Put the mask where the parameters are.

        Raises:
            LevelError: A parameter is unknown, or has another shape.
        """
        tensors = Mask.of(self.mask).tensors
        selected_parameters(own.parameters, self.layers, "MaskWeights")
        for name, mask in tensors.items():
            if mask.shape != own.parameters[name].shape:
                raise LevelError(
                    f"MaskWeights: the mask of {name!r} has the shape {tuple(mask.shape)} and the parameter "
                    f"{tuple(own.parameters[name].shape)}; give a mask in the parameter's shape"
                )
        return {name: mask.to(own.parameters[name].device) for name, mask in tensors.items()}


def _check(intervention: PruneWeights | PruneRounds) -> None:
    name = type(intervention).__name__
    check_share(name, "fraction", intervention.fraction)
    check_choice(name, "scope", intervention.scope, ("global", "layer"))
    object.__setattr__(intervention, "fraction", float(intervention.fraction))
    object.__setattr__(intervention, "layers", layers_or_none(name, intervention.layers))


def _free(state: LearnerState, layers: Globs, name: str) -> dict[str, torch.Tensor]:
    """Return what of the weights is not held at zero, bool in their shapes, by name.

    Raises:
        LevelError: No weight is meant.
    """
    import torch

    chosen = selected_parameters(state.parameters, layers, name) if layers else set()
    weights = {n: w for n, w in state.parameters.items() if n in chosen and w.ndim >= _MATRIX}
    if layers and not weights:
        raise LevelError(
            f"{name}: layers={layers!r} means vectors alone, {', '.join(sorted(chosen))}; name a layer with "
            "weights of two or more dimensions"
        )
    free = {n: torch.ones_like(weight, dtype=torch.bool) for n, weight in weights.items()}
    for kept in state.kept:
        for n, mask in kept.items():
            if n in free and mask.dtype == torch.bool and mask.shape == free[n].shape:
                free[n] &= mask
    return free


def _pruned(
    scores: Mapping[str, torch.Tensor], free: Mapping[str, torch.Tensor], fraction: float, scope: str
) -> dict[str, torch.Tensor]:
    """Take the entries with the smallest scores from what is free; of equal scores, the first."""
    import torch

    groups = [list(scores)] if scope == "global" else [[name] for name in scores]
    masks: dict[str, torch.Tensor] = {}
    for names in (group for group in groups if group):
        ranked = torch.cat([scores[name].flatten() for name in names])
        left = torch.cat([free[name].flatten() for name in names])
        places = left.nonzero().flatten()
        order = torch.sort(ranked[places], stable=True).indices
        left[places[order[: round(fraction * len(places))]]] = False
        parts = torch.split(left, [scores[name].numel() for name in names])
        masks.update({name: part.view_as(scores[name]) for name, part in zip(names, parts, strict=True)})
    return {name: mask for name, mask in masks.items() if not mask.all()}

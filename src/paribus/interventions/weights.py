"""Interventions on the weights: other initial draws, perturbations, new draws of some layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

from paribus.errors import LevelError
from paribus.identity import derive_seed
from paribus.interventions.base import Edit, Intervention
from paribus.interventions.checks import check_choice, check_count, check_number, layers_or_none
from paribus.interventions.designs import Components
from paribus.interventions.draws import normal
from paribus.interventions.selection import Globs, selected_parameters, selected_tensors
from paribus.interventions.states import Drawn, LearnerState, StateIntervention

if TYPE_CHECKING:
    import torch


@final
@dataclass(frozen=True)
class InitWeights(Intervention):
    """Draw the initial weights from another seed; order, dropout and everything else stay.

    Attributes:
        seed: Seed of the ``init`` stream.

    Example:
        >>> InitWeights.make_variations(seed=range(10)).axes["seed"]
        (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """

    seed: int = 0

    def __post_init__(self) -> None:
        check_count("InitWeights", "seed", self.seed)
        object.__setattr__(self, "seed", int(self.seed))

    def edits(self) -> Mapping[str, Edit]:
        """Change the seed of the ``init`` stream."""
        return {"seeds": lambda seeds: dataclasses.replace(seeds, init=self.seed)}


@final
@dataclass(frozen=True)
class PerturbWeights(StateIntervention):
    """Add Gaussian noise to parameters: ``w + epsilon * n``, with ``n ~ N(0, 1)`` element by element.

    Attributes:
        epsilon: Standard deviation of the noise, absolute; or relative to what ``relative`` names.
        seed: Seed of the noise. The draws of one parameter depend on nothing but this seed, the step and
            the parameter's name.
        step: Step before which it happens; 0: the initial weights.
        layers: Globs over parameters and submodules.
        relative: ``"norm"``: each parameter moves by ``epsilon`` times its norm, ``w + epsilon |w| n / |n|``;
            ``"init"``: ``epsilon`` counts in standard deviations of the parameter's initial draw, and what is
            drawn constant, as biases at zero, stays.
        sphere: Whether each parameter keeps its norm: it is scaled back after the noise.

    Example:
        >>> PerturbWeights(epsilon=0.01, seed=3).span
        (-1, 0)
        >>> PerturbWeights(epsilon=0.1, relative="norm", sphere=True, layers="fc*", step=100).span
        (100, 101)
    """

    epsilon: float
    seed: int = 0
    step: int = 0
    layers: Globs = "*"
    relative: Literal["norm", "init"] | None = None
    sphere: bool = False

    def __post_init__(self) -> None:
        check_count("PerturbWeights", "seed", self.seed)
        check_count("PerturbWeights", "step", self.step)
        check_number("PerturbWeights", "epsilon", self.epsilon)
        check_choice("PerturbWeights", "relative", self.relative, (None, "norm", "init"))
        check_choice("PerturbWeights", "sphere", self.sphere, (False, True))
        for name, kind in (("epsilon", float), ("seed", int), ("step", int)):  # not NumPy's
            object.__setattr__(self, name, kind(getattr(self, name)))
        object.__setattr__(self, "layers", layers_or_none("PerturbWeights", self.layers))

    def reads(self) -> tuple[Drawn, ...]:
        """Read the initial draw, where the noise is relative to it."""
        return (Drawn(),) if self.relative == "init" else ()

    def is_null(self, components: Components) -> bool:
        """Tell whether there is no noise, or nothing that it is added to."""
        return self.epsilon == 0 or not self.layers

    def change(self, own: LearnerState, read: Sequence[LearnerState]) -> None:
        """Add the noise, in place."""
        names = selected_parameters(own.parameters, self.layers, "PerturbWeights")
        for name, parameter in own.parameters.items():
            if name in names and self.epsilon != 0:  # -0.0 + 0.0 is 0.0: a placebo must not touch a bit
                noise = normal(parameter, self.seed, "PerturbWeights", self.step, name)
                self._add(parameter, noise, read[0].parameters[name] if read else None, name)

    def _add(
        self, parameter: torch.Tensor, noise: torch.Tensor, drawn: torch.Tensor | None, name: str
    ) -> None:
        norm = parameter.norm()
        if self.relative == "norm":
            noise = noise * (norm / noise.norm())
        elif drawn is not None:
            refuse_undrawn("PerturbWeights", name, drawn)
            noise = noise * drawn.std(correction=0)
        parameter.add_(noise, alpha=self.epsilon)
        if self.sphere and parameter.norm() > 0:
            parameter.mul_(norm / parameter.norm())


@final
@dataclass(frozen=True)
class ReinitWeights(StateIntervention):
    """Draw some layers anew, as the model's source draws them; the others keep their weights.

    A module given as an instance resets its submodules, each under the stream of its path, also where
    ``weights="keep"``; a factory makes the model again. Buffers of the layers, as running means, go along.

    Attributes:
        layers: Globs over parameters and submodules.
        seed: Seed of the draw; equal seeds draw something else than `InitWeights`.
        step: Step before which it happens; 0: the initial weights.
        forget: Whether what the optimizer keeps for these parameters, as momentum, is emptied.

    Raises:
        LevelError: A parameter cannot be drawn anew.

    Example:
        >>> ReinitWeights.make_variations(layers=("fc1", "fc2", "fc3"), step=100).axes["layers"]
        ('fc1', 'fc2', 'fc3')
    """

    layers: Globs
    seed: int = 0
    step: int = 0
    forget: bool = False

    def __post_init__(self) -> None:
        check_count("ReinitWeights", "seed", self.seed)
        check_count("ReinitWeights", "step", self.step)
        check_choice("ReinitWeights", "forget", self.forget, (False, True))
        for name in ("seed", "step"):
            object.__setattr__(self, name, int(getattr(self, name)))
        object.__setattr__(self, "layers", layers_or_none("ReinitWeights", self.layers))

    def reads(self) -> tuple[Drawn]:
        """Read another draw."""
        return (Drawn(derive_seed(self.seed, "ReinitWeights", self.step)),)

    def is_null(self, components: Components) -> bool:
        """Tell whether there are no layers."""
        return not self.layers

    def change(self, own: LearnerState, read: Sequence[LearnerState]) -> None:
        """Copy the draw, in place."""
        drawn = {**read[0].parameters, **read[0].buffers}
        for name, tensor in selected_tensors(own, self.layers, "ReinitWeights").items():
            refuse_undrawn("ReinitWeights", name, drawn[name])
            tensor.copy_(drawn[name])
            if self.forget and name in own.optimizer:
                own.optimizer[name].clear()


def refuse_undrawn(intervention: str, name: str, drawn: torch.Tensor) -> None:
    """Refuse a tensor that the model's source cannot draw.

    Raises:
        LevelError: It is NaN.
    """
    if drawn.is_floating_point() and bool(drawn.isnan().any()):
        raise LevelError(
            f"{intervention}: {name!r} cannot be drawn, since its module has no reset_parameters() that "
            "draws it; choose other layers, or give a factory"
        )

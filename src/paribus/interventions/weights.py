"""Interventions on the weights: other initial draws, and perturbations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

from paribus.identity import generator
from paribus.interventions.base import Edit, Intervention
from paribus.interventions.checks import check_count, check_number
from paribus.interventions.sites import WeightsIntervention

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
class PerturbWeights(WeightsIntervention):
    """Add Gaussian noise to every parameter: ``w + epsilon * n``, with ``n ~ N(0, 1)`` element by element.

    Attributes:
        epsilon: Standard deviation of the noise, absolute.
        seed: Seed of the noise. The draws of one parameter depend on nothing but this seed, the step and
            the parameter's name.
        step: Step before which it happens; 0: the initial weights.

    Example:
        >>> PerturbWeights(epsilon=0.01, seed=3).span
        (-1, 0)
    """

    epsilon: float
    seed: int = 0
    step: int = 0
    null: ClassVar[Mapping[str, object]] = {"epsilon": 0}

    def __post_init__(self) -> None:
        check_count("PerturbWeights", "seed", self.seed)
        check_count("PerturbWeights", "step", self.step)
        check_number("PerturbWeights", "epsilon", self.epsilon)
        for name, kind in (("epsilon", float), ("seed", int), ("step", int)):  # not NumPy's
            object.__setattr__(self, name, kind(getattr(self, name)))

    def edit(self, parameters: Mapping[str, torch.Tensor]) -> None:
        """Add the noise, in place."""
        import torch

        for name, parameter in parameters.items():
            draws = generator(self.seed, "PerturbWeights", self.step, name)
            noise = torch.randn(parameter.shape, generator=draws, dtype=torch.float32)
            parameter.add_(noise.to(parameter), alpha=self.epsilon)

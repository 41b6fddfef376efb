"""Interventions on momentum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from paribus.interventions.base import Reader
from paribus.interventions.checks import Window, check_number, check_window
from paribus.interventions.designs import Components
from paribus.interventions.settings import OptimizerSetting
from paribus.interventions.sites import HyperparameterIntervention


def _momentum(components: Components, name: str) -> object:
    optimizer: OptimizerSetting = components["optimizer"]
    return optimizer.momentum


@final
@dataclass(frozen=True)
class PerturbMomentum(HyperparameterIntervention):
    """Train with another momentum while a window lasts; the momentum buffer itself is not touched.

    Momentum is the optimizer's ``momentum``, or the first of its ``betas``. Values of 1 and above are
    allowed: such a learner may diverge, and that is its result.

    Attributes:
        momentum: The value inside the window; a callable level is given the momentum outside it.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> PerturbMomentum(momentum=0.99, when=(1000, 1100)).span
        (1000, 1100)
    """

    momentum: float
    when: Window | None = None
    modifies: ClassVar[Mapping[str, Reader]] = {"momentum": _momentum}

    def __post_init__(self) -> None:
        check_window("PerturbMomentum", self.when)
        check_number("PerturbMomentum", "momentum", self.momentum)
        object.__setattr__(self, "momentum", float(self.momentum))

    def edit(self, optimizer: OptimizerSetting) -> OptimizerSetting:
        """Return the setting with this momentum."""
        return optimizer.with_momentum(self.momentum)

"""Interventions on momentum: as a hyperparameter, and as the buffer in which an optimizer keeps it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, final

from paribus.interventions.base import Reader
from paribus.interventions.checks import (
    Window,
    check_number,
    check_window,
    layers_or_none,
    settle_noise,
)
from paribus.interventions.designs import Components
from paribus.interventions.draws import normal
from paribus.interventions.selection import Globs, matching_parameters
from paribus.interventions.settings import OptimizerSetting
from paribus.interventions.sites import BuffersIntervention, HyperparameterIntervention

if TYPE_CHECKING:
    import torch


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

    def edit(self, setting: OptimizerSetting) -> OptimizerSetting:
        """Return the setting with this momentum."""
        return setting.with_momentum(self.momentum)


class MomentumBufferIntervention(BuffersIntervention):
    """A change of the buffers in which an optimizer keeps its momentum, before each step of the window.

    They are ``momentum_buffer`` of SGD and its like, ``exp_avg`` of Adam and its like; second moments are not
    touched. Before a parameter's first step there is none, and nothing is changed. For a change that happens
    once, give a window of one step.
    """

    layers: Globs

    @abstractmethod
    def change(self, buffer: torch.Tensor, name: str, step: int) -> None:
        """Change a buffer in place.

        Args:
            buffer: In the parameter's shape.
            name: The parameter's dotted name.
            step: Optimizer steps taken.
        """

    @final
    def edit(self, buffers: Mapping[str, dict[str, torch.Tensor]], step: int) -> None:
        """Change the momentum of the parameters that are meant."""
        chosen = matching_parameters(tuple(buffers), self.layers)
        for name in (name for name in buffers if name in chosen):
            for entry in _MOMENTA & buffers[name].keys():
                self.change(buffers[name][entry], name, step)


_MOMENTA = frozenset({"momentum_buffer", "exp_avg"})


@final
@dataclass(frozen=True)
class ScaleMomentumBuffer(MomentumBufferIntervention):
    """Multiply the momentum buffers by a factor before each step of a window.

    Attributes:
        factor: The factor.
        layers: Globs over parameters and submodules.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> ScaleMomentumBuffer(factor=-1.0, when=(100, 101)).span
        (100, 101)
    """

    factor: float
    layers: Globs = "*"
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"factor": 1}

    def __post_init__(self) -> None:
        _check(self)
        check_number("ScaleMomentumBuffer", "factor", self.factor)
        object.__setattr__(self, "factor", float(self.factor))

    def change(self, buffer: torch.Tensor, name: str, step: int) -> None:
        """Multiply, in place."""
        buffer.mul_(self.factor)


@final
@dataclass(frozen=True)
class ResetMomentumBuffer(MomentumBufferIntervention):
    """Set the momentum buffers to zero before each step of a window.

    Attributes:
        layers: Globs over parameters and submodules.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> ResetMomentumBuffer.make_variations(when=((100, 101), (1000, 1001))).axes["when"]
        ((100, 101), (1000, 1001))
    """

    layers: Globs = "*"
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"layers": ()}

    def __post_init__(self) -> None:
        _check(self)

    def change(self, buffer: torch.Tensor, name: str, step: int) -> None:
        """Set to zero, in place."""
        buffer.zero_()


@final
@dataclass(frozen=True)
class PerturbMomentumBuffer(MomentumBufferIntervention):
    """Add Gaussian noise to the momentum buffers before each step of a window.

    Attributes:
        epsilon: Standard deviation of the noise, absolute or relative.
        relative: ``"norm"``: each buffer moves by ``epsilon`` times its norm, ``m + epsilon |m| n / |n|``.
        layers: Globs over parameters and submodules.
        seed: Seed of the noise. The draws of one parameter depend on nothing but this seed, the step and the
            parameter's name.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> PerturbMomentumBuffer(epsilon=0.1, relative="norm", when=(100, 101)).span
        (100, 101)
    """

    epsilon: float
    relative: Literal["norm"] | None = None
    layers: Globs = "*"
    seed: int = 0
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"epsilon": 0}

    def __post_init__(self) -> None:
        _check(self)
        settle_noise(self)

    def change(self, buffer: torch.Tensor, name: str, step: int) -> None:
        """Add the noise, in place."""
        if self.epsilon == 0:  # -0.0 + 0.0 is 0.0: a placebo must not touch a bit
            return
        noise = normal(buffer, self.seed, "PerturbMomentumBuffer", step, name)
        size = buffer.norm() / noise.norm() if self.relative else 1
        buffer.add_(noise * size, alpha=self.epsilon)


def _check(intervention: MomentumBufferIntervention) -> None:
    name = type(intervention).__name__
    check_window(name, intervention.when)
    object.__setattr__(intervention, "layers", layers_or_none(name, intervention.layers))

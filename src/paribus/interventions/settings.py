"""The components of a configuration that interventions edit: seeds, optimizer, training, numerics."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, final

from paribus.errors import ConfigurationError, LevelError, suggest
from paribus.interventions.checks import check_count
from paribus.interventions.selection import Globs

if TYPE_CHECKING:
    import torch

    from paribus.interventions.schedules import LearningRateSchedule


@final
@dataclass(frozen=True)
class Seeds:
    """One seed per stream of random draws; no stream sees another.

    Attributes:
        init: Of the initial weights.
        order: Of the order of the training samples, epoch by epoch.
        forward: Of dropout and whatever else the model draws in training.
        augment: Of random transforms in the data set.
        split: Of the split of a single data set into train and test.
    """

    init: int = 0
    order: int = 0
    forward: int = 0
    augment: int = 0
    split: int = 0

    @classmethod
    def all_equal(cls, seed: int) -> Seeds:
        """Return the same seed for every stream.

        Raises:
            LevelError: The seed is no whole number, or negative.
        """
        check_count("Experiment", "seed", seed)
        return cls(*(int(seed) for _ in dataclasses.fields(cls)))


ParameterGroup = tuple[Globs, tuple[tuple[str, Any], ...]]


@final
@dataclass(frozen=True)
class OptimizerSetting:
    """An optimizer class with every hyperparameter, defaults written out.

    Attributes:
        kind: A subclass of ``torch.optim.Optimizer``.
        hyperparameters: Name and value, sorted by name, complete.
        groups: Hyperparameters of some parameters' own, by globs over parameters and layers; of two that
            mean the same parameter, the later one holds.
    """

    kind: type[torch.optim.Optimizer]
    hyperparameters: tuple[tuple[str, Any], ...]
    groups: tuple[ParameterGroup, ...] = ()

    @classmethod
    def of(cls, optimizer: object, given: Mapping[str, Any] | None = None) -> OptimizerSetting:
        """Complete an optimizer class, or a partial of one, with its own defaults.

        Raises:
            ConfigurationError: ``optimizer`` is neither.
            LevelError: A hyperparameter is unknown to the class, or one without a default is missing.
        """
        chosen: dict[str, Any] = {}
        if isinstance(optimizer, partial):
            if optimizer.args:
                raise ConfigurationError(
                    f"optimizer: {optimizer!r} has positional arguments; name them: partial(SGD, lr=0.1)"
                )
            chosen, optimizer = dict(optimizer.keywords), optimizer.func
        if not isinstance(optimizer, type):
            raise ConfigurationError(
                f"optimizer: got {' '.join(repr(optimizer).split())}; expected a class such as "
                "torch.optim.SGD, or a partial of one with its hyperparameters"
            )
        return cls._complete(optimizer, chosen | dict(given or {}))

    @classmethod
    def _complete(cls, kind: type[torch.optim.Optimizer], given: Mapping[str, Any]) -> OptimizerSetting:
        listed, parameters = _signature(kind)
        for name in given:
            if name not in parameters:
                raise LevelError(
                    f"SetOptimizer: {name!r} is no hyperparameter of {kind.__name__} {suggest(name, listed)}"
                )
        values = {name: given.get(name, parameter.default) for name, parameter in parameters.items()}
        for name, value in values.items():
            if value is inspect.Parameter.empty:
                raise LevelError(f"SetOptimizer: {kind.__name__} needs a value for {name!r}; give {name}=…")
            if type(value) is int and "float" in str(parameters[name].annotation):
                values[name] = float(value)
        return cls(kind, tuple(sorted(values.items())))

    def __getitem__(self, name: str) -> Any:
        """Return a hyperparameter by name.

        Raises:
            LevelError: The optimizer has none of that name.
        """
        values = dict(self.hyperparameters)
        if name not in values:
            listed, _ = _signature(self.kind)
            raise LevelError(f"{self.kind.__name__} has no hyperparameter {name!r} {suggest(name, listed)}")
        return values[name]

    def replace(self, **changes: Any) -> OptimizerSetting:
        """Return the setting with some hyperparameters changed.

        Raises:
            LevelError: A name is unknown to the class.
        """
        changed = self._complete(self.kind, dict(self.hyperparameters) | changes)
        return dataclasses.replace(changed, groups=self.groups)

    def with_group(self, layers: Globs, values: Mapping[str, Any]) -> OptimizerSetting:
        """Return the setting with hyperparameters of some parameters' own.

        Raises:
            LevelError: A name is unknown to the class.
        """
        listed, parameters = _signature(self.kind)
        for name in values:
            if name not in parameters:
                raise LevelError(
                    f"SetParameterGroup: {name!r} is no hyperparameter of {self.kind.__name__} "
                    f"{suggest(name, listed)}"
                )
        return dataclasses.replace(self, groups=(*self.groups, (layers, tuple(sorted(values.items())))))

    @property
    def momentum(self) -> float:
        """The momentum: ``momentum``, or the first of ``betas``.

        Raises:
            LevelError: The optimizer has neither.
        """
        values = dict(self.hyperparameters)
        if "momentum" in values:
            return float(values["momentum"])
        if "betas" in values:
            return float(values["betas"][0])
        raise LevelError(f"{self.kind.__name__} has no momentum; use an optimizer with 'momentum' or 'betas'")

    def with_momentum(self, momentum: float) -> OptimizerSetting:
        """Return the setting with another momentum, wherever the class keeps it."""
        if self.momentum == momentum:
            return self
        if "momentum" in dict(self.hyperparameters):
            return self.replace(momentum=momentum)
        return self.replace(betas=(momentum, *self["betas"][1:]))


def _signature(kind: type) -> tuple[tuple[str, ...], dict[str, inspect.Parameter]]:
    """The names to list in a message, and every hyperparameter."""
    parameters = list(inspect.signature(kind).parameters.values())[1:]
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return tuple(p.name for p in named if p.kind is p.POSITIONAL_OR_KEYWORD), {p.name: p for p in named}


@final
@dataclass(frozen=True)
class Training:
    """How a run walks over the data.

    Attributes:
        batch_size: Samples per step; the last batch of an epoch holds what is left.
        schedule: Factor on the learning rate as a function of the step; ``None``: constant.
    """

    batch_size: int = 32
    schedule: LearningRateSchedule | None = None


@final
@dataclass(frozen=True)
class Budget:
    """How long to train: a number of steps or of epochs, never both.

    Raises:
        ConfigurationError: Both or neither are given, or the number is no positive integer.
    """

    steps: int | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ConfigurationError(
                f"Experiment: steps={self.steps!r} and epochs={self.epochs!r}; give exactly one of the two"
            )
        name, value = ("steps", self.steps) if self.epochs is None else ("epochs", self.epochs)
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise ConfigurationError(f"Experiment: {name}={value!r}; expected a whole number of at least 1")

    def total(self, steps_per_epoch: int) -> int:
        """Return the budget in steps."""
        return self.steps if self.steps is not None else int(self.epochs or 0) * steps_per_epoch


@final
@dataclass(frozen=True)
class Numerics:
    """What decides the bits of an operation besides its inputs.

    Attributes:
        device: Device type: ``"cpu"``, ``"cuda"``, ….
        dtype: Name of the floating type of parameters and inputs, as in ``"float32"``.
        threads: Intra-op threads; one thread against two changes bits.
        deterministic: Whether only deterministic kernels are allowed.

    Raises:
        ConfigurationError: There is no such device type, a device is told by its number too, or the threads
            are no positive integer.
    """

    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1
    deterministic: bool = True

    def __post_init__(self) -> None:
        import torch

        check_count("Experiment", "threads", self.threads, least=1)
        try:
            device = torch.device(str(self.device))
        except RuntimeError as error:
            raise ConfigurationError(
                f"Experiment: device={self.device!r}; expected a device type of torch, 'cpu' or 'cuda'"
            ) from error
        if device.index is not None:
            raise ConfigurationError(
                f"Experiment: device='{device}'; expected a device type alone, which is what keys hold: give "
                f"device='{device.type}', and choose by what the process sees "
                f"(CUDA_VISIBLE_DEVICES={device.index})"
            )
        object.__setattr__(self, "device", device.type)

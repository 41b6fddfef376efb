"""Interventions on the optimizer and on the other hyperparameters of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

from paribus.interventions.base import Edit, Intervention, Reader
from paribus.interventions.checks import Window, check_count, check_number, check_window
from paribus.interventions.designs import Components
from paribus.interventions.schedules import as_schedule
from paribus.interventions.settings import OptimizerSetting, Training
from paribus.interventions.sites import HyperparameterIntervention


def _hyperparameter(components: Components, name: str) -> object:
    return components["optimizer"][name]


def _training(components: Components, name: str) -> object:
    return getattr(components["training"], name)


@final
@dataclass(frozen=True, init=False)
class SetOptimizer(Intervention):
    """Train with another optimizer, or with other hyperparameters of the same.

    When the class changes, its own defaults hold for whatever is not given; when it stays, the base
    configuration's values do.

    Attributes:
        optimizer: A ``torch.optim.Optimizer`` subclass; ``None``: the base configuration's.
        hyperparameters: Values by name, as the class spells them.

    Raises:
        LevelError: A hyperparameter is unknown to the class (when the grid is read, before training).

    Example:
        >>> SetOptimizer.make_variations(momentum=(0.9, 0.99), lr=lambda lr: (lr / 2, lr)).axes["momentum"]
        (0.9, 0.99)
    """

    optimizer: type | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    modifies: ClassVar[Mapping[str, Reader]] = {"*": _hyperparameter}

    def __init__(self, optimizer: type | None = None, **hyperparameters: Any) -> None:
        object.__setattr__(self, "optimizer", optimizer)
        object.__setattr__(self, "hyperparameters", dict(sorted(hyperparameters.items())))

    def edits(self) -> Mapping[str, Edit]:
        """Change the optimizer's class, its hyperparameters, or both."""
        return {"optimizer": self._edit}

    def _edit(self, base: OptimizerSetting) -> OptimizerSetting:
        if self.optimizer is None or self.optimizer is base.kind:
            return base.replace(**self.hyperparameters)
        return OptimizerSetting.of(self.optimizer, self.hyperparameters)


@final
@dataclass(frozen=True)
class SetHyperparameter(Intervention):
    """Change batch size, learning rate, weight decay or schedule for the whole run, under any optimizer.

    Attributes:
        batch_size: Samples per step.
        lr: Learning rate, before the schedule's factor.
        weight_decay: As the optimizer's class defines it.
        schedule: ``Cosine()``, ``StepDecay(every=…)``, ``Warmup(steps=…)``, ``Constant()``, a function
            ``factor(step)`` or ``factor(step, total)``.

    Example:
        >>> SetHyperparameter.make_variations(batch_size=(32, 64)).axes["batch_size"]
        (32, 64)
    """

    batch_size: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    schedule: object = None
    stage: ClassVar[int] = 1
    modifies: ClassVar[Mapping[str, Reader]] = {
        "batch_size": _training,
        "lr": _hyperparameter,
        "weight_decay": _hyperparameter,
    }

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            check_count("SetHyperparameter", "batch_size", self.batch_size, least=1)
        for name, value in _given(lr=self.lr, weight_decay=self.weight_decay).items():
            check_number("SetHyperparameter", name, value)
        as_schedule(self.schedule)

    def edits(self) -> Mapping[str, Edit]:
        """Change the training component, the optimizer's, or both."""
        return {"training": self._edit_training, "optimizer": self._edit_optimizer}

    def _edit_training(self, base: Training) -> Training:
        batch_size = base.batch_size if self.batch_size is None else int(self.batch_size)
        schedule = base.schedule if self.schedule is None else as_schedule(self.schedule)
        return Training(batch_size, schedule)

    def _edit_optimizer(self, base: OptimizerSetting) -> OptimizerSetting:
        return base.replace(**_given(lr=self.lr, weight_decay=self.weight_decay))


@final
@dataclass(frozen=True)
class PerturbHyperparameter(HyperparameterIntervention):
    """Train with another learning rate or weight decay while a window lasts.

    Attributes:
        lr: Learning rate inside the window, before the schedule's factor.
        weight_decay: Weight decay inside the window.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> PerturbHyperparameter(lr=0.1, when=(100, 200)).span
        (100, 200)
    """

    lr: float | None = None
    weight_decay: float | None = None
    when: Window | None = None
    modifies: ClassVar[Mapping[str, Reader]] = {"lr": _hyperparameter, "weight_decay": _hyperparameter}

    def __post_init__(self) -> None:
        check_window("PerturbHyperparameter", self.when)
        for name, value in _given(lr=self.lr, weight_decay=self.weight_decay).items():
            check_number("PerturbHyperparameter", name, value)

    def edit(self, optimizer: OptimizerSetting) -> OptimizerSetting:
        """Return the setting with this learning rate or weight decay."""
        return optimizer.replace(**_given(lr=self.lr, weight_decay=self.weight_decay))


def _given(**values: float | None) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}

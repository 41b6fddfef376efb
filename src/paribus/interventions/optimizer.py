"""Interventions on the optimizer and on the other hyperparameters of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, final

from paribus.errors import LevelError
from paribus.interventions.base import Edit, Intervention, Reader
from paribus.interventions.checks import Window, check_count, check_number, check_window, layers_or_none
from paribus.interventions.designs import Components
from paribus.interventions.schedules import Within, as_schedule
from paribus.interventions.selection import Globs
from paribus.interventions.settings import OptimizerSetting, Training
from paribus.interventions.sites import HyperparameterIntervention, TrainingIntervention


def _hyperparameter(components: Components, name: str) -> object:
    return components["optimizer"][name]


def _training(components: Components, name: str) -> object:
    return getattr(components["training"], name)


@final
@dataclass(frozen=True, init=False)
class SetOptimizer(HyperparameterIntervention):
    """Train with another optimizer, or with other hyperparameters of the same; in a window, while it lasts.

    When the class changes, its own defaults hold for whatever is not given; when it stays, the base
    configuration's values do. What an optimizer of another class has kept is of no use to it: where a window
    changes the class, it starts empty at the window's first step, and so does the old one after the last.

    Attributes:
        optimizer: A ``torch.optim.Optimizer`` subclass; ``None``: the base configuration's.
        hyperparameters: Values by name, as the class spells them.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Raises:
        LevelError: A hyperparameter is unknown to the class (when the grid is read, before training).

    Example:
        >>> SetOptimizer.make_variations(momentum=(0.9, 0.99), lr=lambda lr: (lr / 2, lr)).axes["momentum"]
        (0.9, 0.99)
        >>> import torch
        >>> SetOptimizer(torch.optim.Adam, lr=0.001, when=(100, 200)).span
        (100, 200)
    """

    optimizer: type | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    when: Window | None = None
    stage: ClassVar[int] = 0
    modifies: ClassVar[Mapping[str, Reader]] = {"*": _hyperparameter}

    def __init__(
        self, optimizer: type | None = None, *, when: Window | None = None, **hyperparameters: Any
    ) -> None:
        check_window("SetOptimizer", when)
        object.__setattr__(self, "optimizer", optimizer)
        object.__setattr__(self, "hyperparameters", dict(sorted(hyperparameters.items())))
        object.__setattr__(self, "when", when)

    def edit(self, setting: OptimizerSetting) -> OptimizerSetting:
        """Return the setting with this class, these hyperparameters, or both; parameter groups stay."""
        if self.optimizer is None or self.optimizer is setting.kind:
            return setting.replace(**self.hyperparameters)
        changed = OptimizerSetting.of(self.optimizer, self.hyperparameters)
        for layers, values in setting.groups:
            changed = changed.with_group(layers, dict(values))
        return changed


@final
@dataclass(frozen=True, init=False)
class SetParameterGroup(HyperparameterIntervention):
    """Give some parameters hyperparameters of their own; in a window, while it lasts.

    Of two that mean the same parameter, the one that begins later holds, then the one written later. A
    schedule multiplies each group's own learning rate.

    Attributes:
        layers: Globs over parameters and submodules.
        hyperparameters: Values by name, as the optimizer's class spells them.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Raises:
        LevelError: A hyperparameter is unknown to the class (when the grid is read, before training).

    Example:
        >>> SetParameterGroup(layers="*.bias", weight_decay=0.0).hyperparameters
        {'weight_decay': 0.0}
        >>> len(list(SetParameterGroup.make_variations(layers=("fc1", "fc2"), lr=(0.1, 0.01)).levels({})))
        4
    """

    layers: Globs
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    when: Window | None = None
    stage: ClassVar[int] = 1

    def __init__(self, layers: Globs, *, when: Window | None = None, **hyperparameters: Any) -> None:
        check_window("SetParameterGroup", when)
        object.__setattr__(self, "layers", layers_or_none("SetParameterGroup", layers))
        object.__setattr__(self, "hyperparameters", dict(sorted(hyperparameters.items())))
        object.__setattr__(self, "when", when)

    def edit(self, setting: OptimizerSetting) -> OptimizerSetting:
        """Return the setting with one more group."""
        nothing = not self.layers or not self.hyperparameters
        return setting if nothing else setting.with_group(self.layers, self.hyperparameters)


@final
@dataclass(frozen=True)
class SetSchedule(TrainingIntervention):
    """Train under another schedule of the learning rate; in a window, while it lasts.

    In a window the schedule counts from the window's first step, and the window's length is its total: so
    ``Warmup(steps=10)`` warms up again, and ``Cosine()`` anneals within the window. Outside it, the schedule
    of the run holds as if it had gone on.

    Attributes:
        schedule: ``Cosine()``, ``StepDecay(every=…)``, ``Warmup(steps=…)``, ``Constant()``, a function
            ``factor(step)`` or ``factor(step, total)``.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Raises:
        LevelError: The schedule reads the length of the window, and the window has no end.

    Example:
        >>> from paribus.interventions import Warmup
        >>> SetSchedule(Warmup(steps=10), when=(100, None)).span
        (100, None)
    """

    schedule: object
    when: Window | None = None
    stage: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_window("SetSchedule", self.when)
        schedule = as_schedule(self.schedule)
        if schedule is not None and self.when is not None and not isinstance(schedule, Within):
            start, stop = self.when
            if schedule.reads_total and stop is None:
                raise LevelError(
                    f"SetSchedule: {schedule!r} reads the length of its window, and when={self.when!r} has "
                    "no end; give one, as in when=(100, 200)"
                )
            if start or schedule.reads_total:
                schedule = Within(schedule, start, stop if schedule.reads_total else None)
        object.__setattr__(self, "schedule", schedule)

    def edit(self, setting: Training) -> Training:
        """Return the setting with this schedule."""
        return replace(setting, schedule=self.schedule)  # type: ignore[arg-type]  # read in __post_init__


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

    def edit(self, setting: OptimizerSetting) -> OptimizerSetting:
        """Return the setting with this learning rate or weight decay."""
        return setting.replace(**_given(lr=self.lr, weight_decay=self.weight_decay))


def _given(**values: float | None) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}

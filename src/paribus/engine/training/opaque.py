"""Training that the user's own function does: the engine sees where it starts and what it leaves."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, final

import torch
from torch import nn

from paribus.engine.building.data import Source, drawing_from
from paribus.engine.building.objective import Objective, total
from paribus.engine.building.work import REPORTED
from paribus.engine.learners.configuration import (
    Configuration,
    Event,
    seeds_at,
    setting_at,
    terms_at,
    value_at,
)
from paribus.engine.learners.course import Course
from paribus.engine.training.draws import seed_torch
from paribus.engine.training.observed import ObservedSplit
from paribus.engine.training.state import named_tensors
from paribus.errors import ConfigurationError, LevelError, MetricError
from paribus.identity import derive_seed
from paribus.interventions.settings import OptimizerSetting
from paribus.interventions.sites import SettingIntervention
from paribus.interventions.states import StateIntervention
from paribus.loggers import Logger
from paribus.loggers.values import Value, flatten, merge

Train = Callable[["TrainableLearner"], object]
_COLUMNS = frozenset({"learner", "key", "status", "step", "epoch", "adaptive", "environment"})


@final
@dataclass(frozen=True, eq=False)
class Batches:
    """The training batches of the steps ``[start, stop)``: the same ones each time that they are iterated."""

    source: Source
    course: Course
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[Any]:
        return self.source.training(self.course, self.start, self.stop)


@final
@dataclass(frozen=True, eq=False, repr=False)
class TrainableLearner:
    """A learner in the hands of the user's own training function, ``Experiment(train=…)``.

    What the function leaves in the model and in the optimizer is the learner's final state. The global
    generators of Python, NumPy and torch are seeded from its ``forward`` stream when the function is called.

    Attributes:
        model: Drawn from the ``init`` stream, changed as the interventions say, on the device.
        optimizer: Over its parameters, as configured.
        data: The splits by name: ``data["test"].dataset``, ``len(data["test"])``, ``data["test"].batches()``.
        configuration: Everything that decides the learner's result, besides the function's own code.
        objective: What ``loss`` computes.

    Example:
        >>> import tempfile
        >>> from paribus import Experiment
        >>> from paribus.datasets import blobs
        >>> from paribus.models import MLP
        >>> def fit(learner):
        ...     for step, batch in enumerate(learner.batches(), start=1):
        ...         learner.optimizer.zero_grad()
        ...         loss = learner.loss(batch)
        ...         loss.backward()
        ...         learner.optimizer.step()
        ...         learner.report(step, batch_loss=loss.item())
        >>> exp = Experiment(MLP(2, (8,), 3), blobs(), train=fit, steps=4, store=tempfile.mkdtemp())
        >>> exp.run(progress=False).steps_trained
        4
        >>> exp.frame()["batch_loss"].count()
        4
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    data: Mapping[str, ObservedSplit]
    configuration: Configuration
    objective: Objective
    _taken: Callable[[str], bool]
    _tell: Callable[[int, float], None]
    _reported: dict[int, dict[str, Value]] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """The budget in optimizer steps."""
        return self.configuration.total

    @property
    def epochs(self) -> int:
        """The budget in epochs, the last one perhaps not whole."""
        return math.ceil(self.steps / self.configuration.course.end_of(1))

    @property
    def device(self) -> torch.device:
        """Where the model and its batches are."""
        return torch.device(self.configuration.numerics.device)

    @property
    def seeds(self) -> Mapping[str, int]:
        """The seed of each stream: ``init``, ``order``, ``forward``, ``augment``, ``split``."""
        return dataclasses.asdict(seeds_at(self.configuration, 0))

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the grid sets, by name: `SetOption`, the optimizer's hyperparameters, and ``batch_size``."""
        setting: OptimizerSetting = setting_at(self.configuration, 0)
        batch_size = value_at(self.configuration, "training", 0).batch_size
        options = self.configuration.components["options"].value
        return {**dict(setting.hyperparameters), "batch_size": batch_size, **options}

    def batches(self, epoch: int | None = None) -> Batches:
        """Return training batches in the order of the ``order`` stream, as the engine itself takes them.

        Args:
            epoch: The batches of this epoch, counted from 0; ``None``: those of all steps.
        """
        course = self.configuration.course
        start = course.end_of(epoch) if epoch else 0
        stop = self.steps if epoch is None else min(course.end_of(epoch + 1), self.steps)
        return Batches(self.data["train"].source, course, start, stop)

    def loss(self, batch: Any) -> torch.Tensor:
        """Return the loss of the model on a batch, a scalar tensor; `WeightTerm` weights its terms."""
        return total(self.objective.value(self.model, batch), terms_at(self.configuration, 0))

    def report(self, step: int, /, **values: object) -> None:
        """Record values at a step, as a logger's metrics are; names that are no Python names go in ``**{…}``.

        Args:
            step: Optimizer steps taken, from 0 to ``steps``; never less than in an earlier call.
            **values: What a metric may return: numbers, NaN among them, vectors, mappings of them.

        Raises:
            MetricError: The step is not on the run or goes back, a value is none, or a name is taken.
        """
        last = max(self._reported, default=0)
        if not isinstance(step, Integral) or not last <= step <= self.steps:
            raise MetricError(
                f"report: step={step!r}; expected a whole number from {last}, the last one reported, "
                f"to {self.steps}, the length of the run"
            )
        row = self._reported.setdefault(int(step), {})
        for name, value in values.items():
            for written in (found := flatten(name, value)):
                if self._taken(written):
                    raise MetricError(
                        f"report: {written!r} is a name that the logger or the frame has; choose another"
                    )
            merge(row, found)
        self._tell(int(step), next((value for value in row.values() if isinstance(value, float)), math.nan))

    def __repr__(self) -> str:
        return f"TrainableLearner({self.configuration.key()[:8]}, {self.steps} steps)"


def hand_over(learner: TrainableLearner, train: Train) -> dict[str, Any]:
    """Let the user's function train a learner; return what it reported, as rows by `REPORTED`.

    Raises:
        ConfigurationError: The function returned something, or left another model than it was given.
    """
    before = _shapes(learner.model)
    seed = derive_seed(learner.seeds["forward"], "forward")
    with drawing_from(seed), torch.enable_grad():
        seed_torch(seed, learner.device)
        returned = train(learner)
    if returned is not None:
        raise ConfigurationError(
            f"train: {_name(train)} returned a {type(returned).__name__}, and nothing is made of it; leave "
            "the result in learner.model, and report numbers with learner.report(step, name=value)"
        )
    after = _shapes(learner.model.to(learner.device))
    if after != before:
        changed = next(name for name in [*before, *after] if before.get(name) != after.get(name))
        raise ConfigurationError(
            f"train: {_name(train)} left {changed!r} of the model as {after.get(changed)}, and was given "
            f"{before.get(changed)}; train the parameters in place"
        )
    return {REPORTED: _rows(learner._reported)} if learner._reported else {}


def read_train(train: object, **within: object) -> Train | None:
    """Read ``train=``.

    Args:
        train: A function of a learner, or ``None``.
        **within: Other options that act within runs, by name; ``None`` where they are not given.

    Raises:
        ConfigurationError: It cannot be called with a learner, or stands beside one of those.
    """
    if train is None:
        return None
    for name, given in within.items():
        if given is not None:
            raise ConfigurationError(
                f"Experiment: {name}= acts within runs, and train= hides what is there; give one of the two"
            )
    try:
        if not callable(train) or isinstance(train, type | nn.Module):
            raise TypeError
        inspect.signature(train).bind(None)
    except TypeError:
        raise ConfigurationError(
            f"Experiment: train={train!r}; expected a function of one argument, the learner, that trains "
            "learner.model"
        ) from None
    return train


def check_visible(configuration: Configuration) -> None:
    """Refuse what would have to act inside training that the user's own function does.

    Raises:
        LevelError: An intervention, or the schedule, acts in steps that cannot be seen.
    """
    for event in configuration.timeline:
        if not _acts_outside(event, configuration.total):
            raise LevelError(
                f"{type(event.intervention).__name__}: it acts within training, whose steps train= hides; "
                "make the change in that function, or let it be part of the initial state or of the whole run"
            )
        for read in event.reads:
            if not read.configuration.visible([read.step]):
                raise LevelError(
                    f"{type(event.intervention).__name__}: it reads the state at step {read.step}, and under "
                    f"train= there are those at 0 and {read.configuration.total} alone; read one of these"
                )
    schedule = value_at(configuration, "training", 0).schedule
    if schedule is not None:
        raise LevelError(
            f"schedule: {schedule!r} acts in every step, and train= hides the steps; set the learning rate "
            "in that function"
        )


def _acts_outside(event: Event, total: int) -> bool:
    whole = event.start <= 0 and (event.stop is None or event.stop >= total)
    if isinstance(event.intervention, SettingIntervention):
        return whole
    return isinstance(event.intervention, StateIntervention) and event.start < 0


def taken_names(logger: Logger, splits: Mapping[str, object]) -> Callable[[str], bool]:
    """Return what tells whether a name is one that a metric of the logger records, or a column of frames."""
    owned: list[str] = []
    for metric in logger.metrics():
        over = splits if metric.per_split else [metric.stream] if metric.stream else []
        owned += [f"{split}/{metric.name}" for split in over] or [metric.name]
    return lambda name: name in _COLUMNS or any(f"{name}/".startswith(f"{own}/") for own in owned)


def _rows(reported: Mapping[int, Mapping[str, Value]]) -> dict[str, Any]:
    names = dict.fromkeys(name for row in reported.values() for name in row)
    columns = {name: [row.get(name) for row in reported.values()] for name in names}
    return {"steps": list(reported), "values": columns}


def _shapes(model: nn.Module) -> dict[str, tuple[object, ...]]:
    return {name: (tuple(t.shape), t.dtype) for name, t in named_tensors(model).items()}


def _name(train: Train) -> str:
    return getattr(train, "__name__", None) or type(train).__name__

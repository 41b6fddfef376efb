"""What is recorded while a segment is trained, and the proof that recording changed nothing."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import nn

from paribus.engine.building.data import Source
from paribus.engine.building.work import Task, Work
from paribus.engine.training.draws import seed_torch
from paribus.engine.training.observed import Observed, ObservedSplit
from paribus.engine.training.watch import Watch
from paribus.errors import MetricError
from paribus.identity import derive_seed
from paribus.loggers import Logger, Metric

_OWN = (Logger.loss, Logger.accuracy)


@final
class Recorder:
    """Records the metrics that are due, and makes sure that they changed nothing.

    Attributes:
        rows: For each metric by name, its steps and, by value name, its values.
        broken: For each metric that raised, by name, at which step first and the exception's last line.
        observed: The learner as metrics see it.
    """

    def __init__(
        self,
        task: Task,
        work: Work,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        splits: Mapping[str, Source],
        *,
        drawn: bool,
    ) -> None:
        """Prepare for a task; where its weights were drawn, its first step is recorded too."""
        self.rows: dict[str, Any] = {}
        self.broken: dict[str, str] = {}
        self._strict = work.logger.strict
        self._task = task
        self._held: set[str] = set()
        metrics = {metric.name: metric for metric in work.logger.metrics()}
        self._due: dict[int, list[Metric]] = {}
        for name, steps in task.due.items():
            for step in steps:
                if step > task.start or drawn or task.start == task.stop:
                    self._due.setdefault(step, []).append(metrics[name])
        placed = {name: ObservedSplit(source) for name, source in splits.items()}
        self._watch = Watch(model, optimizer)
        self.observed = Observed(
            model, optimizer, work.objective, task.configuration, placed, watch=self._watch
        )

    @property
    def steps(self) -> Set[int]:
        """The steps at which anything is recorded."""
        return self._due.keys()

    def __call__(self, step: int) -> None:
        """Record what is due at a step.

        Raises:
            MetricError: A metric changed the model or its optimizer.
        """
        due = self._due.get(step)
        if due is None:
            return
        self.observed.at(step)
        with torch.no_grad():
            for metric in due:
                self._watch.begin(trusted=_is_own(metric))
                with self._attempt(metric, step):
                    append_row(self.rows, metric.name, step, self._values(metric))
                if self._watch.sees_a_change():
                    raise MetricError(
                        f"{metric.name}: the metric changed the model or its optimizer; a metric only reads: "
                        "work on copy.deepcopy(learner.model), or put back what was there"
                    )
        self._watch.end()

    @contextmanager
    def _attempt(self, metric: Metric, step: int) -> Iterator[None]:
        """Seed what a metric draws; what it raises fails the metric, and the learner goes on."""
        configuration = self._task.configuration
        seed = derive_seed(configuration.seeds.forward, "metric", metric.name, step)
        seed_torch(seed, torch.device(configuration.numerics.device))
        try:
            yield
        except Exception as error:
            if self._strict:
                raise
            line = "".join(traceback.format_exception_only(error)).strip()
            self.broken.setdefault(metric.name, f"at step {step}: {line}")

    def _values(self, metric: Metric) -> Mapping[str, object]:
        """Compute a metric; one that waits for a condition has no values before, and none after its first.

        Another segment does not know what held in this one, and may record again: readers take the first.
        """
        if metric.condition is None:
            return metric.values(self.observed)
        if metric.name in self._held or not metric.condition(self.observed):
            return {}
        values = metric.values(self.observed)
        if values:
            self._held.add(metric.name)
        return values


def _is_own(metric: Metric) -> bool:
    """Tell whether no code of a user's is run for a metric, beside the model and the objective."""
    return metric.condition is None and getattr(metric.compute, "__func__", None) in _OWN


def append_row(rows: dict[str, Any], metric: str, step: int, values: Mapping[str, object]) -> None:
    """Add what a metric gave at a step: columns of equal length, ``None`` where a name was absent."""
    entry = rows.setdefault(metric, {"steps": [], "values": {}})
    entry["steps"].append(step)
    length = len(entry["steps"])
    for name, value in values.items():
        column = entry["values"].setdefault(name, [])
        column.extend([None] * (length - 1 - len(column)))
        column.append(value)
    for column in entry["values"].values():
        column.extend([None] * (length - len(column)))

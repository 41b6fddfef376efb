"""What is recorded while a segment is trained, and the proof that recording changed nothing."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import nn

from paribus.engine.building.data import Source
from paribus.engine.building.work import Task, Work
from paribus.engine.training.draws import seed_torch
from paribus.engine.training.observed import Observed, ObservedSplit
from paribus.engine.training.state import bits_of, same_bits
from paribus.errors import MetricError
from paribus.identity import derive_seed
from paribus.loggers import Metric


@final
class Recorder:
    """Records the metrics that are due, and makes sure that they changed nothing.

    Attributes:
        rows: For each metric by name, its steps and, by value name, its values.
        broken: For each metric that raised, by name, at which step first and the exception's last line.
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
        self._observed = Observed(model, optimizer, work.objective, task.configuration, placed)

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
        self._observed.at(step)
        watch = _Watch(self._observed.model, self._observed.optimizer)
        with torch.no_grad():
            for metric in due:
                watch.evaluate()
                with self._attempt(metric, step):
                    append_row(self.rows, metric.name, step, self._values(metric))
                if watch.sees_a_change():
                    raise MetricError(
                        f"{metric.name}: the metric changed the model or its optimizer; a metric only reads: "
                        "work on copy.deepcopy(learner.model), or put back what was there"
                    )
        self._observed.model.train()

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
            return metric.values(self._observed)
        if metric.name in self._held or not metric.condition(self._observed):
            return {}
        values = metric.values(self._observed)
        if values:
            self._held.add(metric.name)
        return values


@final
class _Watch:
    """Sees whether a metric leaves what the next step starts from as it is."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model = model
        self._optimizer = optimizer
        self._modules = list(model.modules())
        self._training: list[bool] = []
        self._settings, self._bits = self._seen()

    def evaluate(self) -> None:
        """Let the model evaluate, as it does already unless a metric left it otherwise."""
        if not self._training or self._training != [module.training for module in self._modules]:
            self._model.eval()
            self._training = [module.training for module in self._modules]

    def sees_a_change(self) -> bool:
        """Tell whether anything is not what it was at first."""
        settings, bits = self._seen()
        return (
            settings != self._settings
            or len(bits) != len(self._bits)
            or not all(map(same_bits, bits, self._bits))
        )

    def _seen(self) -> tuple[object, list[torch.Tensor]]:
        """Return settings, and the content of tensors: their versions do not see ``.data``."""
        # Torch's own walks over a model take longer than a small one's step.
        parts = [part for module in self._modules for part in module._modules.values()]
        trained = _tensors(module._parameters for module in self._modules)
        buffers = _tensors(module._buffers for module in self._modules)
        groups = [{n: v for n, v in group.items() if n != "params"} for group in self._optimizer.param_groups]
        settings = [id(each) for each in (*parts, *trained)], [p.requires_grad for p in trained], groups
        return settings, bits_of([*trained, *buffers, *_tensors(self._optimizer.state.values())])


def _tensors(entries: Iterable[Mapping[Any, Any]]) -> list[torch.Tensor]:
    return [value for each in entries for value in each.values() if isinstance(value, torch.Tensor)]


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

"""The training of one segment: a pure function of the task, the work and the state it starts from."""

from __future__ import annotations

import math
import random
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch

from paribus.engine.architecture import blank_model, build_model
from paribus.engine.configuration import setting_at
from paribus.engine.data import other_generators, preserved_draws
from paribus.engine.model import torch_dtype
from paribus.engine.objective import check_loss
from paribus.engine.observed import Observed, ObservedSplit
from paribus.engine.preparation import prepared
from paribus.engine.sites import Sites
from paribus.engine.state import (
    State,
    bits_of,
    capture,
    make_optimizer,
    named_tensors,
    restore,
    same_bits,
)
from paribus.engine.work import Outcome, Task, Work
from paribus.errors import MetricError, StoreError
from paribus.identity import derive_seed
from paribus.interventions.settings import Numerics
from paribus.interventions.sites import WeightsIntervention
from paribus.loggers import Metric

if TYPE_CHECKING:
    from paribus.engine.journal import Saver

Progress = Callable[[int], None]
_REPORT_SECONDS = 0.1


def train(
    task: Task,
    work: Work,
    state: State | None,
    progress: Progress = lambda step: None,
    saver: Saver | None = None,
) -> tuple[State | None, Outcome]:
    """Train one segment.

    Args:
        task: The segment.
        work: What all learners share.
        state: The state at ``task.start``; ``None`` where weights are drawn.
        progress: Called now and then with the step reached.
        saver: Saves the progress of a long segment; ``None``: nothing is saved before its end.

    Returns:
        The state at ``task.stop`` where the segment is done, and the outcome. An exception of the user's code
        is an outcome too, with its traceback; an interrupt is not.

    Raises:
        StoreError: Progress cannot be saved.
    """
    began = time.perf_counter()
    try:
        with numerics(task.configuration.numerics), preserved_draws():
            try:
                run = _Run(task, work, state)
                status = run.walk(progress, saver)
            except _LateDraw:
                run = _Run(task, work, state, draws_late=True)
                status = run.walk(progress, saver)
            end = capture(run.step, run.model, run.optimizer) if status == "done" else None
    except StoreError:  # a full disk is no failure of the learner
        raise
    except Exception as error:
        line = "".join(traceback.format_exception_only(error)).strip()
        seconds = time.perf_counter() - began
        return None, Outcome(task.key, "failed", task.start, {}, False, seconds, line, traceback.format_exc())
    finite = end is not None and end.finite
    return end, Outcome(task.key, status, run.step, run.rows, finite, time.perf_counter() - began)


@final
class _Run:
    """The moving parts of one segment."""

    def __init__(self, task: Task, work: Work, state: State | None, *, draws_late: bool = False) -> None:
        self.task = task
        self.configuration = task.configuration
        self.device = torch.device(self.configuration.numerics.device)
        self.dtype = torch_dtype(self.configuration.numerics.dtype)
        self.objective = work.objective
        self.splits = {
            name: source.placed(self.device, self.dtype)
            for name, source in prepared(work, self.configuration).items()
        }
        make = build_model if state is None else blank_model
        self.model = make(work, self.configuration)
        self.setting = setting_at(self.configuration, task.start)
        self.optimizer = make_optimizer(self.model, self.configuration.optimizer)
        if state is not None:
            restore(state, self.model, self.optimizer)
        if state is None or task.start < task.stop:
            self._perturb(-1 if state is None else task.start)
        active = [event.intervention for event in self.configuration.active(task.start)]
        self.sites = Sites(active, self.model, self.optimizer)
        self.step = task.start
        self.rows: dict[str, Any] = {}
        self._draws = _Draws(self.device, always=draws_late)
        metrics = {metric.name: metric for metric in work.logger.metrics()}
        self._record = _Recorder(self, work, metrics, state is None)

    def walk(self, progress: Progress, saver: Saver | None) -> str:
        """Train from start to stop; return ``done`` or ``diverged``."""
        task, seeds = self.task, self.configuration.seeds
        group_values = dict(self.setting.hyperparameters)
        for group in self.optimizer.param_groups:
            group.update({name: value for name, value in group_values.items() if name in group})
        batches = self.splits["train"].training(
            seeds, self.configuration.training.batch_size, task.start, task.stop
        )
        reported = time.perf_counter()
        self._record(task.start)
        with self.sites.hooked():
            for step, batch in zip(range(task.start, task.stop), batches, strict=True):
                if not self._advance(step, batch):
                    return "diverged"
                self.step = step + 1
                self._record(step + 1)
                now = time.perf_counter()
                if now - reported > _REPORT_SECONDS:
                    progress(step + 1)
                    reported = now
                    if saver is not None and saver.due and self.step < task.stop:
                        self._save(saver)
        self._draws.check()
        return "done"

    def _advance(self, step: int, batch: Any) -> bool:
        """Take one optimizer step; tell whether the loss was finite, and take none where it was not."""
        self._schedule(step)
        self.sites.change_buffers(step)
        batch = self.sites.changed_batch(batch, step)
        with (
            self._draws.of(derive_seed(self.configuration.seeds.forward, "forward", step)),
            self.sites.forward(step),
        ):
            loss = self.objective.loss(self.model, batch)
        if not isinstance(loss, torch.Tensor) or loss.ndim != 0:
            check_loss(loss)
        if not math.isfinite(loss.item()):
            return False
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.sites.change_gradients(step)
        self.optimizer.step()
        return True

    def _save(self, saver: Saver) -> None:
        self._draws.check()
        state = capture(self.step, self.model, self.optimizer)
        key = self.configuration.key(self.step)
        saver.save(state, Outcome(key, "done", self.step, self.rows, state.finite))

    def _schedule(self, step: int) -> None:
        schedule = self.configuration.training.schedule
        if schedule is None:
            return
        factor = schedule.factor(step, self.configuration.total)
        for group in self.optimizer.param_groups:
            group["lr"] = self.setting["lr"] * factor

    def _perturb(self, start: int) -> None:
        """Apply the changes of weights that happen once, at this start."""
        with torch.no_grad():
            for event in self.configuration.timeline:
                if event.start == start and isinstance(event.intervention, WeightsIntervention):
                    event.intervention.edit(dict(self.model.named_parameters()))


@final
class _Recorder:
    """Records the metrics that are due, and makes sure that they changed nothing."""

    def __init__(self, run: _Run, work: Work, metrics: Mapping[str, Metric], first: bool) -> None:
        self._run = run
        self._logger = work.logger
        self._seed = run.configuration.seeds.forward
        self._due: dict[int, list[Metric]] = {}
        for name, steps in run.task.due.items():
            for step in steps:
                if step > run.task.start or first or run.task.start == run.task.stop:
                    self._due.setdefault(step, []).append(metrics[name])
        splits = {name: ObservedSplit(source) for name, source in run.splits.items()}
        self._observed = Observed(run.model, run.optimizer, work.objective, run.configuration, splits)

    def __call__(self, step: int) -> None:
        due = self._due.get(step)
        if due is None:
            return
        before = bits_of(self._tensors()), self._settings()
        self._observed.at(step)
        self._run.model.eval()
        with torch.no_grad():
            for metric in due:
                _seed_torch(derive_seed(self._seed, "metric", metric.name, step), self._run.device)
                append_row(self._run.rows, metric.name, step, self._logger.record(self._observed, [metric]))
                if self._settings() != before[1] or not same_bits(bits_of(self._tensors()), before[0]):
                    raise MetricError(
                        f"{metric.name}: the metric changed the model or its optimizer; a metric only reads: "
                        "work on copy.deepcopy(learner.model), or put back what was there"
                    )
        self._run.model.train()

    def _tensors(self) -> list[torch.Tensor]:
        """What the next step starts from. Its content counts: versions of tensors do not see ``.data``."""
        entries = (e for of_one in self._run.optimizer.state.values() for e in of_one.values())
        kept = [entry for entry in entries if isinstance(entry, torch.Tensor)]
        return [*named_tensors(self._run.model).values(), *kept]

    def _settings(self) -> object:
        groups = self._run.optimizer.param_groups
        learns = [parameter.requires_grad for parameter in self._run.model.parameters()]
        return learns, [{n: v for n, v in group.items() if n != "params"} for group in groups]


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


@contextmanager
def numerics(setting: Numerics) -> Iterator[None]:
    """Hold what decides bits besides the inputs, and put it back."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only, dtype = torch.is_deterministic_algorithms_warn_only_enabled(), torch.get_default_dtype()
    torch.set_num_threads(setting.threads)
    torch.use_deterministic_algorithms(setting.deterministic)
    torch.set_default_dtype(torch_dtype(setting.dtype))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.set_default_dtype(dtype)


class _LateDraw(Exception):  # noqa: N818  # no error: a reason to train again
    """A model drew from Python's or NumPy's generator in a later step, and not in the first."""


@final
class _Draws:
    """Seeds the generators that a model draws from in a step.

    Python's and NumPy's take a while to seed beside a small model's step: they are seeded in the first step,
    and after it only if that step drew from them. Where a later one does, the segment is trained again with
    all of them seeded: the bits must not depend on where segments are cut.
    """

    def __init__(self, device: torch.device, *, always: bool) -> None:
        self._device = device
        self._others: bool | None = True if always else None
        self._unmoved: object = None

    @contextmanager
    def of(self, seed: int) -> Iterator[None]:
        _seed_torch(seed, self._device)
        if self._others is not False:
            random.seed(seed)
            np.random.seed(seed % 2**32)
        before = other_generators() if self._others is None else None
        yield
        if before is not None:
            self._unmoved = other_generators()
            self._others = self._unmoved != before

    def check(self) -> None:
        """Raise where a step drew from a generator that was not seeded for it."""
        if self._others is False and other_generators() != self._unmoved:
            raise _LateDraw


def _seed_torch(seed: int, device: torch.device) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)

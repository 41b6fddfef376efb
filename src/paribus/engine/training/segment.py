"""The training of one segment: a pure function of the task, the work and the state it starts from."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

import torch

from paribus.engine.building.architecture import blank_model, build_model
from paribus.engine.building.data import preserved_draws
from paribus.engine.building.model import torch_dtype
from paribus.engine.building.objective import check_loss, total
from paribus.engine.building.optimizer import optimizer_at, starts_empty
from paribus.engine.building.preparation import prepared
from paribus.engine.building.work import Outcome, Task, Work
from paribus.engine.learners.configuration import seeds_at, setting_at, terms_at, value_at
from paribus.engine.training.changes import Constraints, Given, begin
from paribus.engine.training.device import check_here
from paribus.engine.training.draws import Draws, LateDraw, preserved_draws_on
from paribus.engine.training.observed import ObservedSplit
from paribus.engine.training.opaque import Train, TrainableLearner, hand_over, taken_names
from paribus.engine.training.recording import Recorder
from paribus.engine.training.sites import Sites
from paribus.engine.training.state import Kept, State, capture, kept_in, restore
from paribus.errors import StoreError
from paribus.identity import derive_seed
from paribus.interventions.settings import Numerics, Training

if TYPE_CHECKING:
    from paribus.engine.training.journal import Saver

Progress = Callable[[int, float], None]
_REPORT_SECONDS = 0.1


def train(
    task: Task,
    work: Work,
    state: State | None,
    progress: Progress = lambda step, loss: None,
    saver: Saver | None = None,
    inputs: Mapping[str, State] | None = None,
    run: Run | None = None,
) -> tuple[State | None, Outcome]:
    """Train one segment.

    Args:
        task: The segment.
        work: What all learners share.
        state: The state at ``task.start``; ``None`` where weights are drawn.
        progress: Called now and then with the step reached and the loss there.
        saver: Saves the progress of a long segment; ``None``: nothing is saved before its end.
        inputs: The states of other trajectories that it reads, by key.
        run: The segment where it was begun; ``None``: it is begun here.

    Returns:
        The state at ``task.stop`` where the segment is done, and the outcome. An exception of the user's code
        is an outcome too, with its traceback; an interrupt is not.

    Raises:
        StoreError: Progress cannot be saved.
    """
    began = time.perf_counter()
    try:
        with numerics(task.configuration.numerics):
            try:
                run = run or Run(task, work, state, inputs or {})
                status = run.walk(progress, saver)
            except LateDraw:
                run = Run(task, work, state, inputs or {}, draws_late=True)
                status = run.walk(progress, saver)
            end = run.capture() if status == "done" else None
    except StoreError:  # a full disk is no failure of the learner
        raise
    except Exception as error:
        return None, failed(task, error, time.perf_counter() - began)
    return end, run.outcome(status, end, time.perf_counter() - began)


def failed(task: Task, error: Exception, seconds: float) -> Outcome:
    """Return the outcome of a task that raised."""
    line = "".join(traceback.format_exception_only(error)).strip()
    told = "".join(traceback.format_exception(error))
    return Outcome(task.key, "failed", task.start, {}, False, seconds, line, told)


@final
class Run:
    """The moving parts of one segment."""

    def __init__(
        self,
        task: Task,
        work: Work,
        state: State | None,
        inputs: Mapping[str, State],
        *,
        draws_late: bool = False,
    ) -> None:
        self.task = task
        self.configuration = task.configuration
        self.device = torch.device(self.configuration.numerics.device)
        self.dtype = torch_dtype(self.configuration.numerics.dtype)
        self.objective = work.objective
        self._logger, self._train = work.logger, work.train
        self.splits = {
            name: source.placed(self.device, self.dtype)
            for name, source in prepared(work, self.configuration).items()
        }
        make = build_model if state is None else blank_model
        self.model = make(work, self.configuration)
        trains = task.start < task.stop
        at = task.start if trains else task.start - 1  # what is only looked at is as the step before left it
        self.optimizer = optimizer_at(self.model, self.configuration, at)
        self.rates = [group.get("lr") for group in self.optimizer.param_groups]
        training: Training = value_at(self.configuration, "training", at)
        self.factor_of = training.schedule
        kept: Kept = {}
        if state is not None:
            fresh = trains and starts_empty(self.configuration, at)
            restore(state, self.model, self.optimizer, model_only=fresh)
            kept = kept_in(state, self.device)
        if trains or state is None:
            given = Given(work, self.configuration, inputs)
            start = -1 if state is None else at
            self.constraints = begin(start, self.configuration, self.model, self.optimizer, kept, given)
        else:
            self.constraints = Constraints(self.model, kept)
            self.schedule(at)
        active = [event.intervention for event in self.configuration.active(task.start)]
        self.seeds = seeds_at(self.configuration, task.start)
        self.sites = Sites(active, self.model, self.optimizer, self.seeds.augment)
        self.terms = terms_at(self.configuration, task.start)
        self.step, self.loss = task.start, math.nan
        self._begun, self._reported = False, time.perf_counter()
        self.draws = Draws(self.device, always=draws_late)
        self.record = Recorder(task, work, self.model, self.optimizer, self.splits, drawn=state is None)

    def walk(self, progress: Progress, saver: Saver | None, stop: int | None = None) -> str:
        """Train from where it is to a step, or to the end; return ``done`` or ``diverged``."""
        if self._train is not None:
            return self._hand_over(self._train, progress)
        self.begin()
        steps = range(self.step, self.task.stop if stop is None else stop)
        with self.sites.hooked():
            for step, batch in zip(steps, self.batches(), strict=False):
                if not self.advance(step, batch):
                    return "diverged"
                self.reached(step + 1, progress, saver)
        self.draws.check()
        return "done"

    def batches(self) -> Iterator[Any]:
        """Yield the batch of each step to come."""
        return self.splits["train"].training(self.configuration.course, self.step, self.task.stop)

    @property
    def tells(self) -> bool:
        """Whether how far it is was not told for a while."""
        return time.perf_counter() - self._reported > _REPORT_SECONDS

    def begin(self) -> None:
        """Record what is due at the start, once."""
        if not self._begun:
            self._begun = True
            self.record(self.step)

    def reached(self, step: int, progress: Progress, saver: Saver | None) -> None:
        """Record what is due after a step, and now and then tell of it and save it."""
        self.step = step
        self.record(step)
        if self.tells:
            progress(step, self.loss)
            self._reported = time.perf_counter()
            if saver is not None and saver.due and step < self.task.stop:
                self.save(saver)

    def _hand_over(self, train: Train, progress: Progress) -> str:
        """Let the user's own function train from start to stop; return ``done``."""
        self.record(self.task.start)
        if self.task.start < self.task.stop:
            taken = taken_names(self._logger, self.splits)
            data = {name: ObservedSplit(source) for name, source in self.splits.items()}
            learner = TrainableLearner(
                self.model, self.optimizer, data, self.configuration, self.objective, taken, progress
            )
            self.record.rows.update(hand_over(learner, train))
            self.step = self.task.stop
            self.record(self.step)
        return "done"

    def advance(self, step: int, batch: Any) -> bool:
        """Take one optimizer step; tell whether the loss was finite, and take none where it was not."""
        self.schedule(step)
        self.sites.change_buffers(step)
        batch = self.sites.changed_batch(batch, step)
        with (
            self.draws.of(derive_seed(self.seeds.forward, "forward", step)),
            self.sites.forward(step),
        ):
            loss = total(self.objective.value(self.model, batch), self.terms)
        if not isinstance(loss, torch.Tensor) or loss.ndim != 0:
            check_loss(loss)
        self.loss = loss.item()
        if not math.isfinite(self.loss):
            return False
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.sites.change_gradients(step)
        self.optimizer.step()
        self.constraints.hold()
        return True

    def capture(self) -> State:
        """Return the state as it is."""
        return capture(self.step, self.model, self.optimizer, self.constraints.kept)

    def outcome(self, status: str, end: State | None, seconds: float) -> Outcome:
        """Return what became of the segment."""
        finite = end is not None and end.finite
        rows, broken = self.record.rows, self.record.broken
        return Outcome(self.task.key, status, self.step, rows, finite, seconds, broken=broken)

    def save(self, saver: Saver) -> None:
        """Save it as it is.

        Raises:
            StoreError: It cannot be saved.
        """
        self.draws.check()
        state = self.capture()
        key = self.configuration.key(self.step)
        saver.save(state, Outcome(key, "done", self.step, self.record.rows, state.finite))

    def schedule(self, step: int) -> None:
        """Set the learning rates of a step."""
        if self.factor_of is None:
            return
        factor = self.factor_of.factor(step, self.configuration.total)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = (setting_at(self.configuration, step)["lr"] if rate is None else rate) * factor


@contextmanager
def numerics(setting: Numerics) -> Iterator[None]:
    """Hold what decides bits besides the inputs; put it back, and the global generators, too.

    Raises:
        ConfigurationError: This machine does not have the device.
    """
    check_here(setting.device)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(setting.threads)
    torch.use_deterministic_algorithms(setting.deterministic)
    try:
        with quick_numerics(setting):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


@contextmanager
def quick_numerics(setting: Numerics) -> Iterator[None]:
    """Hold what decides which operations a step calls; put it back, and the global generators, too.

    To ask for deterministic kernels costs torch seconds of imports, once a process.
    """
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch_dtype(setting.dtype))
    try:
        with preserved_draws(), preserved_draws_on(torch.device(setting.device)):
            yield
    finally:
        torch.set_default_dtype(dtype)

"""Any point of any run: stored states, and replays of what lies between them."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import nn

from paribus import markup
from paribus.engine.building.architecture import blank_model
from paribus.engine.building.optimizer import optimizer_at
from paribus.engine.building.work import Task, Work
from paribus.engine.learners.configuration import Configuration
from paribus.engine.learners.reads import reads_at
from paribus.engine.planning.known import Known
from paribus.engine.training.device import at_hand
from paribus.engine.training.segment import train
from paribus.engine.training.state import State, restore
from paribus.errors import ConfigurationError, CorruptObjectError, ExecutionError
from paribus.store import Store

_HELD = 32


@final
@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A learner at a step.

    Attributes:
        model: The model, the caller's own.
        optimizer: Its optimizer, state included.
        step: Optimizer steps taken.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int

    def _repr_html_(self) -> str:
        count = sum(parameter.numel() for parameter in self.model.parameters())
        told = {"model": f"{type(self.model).__name__}, {count:,} parameters"}
        return markup.titled(
            f"Checkpoint at step {self.step:,}", markup.pairs({**told, "optimizer": self.optimizer})
        )


@final
class Replayer:
    """Gives any learner at any step: from the store, or replayed from the nearest state before it.

    Args:
        work: What all learners share.
        store: Where states are.
        known: What the store holds of the trajectories.
    """

    def __init__(self, work: Work, store: Store, known: Known) -> None:
        self._work = work
        self._store = store
        self._known = known
        self._states = known.states
        # Learners are asked for at one step after another, and share controls.
        self._held: OrderedDict[str, State] = OrderedDict()
        self._steps_held: dict[bytes, set[int]] = {}
        self.replayed = 0

    def at(self, configuration: Configuration, step: int) -> Checkpoint:
        """Return a learner at a step.

        Args:
            configuration: The learner.
            step: Optimizer steps taken, from 0 to the learner's total.

        Raises:
            ConfigurationError: The step is not on the run.
            ExecutionError: The replay failed or diverged before the step.
        """
        if not 0 <= step <= configuration.total:
            raise ConfigurationError(
                f"checkpoint: step={step} is not on this run; expected 0 to {configuration.total}"
            )
        if not configuration.visible([step]):
            raise ConfigurationError(
                f"checkpoint: step={step} is inside training that train= hides; expected 0 or "
                f"{configuration.total}"
            )
        return _assembled(at_hand(configuration), self._work, self._state(configuration, step))

    def _state(self, configuration: Configuration, step: int) -> State:
        start, state = self._nearest(configuration, step)
        if state is None or start < step:
            self.replayed += 1
            state = replay(configuration, step, self._work, start, state, self._state)
        self._hold(configuration, state)
        return state

    def _nearest(self, configuration: Configuration, step: int) -> tuple[int, State | None]:
        """Return the latest sound state up to a step."""
        family = configuration.family
        known = {*self._known.stops(family), *self._steps_held.get(family, ())}
        for stop in sorted((s for s in known if s <= step), reverse=True):
            key = configuration.key(stop)
            if key in self._held:
                return stop, self._held[key]
            if key in self._states:
                try:
                    return stop, State.from_bytes(self._store.get(self._states[key]))
                except CorruptObjectError as error:
                    warnings.warn(f"{error}; the state at step {stop} is computed again", stacklevel=4)
        return 0, None

    def _hold(self, configuration: Configuration, state: State) -> None:
        self._held[configuration.key(state.step)] = state
        self._steps_held.setdefault(configuration.family, set()).add(state.step)
        while len(self._held) > _HELD:
            self._held.popitem(last=False)


def replay(
    configuration: Configuration,
    stop: int,
    work: Work,
    start: int = 0,
    state: State | None = None,
    read: Callable[[Configuration, int], State] | None = None,
) -> State:
    """Train a learner to a step once more, and write nothing.

    Args:
        configuration: The learner.
        stop: The step to reach.
        work: What all learners share.
        start: The step to start from.
        state: The state there; ``None`` where weights are drawn.
        read: Gives the states of other trajectories that the learner reads; ``None``: they are replayed too.

    Raises:
        ExecutionError: The replay failed or diverged before the step.
    """
    read = read or _from_the_start(work)
    for edge in [*(edge for edge in configuration.edges() if start < edge < stop), stop]:
        if edge > start or state is None:
            state = _replayed(configuration, start, edge, work, state, read)
            start = edge
    assert state is not None  # the last edge is the stop, so there is one
    return state


def _from_the_start(work: Work) -> Callable[[Configuration, int], State]:
    """Return what replays each state that is asked for, once."""
    held: dict[str, State] = {}

    def read(configuration: Configuration, step: int) -> State:
        key = configuration.key(step)
        if key not in held:
            held[key] = replay(configuration, step, work, read=read)
        return held[key]

    return read


def _replayed(
    configuration: Configuration,
    start: int,
    stop: int,
    work: Work,
    state: State | None,
    read: Callable[[Configuration, int], State],
) -> State:
    parent = None if state is None else configuration.key(start)
    begins = reads_at(configuration, -1 if state is None and stop == 0 else start, drawn=state is None)
    inputs = {key: read(each.configuration, each.step) for key, each in begins.items()}
    task = Task(configuration.key(stop), parent, start, stop, configuration, {})
    end, outcome = train(task, work, state, inputs=inputs)
    if end is None:
        what = outcome.error or f"the run diverged at step {outcome.step}"
        raise ExecutionError(f"replay: step {stop} cannot be reached: {what}")
    return end


def _assembled(configuration: Configuration, work: Work, state: State) -> Checkpoint:
    model = blank_model(work, configuration)
    optimizer = optimizer_at(model, configuration, state.step - 1)
    restore(state, model, optimizer)
    return Checkpoint(model, optimizer, state.step)

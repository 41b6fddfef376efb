"""Any point of any run: stored states, and replays of what lies between them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import nn

from paribus.engine.configuration import Configuration
from paribus.engine.model import torch_dtype
from paribus.engine.state import State, restore
from paribus.engine.training import make_optimizer, train
from paribus.engine.work import Task, Work
from paribus.errors import ConfigurationError, CorruptObjectError, ExecutionError
from paribus.store import Store


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


def checkpoint(
    configuration: Configuration,
    step: int,
    work: Work,
    store: Store,
    states: Mapping[str, str],
    stops: Sequence[int],
) -> Checkpoint:
    """Return a learner at a step: from the store, or replayed from the nearest stored state before it.

    Args:
        configuration: The learner.
        step: Optimizer steps taken, from 0 to the learner's total.
        work: What all learners share.
        store: Where states are.
        states: Digests of the stored states by key.
        stops: Steps at which the store holds states of the family.

    Raises:
        ConfigurationError: The step is not on the run.
        ExecutionError: The replay failed or diverged before the step.
    """
    if not 0 <= step <= configuration.total:
        raise ConfigurationError(
            f"checkpoint: step={step} is not on this run; expected 0 to {configuration.total}"
        )
    known = [s for s in sorted(stops, reverse=True) if s <= step and configuration.key(s) in states]
    state, start = _nearest({s: states[configuration.key(s)] for s in known}, store)
    for stop in [*(edge for edge in configuration.edges() if start < edge < step), step]:
        if stop > start or state is None:
            state = _replayed(configuration, start, stop, work, state)
            start = stop
    return _assembled(configuration, work, state)


def _nearest(digests: Mapping[int, str], store: Store) -> tuple[State | None, int]:
    """Return the first of some states that is sound, and its step."""
    for step, digest in digests.items():
        try:
            return State.from_bytes(store.get(digest)), step
        except CorruptObjectError as error:
            warnings.warn(f"{error}; the state at step {step} is computed again", stacklevel=4)
    return None, 0


def _replayed(configuration: Configuration, start: int, stop: int, work: Work, state: State | None) -> State:
    parent = None if state is None else configuration.key(start)
    end, outcome = train(Task(configuration.key(stop), parent, start, stop, configuration, {}), work, state)
    if end is None:
        what = outcome.error or f"the run diverged at step {outcome.step}"
        raise ExecutionError(f"checkpoint: step {stop} cannot be reached: {what}")
    return end


def _assembled(configuration: Configuration, work: Work, state: State | None) -> Checkpoint:
    numerics = configuration.numerics
    model = work.model.blank().to(torch.device(numerics.device), torch_dtype(numerics.dtype)).train()
    optimizer = make_optimizer(model, configuration.optimizer)
    if state is not None:
        restore(state, model, optimizer)
    return Checkpoint(model, optimizer, 0 if state is None else state.step)

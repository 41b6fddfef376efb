"""Small experiments to try promises on, importable by worker processes."""

from __future__ import annotations

import os
import re
import signal
from multiprocessing import current_process
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paribus import Experiment, Logger
from paribus.datasets import blobs
from paribus.engine.building.work import Work
from paribus.engine.learners.configuration import Configuration
from paribus.engine.running.run import Summary
from paribus.engine.training.checkpoint import replay
from paribus.engine.training.state import State
from paribus.interventions import InitWeights, PerturbMomentum, PerturbWeights
from paribus.models import MLP
from paribus.store import Store

POINTS = blobs(n=64, features=4)  # 48 to train: 3 steps of 16
QUIET = Logger(defaults=False)


class Stochastic(nn.Sequential):
    """A model with all that makes a state: buffers that move, draws in the forward pass."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))


DRIVER = "PARIBUS_TEST_DRIVER"


def in_agent() -> bool:
    """Tell whether this is no driver: by its name, or since the driver wrote another number down."""
    here = str(os.getpid())
    return current_process().name != "MainProcess" or os.environ.get(DRIVER, here) != here


class Deadly(nn.Module):
    """Kills the agent that trains it, once: the first that takes the flag away."""

    def __init__(self, flag: str) -> None:
        super().__init__()
        self.flag = flag
        self.body = Stochastic()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training and in_agent() and taken(self.flag):
            os.kill(os.getpid(), signal.SIGKILL)
        return self.body(inputs)


class FailsFrom(nn.Module):
    """Fails in training when its first weight is on one side of zero: for some seeds of InitWeights."""

    def __init__(self) -> None:
        super().__init__()
        self.body = MLP(4, (8,), 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training and self.body.fc2.bias.grad is None and self.body.fc1.weight[0, 0] < 0:
            raise RuntimeError("this one cannot be trained")
        return self.body(inputs)


def taken(flag: str) -> bool:
    """Take a flag away; tell whether it was this call that did."""
    try:
        os.unlink(flag)
    except FileNotFoundError:
        return False
    return True


def experiment(store: Path | str | Store, interventions: Any = (), **options: Any) -> Experiment:
    settings: dict[str, Any] = {"dataset": POINTS, "batch_size": 16}
    if "model" not in options:
        settings["model"] = MLP(4, (8,), 3)
    if "epochs" not in options:
        settings["steps"] = 6
    return Experiment(interventions=interventions, store=store, **(settings | options))


def run(exp: Experiment, executor: str = "serial", **options: Any) -> Summary:
    return exp.run(executor, progress=False, **options)


def forked() -> list[Any]:
    """Two trunks, forks at windows and a perturbation in the middle."""
    return [
        InitWeights.make_variations(seed=range(2)),
        PerturbMomentum.make_variations(momentum=(0.9, 0.5, 0.0), when=((0, 2), (4, 6))),
        PerturbWeights(epsilon=0.1, step=3),
    ]


def states(exp: Experiment) -> list[bytes]:
    """The bytes of every learner's last state."""
    stored = exp.plan().states
    return [exp.store.get(stored[learner.key]) for learner in exp]


def trained(work: Work, configuration: Configuration, edges: list[int] | None = None) -> State:
    """Train a configuration as it is, in one process, without store and plan."""
    state, start = None, 0
    for stop in edges or configuration.edges():
        state, start = replay(configuration, stop, work, start, state), stop
    assert state is not None
    return state


# Not in the code that is fingerprinted: interrupted or not, the key is one.
CALLS, KILL = "PARIBUS_TEST_CALLS", "PARIBUS_TEST_KILL"


def interruptible(model: nn.Module, batch: Any) -> torch.Tensor:
    """Cross-entropy; `CALLS` counts training steps down to an interrupt, or to a kill -9."""
    if model.training:
        left = int(os.environ.get(CALLS, "0")) - 1
        os.environ[CALLS] = str(left)
        if left == 0 and KILL in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        if left == 0:
            raise KeyboardInterrupt
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def counted(model: nn.Module, batch: Any) -> torch.Tensor:
    """Cross-entropy; `CALLS` counts the training steps."""
    if model.training:
        os.environ[CALLS] = str(int(os.environ.get(CALLS, "0")) + 1)
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def written(value: object) -> str:
    """Write a case as the name of a test: without addresses, so that it is one in every process."""
    return re.sub(r"<function (?:\S+\.)?(\S+) at 0x\w+>", r"\1", str(value))

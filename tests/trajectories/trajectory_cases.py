"""Drivers in processes of their own, killed for real at chosen instants."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import current_process, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import nn

import paribus.experiment
from learning_cases import CALLS, Stochastic, experiment, forked, run, states, taken
from paribus import Experiment, Logger, register_metric
from paribus.engine import training
from paribus.engine.state import State
from paribus.store import verify

TESTS = Path(__file__).parent.parent
tree = partial(experiment, interventions=forked()[1:], model=Stochastic(), steps=10)


def results(exp: Experiment) -> tuple[list[bytes], Any]:
    """All that must be equal: the bytes of the last states, and every row of metrics."""
    return states(exp), exp.frame().to_dicts()


def finishes(store: Path, reference: Experiment) -> None:
    """Check that a rerun finishes what was cut short, to the bit, and leaves nothing behind."""
    exp = tree(store)
    plan = exp.plan()
    summary = run(exp)
    assert not summary.failed
    assert summary.steps_trained == plan.steps_to_train
    assert results(exp) == results(reference)
    assert run(tree(store)).steps_trained == 0
    assert verify(exp.store).sound
    assert is_free(exp)


def is_free(exp: Experiment) -> bool:
    """Whether whatever is still claimed is done: its owner died between the commit and the giving back."""
    return exp.store.claims.live().keys() <= exp.store.statuses(exp.store.claims.live()).keys()


def save_at_each_step() -> None:
    """Look at each step whether progress is to be saved, which otherwise happens ten times a second."""
    training._REPORT_SECONDS = -1.0


def drive(store: Path, instant: int, told: Any = None) -> None:
    """Run the tree, saving each step, until an instant: a number of calls, of Python and of C, in the run.

    Between two calls lies all that the process does to the outside: writes, syncs, renames, commits.
    """
    save_at_each_step()
    left = instant
    execute = paribus.experiment.execute

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal left
        if event in ("call", "c_call"):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def counted(*arguments: Any) -> Any:
        sys.setprofile(count)
        try:
            return execute(*arguments)
        finally:
            sys.setprofile(None)

    paribus.experiment.execute = counted
    run(tree(store), save_every=0.0)
    if told is not None:
        told.send(instant - left)


def forked_driver(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a driver as a fork of this process: quick, and with its own connections to the store."""
    driver = get_context("fork").Process(target=target, args=arguments)
    driver.start()
    return driver


def calls_of_a_run(store: Path) -> int:
    """Count the calls of a run that nobody kills."""
    here, there = get_context("fork").Pipe(duplex=False)
    driver = forked_driver(drive, store, sys.maxsize, there)
    calls: int = here.recv()
    driver.join()
    return calls


def instants(seed: int, calls: int) -> Iterator[int]:
    """Draw instants, all over a run."""
    draws = random.Random(seed)
    while True:
        yield draws.randint(1, calls)


def script(text: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start a script in another Python; it has all names of this module and its arguments in ``args``."""
    head = (
        "import os, sys\n"
        f"sys.path[:0] = [{str(TESTS)!r}, {str(TESTS / 'trajectories')!r}]\n"
        "from pathlib import Path\n"
        "from trajectory_cases import *\n"
        "torch.set_num_threads(1)\n"
        "args = sys.argv[1:]\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + text, *map(str, arguments)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def equal(one: Any, state: State) -> bool:
    """Tell whether a checkpoint's model is a state's, to the bit."""
    return all(bool((t == state.tensors[f"model/{n}"]).all()) for n, t in one.model.state_dict().items())


ORDERS, ALIVE = "PARIBUS_TEST_ORDERS", "PARIBUS_TEST_ALIVE"
if ORDERS in os.environ:
    save_at_each_step()
if ALIVE in os.environ:  # held open as long as this process lives
    os.open(os.environ[ALIVE], os.O_WRONLY | os.O_NONBLOCK)


class Perishable(nn.Module):
    """Carries out orders to kill in workers; which ones are given is no part of what is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Stochastic()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training and current_process().name != "MainProcess":
            obey(Path(os.environ[ORDERS]))
        return self.body(inputs)


def obey(orders: Path) -> None:
    """Carry out the first order: a file named ``<number> <worker or driver> <steps of this process>``."""
    os.environ[CALLS] = str(int(os.environ.get(CALLS, "0")) + 1)
    for order in sorted(orders.iterdir())[:1]:
        _, victim, due = order.name.split()
        if int(os.environ[CALLS]) >= int(due) and taken(str(order)):
            os.kill(os.getpid() if victim == "worker" else os.getppid(), signal.SIGKILL)


@contextmanager
def watched(fifo: Path) -> Iterator[Callable[[], bool]]:
    """Give what tells, within a minute, whether all processes that hold a fifo open are gone."""
    if not fifo.exists():
        os.mkfifo(fifo)
    end = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield lambda: bool(select.select([end], [], [], 60)[0]) and os.read(end, 1) == b""
    finally:
        os.close(end)


class Progress(Logger):
    """Says through a fifo when training is under way."""

    def __init__(self, told: str) -> None:
        super().__init__(defaults=False)
        self.told = told

    @register_metric(at=[20])
    def under_way(self, learner: Any) -> float:
        with open(self.told, "w") as pipe:
            print("training", file=pipe)
        return 0.0

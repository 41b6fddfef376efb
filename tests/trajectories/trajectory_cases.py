"""Drivers in processes of their own, killed for real at chosen instants."""

from __future__ import annotations

import functools
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import current_process, get_context
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray, RawValue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch
from joblib.externals.loky.backend.context import set_start_method
from torch import nn

import paribus.experiment
from learning_cases import CALLS, Stochastic, experiment, forked, run, states, taken
from paribus import Experiment, Logger, register_metric
from paribus.engine.running.agent import Agent
from paribus.engine.running.driver import Driver
from paribus.engine.running.executors import joblib
from paribus.engine.running.messages import Ended
from paribus.engine.training import segment
from paribus.engine.training.state import State
from paribus.store import verify

TESTS = Path(__file__).parent.parent
WORKERS = 2
# Not in the code that is fingerprinted: whoever counts, the key is one.
TALLY = "PARIBUS_TEST_TALLY"


class Tallied(nn.Module):
    """Adds a byte to a file at each step that is trained, in whichever process."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Stochastic()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training and TALLY in os.environ:
            with open(os.environ[TALLY], "ab", buffering=0) as tally:
                tally.write(b".")
        return self.body(inputs)


tree = partial(experiment, interventions=forked()[1:], model=Tallied(), steps=10)


@contextmanager
def tallied(store: Path) -> Iterator[Callable[[], int]]:
    """Count the steps that all runs on a store take, in all processes that fork meanwhile."""
    tally, execute = store.with_name("tally"), paribus.experiment.execute
    tally.touch()

    def counted(*arguments: Any) -> Any:
        os.environ[TALLY] = str(tally)  # not before: each run tries one step
        try:
            return execute(*arguments)
        finally:
            del os.environ[TALLY]

    paribus.experiment.execute = counted
    try:
        yield lambda: tally.stat().st_size
    finally:
        paribus.experiment.execute = execute


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
    segment._REPORT_SECONDS = -1.0


class Countdown:
    """Calls, of Python and of C, that processes have to live: shared by all that fork from this one.

    Between two calls lies all that a process does to the outside: writes, syncs, renames, commits.

    Args:
        gaps: Calls up to each kill, from the one before it.
    """

    def __init__(self, *gaps: int) -> None:
        self._gaps = RawArray("q", [*gaps, sys.maxsize])
        self._victims = RawArray("q", len(gaps) + 1)
        self._killed = RawValue("q", 0)

    def aim_here(self, kill: int) -> None:
        """Let this process be the victim of a kill; otherwise it is the one whose call it was."""
        self._victims[kill] = os.getpid()

    @property
    def kills(self) -> int:
        return int(self._killed.value)

    @property
    def calls(self) -> int:
        """How many calls there were since the last kill."""
        return sys.maxsize - int(self._gaps[-1])

    def of(self, function: Any) -> Any:
        """Count in the calls of a function, in whichever process it is called."""

        @functools.wraps(function)
        def mortal(*arguments: Any) -> Any:
            sys.setprofile(self._count)
            try:
                return function(*arguments)
            finally:
                sys.setprofile(None)

        return mortal

    def _count(self, frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            now = self._killed.value
            left = self._gaps[now] - 1
            self._gaps[now] = left
            if left == 0:
                self._killed.value = now + 1
                os.kill(self._victims[now] or os.getpid(), signal.SIGKILL)


def drive(store: Path, life: Countdown) -> None:
    """Run the tree in this process, saving each step, as long as it lives."""
    save_at_each_step()
    paribus.experiment.execute = life.of(paribus.experiment.execute)
    run(tree(store), save_every=0.0)


def drive_at_once(store: Path, life: Countdown, number: int, start: Barrier) -> None:
    """Run the tree in this process beside other drivers; all their calls count, and kills are in their order.

    None of them is over before the tree is: so it meets its kill, whoever of them gets ahead.
    """
    life.aim_here(number)
    start.wait()
    drive(store, life)


def fork_workers(alive: Path) -> None:
    """Let joblib fork workers from this process: quick, and with all that a test has changed in it.

    They hold a fifo open as long as they live.
    """
    os.open(alive, os.O_WRONLY | os.O_NONBLOCK)
    joblib._pools.clear()  # their threads are in the parent
    set_start_method("fork", force=True)


def wait_for_rows() -> None:
    """Let an agent go on from the end of a segment only when some driver's commit of one is over.

    Otherwise it is ahead by as many ends as the driver is slow to read; how many is then no promise.
    """
    rows, begin, happened = get_context("fork").Semaphore(0), Agent.__init__, Driver._happened

    def begun(agent: Agent, *arguments: Any) -> None:
        begin(agent, *arguments)
        tell = agent._send

        def told(message: Any) -> None:
            tell(message)
            if isinstance(message, Ended):
                rows.acquire()

        agent._send = told

    def committed(driver: Driver, events: Any) -> None:
        happened(driver, events)
        for _ in filter(lambda event: isinstance(event, Ended), events):
            rows.release()

    Agent.__init__ = begun  # type: ignore[method-assign,assignment]
    Driver._happened = committed  # type: ignore[method-assign]


def drive_workers(store: Path, life: Countdown, victim: str, alive: Path) -> None:
    """Run the tree under joblib, with workers that fork; calls count in all of them.

    The victim is a worker, where only their calls count, or the driver.
    """
    fork_workers(alive)
    save_at_each_step()
    if victim == "driver":
        wait_for_rows()
        life.aim_here(0)
        paribus.experiment.execute = life.of(paribus.experiment.execute)
    Agent.train = life.of(Agent.train)  # type: ignore[method-assign]
    run(tree(store), "joblib", workers=WORKERS, save_every=0.0)
    for pool in joblib._pools.values():
        pool.processes.shutdown()  # a fork would wait for them at its end


def forked_driver(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a driver as a fork of this process: quick, and with its own connections to the store."""
    driver = get_context("fork").Process(target=target, args=arguments)
    driver.start()
    return driver


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
        if int(os.environ[CALLS]) < int(due):
            return
        if victim == "driver":  # not taken: a worker may be killed between that and what it orders
            os.kill(os.getppid(), signal.SIGKILL)
        elif taken(str(order)):
            os.kill(os.getpid(), signal.SIGKILL)


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

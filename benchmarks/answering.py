"""Agents that answer without training: what moving messages and writing rows costs the driver."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

from paribus import Experiment, Logger
from paribus.datasets import blobs
from paribus.engine.building.work import Outcome, Work
from paribus.engine.running.board import Board
from paribus.engine.running.claiming import Claimant
from paribus.engine.running.driver import driving
from paribus.engine.running.executors import Executor
from paribus.engine.running.executors.base import Backend
from paribus.engine.running.executors.crew import Crew, Door, Launcher
from paribus.engine.running.executors.serving import Address, Closing, Opening, knock
from paribus.engine.running.messages import Ended, Lease, Ready, Tell
from paribus.engine.training.journal import Journal
from paribus.interventions import InitWeights
from paribus.models import MLP


def answered(agent: int, lease: Lease) -> Iterator[Ended]:
    """Say of each order that it was trained."""
    for order in lease.orders:
        yield Ended(agent, Outcome(order.task.key, "done", order.task.stop, {}, seconds=0.001))


def learners(count: int, folder: Path) -> Experiment:
    """Return an experiment of many learners of one step."""
    seeds = InitWeights.make_variations(seed=range(count))
    quiet = Logger(defaults=False)
    data = blobs(n=64, features=4)
    return Experiment(MLP(4, (8,), 3), data, interventions=seeds, steps=1, logger=quiet, store=folder)


@final
@dataclass(frozen=True)
class Answering(Executor):
    """So many agents behind local sockets, in threads of one process beside the driver's."""

    agents: int

    @contextmanager
    def connect(self, work: Work, journal: Journal, tell: Tell) -> Iterator[Backend]:
        """Start the process."""
        with closing(Door()) as door, closing(_Threads(door.address)) as threads:
            yield Crew(self.agents, door, threads, [], Path(os.devnull), journal, tell)


@final
class _Threads(Launcher):
    def __init__(self, address: Address) -> None:
        command = [sys.executable, "-m", "benchmarks.answering", pickle.dumps(address).hex()]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)

    def launch(self, number: int) -> None:
        assert self._process.stdin is not None
        print(number, file=self._process.stdin, flush=True)

    def fate(self, number: int) -> str | None:
        return None if self._process.poll() is None else "its process ended"

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def sustained(count: int, agents: int) -> tuple[float, float]:
    """Drive many learners with agents that answer at once.

    Returns:
        Learners a second, and microseconds of the driver's CPU for each.
    """
    with tempfile.TemporaryDirectory() as folder:
        exp = learners(count, Path(folder, "store"))
        plan = exp.plan()
        tasks = plan.tasks()
        journal = Journal.open(exp.store, exp.work, tasks, 60.0)
        with Claimant(exp.store) as claimant:
            board = Board(plan.states, journal, claimant, lambda outcome: None)
            wall, cpu = time.perf_counter(), time.process_time()
            with driving(Answering(agents), exp.work, journal) as driver:
                driver.drive(tasks, board, lambda *_: None)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return count / wall, 1e6 * cpu / count


def _answer(address: Address, number: int) -> None:
    connection = knock(address, number)
    agent = -1
    while True:
        match connection.recv():
            case Opening() as opening:
                agent = opening.agent
                connection.send(Ready(agent))
            case Closing() | None:
                return
            case lease:
                for ended in answered(agent, pickle.loads(lease)):
                    connection.send(ended)


if __name__ == "__main__":
    door = pickle.loads(bytes.fromhex(sys.argv[1]))
    for line in sys.stdin:
        threading.Thread(target=partial(_answer, door, json.loads(line)), daemon=True).start()

"""The driver: carries out what the scheduler says, and tells it what happened."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias, final

from paribus.engine.building.work import Task, Work
from paribus.engine.fusion import Fuse
from paribus.engine.running.board import Board
from paribus.engine.running.claiming import POLL_SECONDS
from paribus.engine.running.executors.base import Backend, Executor
from paribus.engine.running.messages import (
    Assign,
    Claim,
    Command,
    Event,
    Message,
    Polled,
    Reached,
    Saved,
    Settle,
    Start,
)
from paribus.engine.running.scheduler import Scheduler
from paribus.engine.training.journal import Journal

Progress: TypeAlias = Callable[[str, int, float], None]


@final
class Driver:
    """Has the tasks of one round after another settled by the same agents.

    Args:
        backend: Starts agents, and brings their messages.
        work: What all tasks share.
        journal: Writes what comes back.
    """

    def __init__(self, backend: Backend, work: Work, journal: Journal) -> None:
        self.work, self.journal = work, journal
        self._backend = backend
        self._scheduler = Scheduler(backend.workers, backend.orders)

    def drive(self, tasks: Sequence[Task], board: Board, tell: Progress, fuse: Fuse = False) -> None:
        """Have every task settled.

        Args:
            tasks: What to train, parents before children.
            board: Claims tasks and commits outcomes.
            tell: Called now and then with the key of a task, the step reached and the loss there.
            fuse: How many learners may be trained as one.

        Raises:
            ExecutionError: The executor cannot go on.
            StoreError: The store cannot be read or written.
        """
        self._board, self._tell = board, tell
        board.settle(self._carried_out(self._scheduler.begin(tasks, fuse)))
        looked = time.monotonic()
        while not self._scheduler.over:
            events = self._backend.receive(POLL_SECONDS)
            self._happened(events)
            waits = self._scheduler.waits_for_others
            if waits and (not events or time.monotonic() - looked >= POLL_SECONDS):
                looked = time.monotonic()
                self._happened([Polled()])

    def told(self, message: Message) -> None:
        """Take what an agent tells on the way."""
        match message:
            case Saved(_, key, outcome):
                self._board.save(key, outcome)
            case Reached(_, key, step, loss):
                self._tell(key, step, loss)

    def _happened(self, events: Sequence[Event | Polled]) -> None:
        settled: list[Settle] = []
        for event in events:
            settled += self._carried_out(self._scheduler.handle(event))
        self._board.settle(settled)  # those that came together, together

    def _carried_out(self, commands: Sequence[Command]) -> list[Settle]:
        """Carry out commands, and those that follow from claims; return what is to be committed."""
        settled: list[Settle] = []
        pending = deque(commands)
        while pending:
            match pending.popleft():
                case Claim() as asked:
                    pending.extend(self._scheduler.handle(self._board.claim(asked)))
                case Assign(agent, lease):
                    self._backend.assign(agent, lease)
                case Settle() as each:
                    self._board.note(each.outcome)
                    settled.append(each)
                case Start(agent):
                    self._backend.start(agent)
        return settled


@contextmanager
def driving(executor: Executor, work: Work, journal: Journal) -> Iterator[Driver]:
    """Connect to the agents of an executor, which are there until the block ends.

    Raises:
        ExecutionError: The executor cannot start.
    """

    def told(message: Message) -> None:
        driver.told(message)

    with executor.connect(work, journal, told) as backend:
        driver = Driver(backend, work, journal)
        yield driver

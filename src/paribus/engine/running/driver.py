"""The driver: carries out what the scheduler says, and tells it what happened."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

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
    Stop,
)
from paribus.engine.running.scheduler import Scheduler


def drive(
    tasks: Sequence[Task],
    board: Board,
    work: Work,
    executor: Executor,
    tell: Callable[[str, int, float], None],
    fuse: Fuse = False,
) -> None:
    """Have every task settled by the agents of an executor.

    Args:
        tasks: What to train, parents before children.
        board: Claims tasks and commits outcomes.
        work: What all tasks share.
        executor: Where to train.
        tell: Called now and then with the key of a task, the step reached and the loss there.
        fuse: How many learners may be trained as one.

    Raises:
        ExecutionError: The executor cannot start or go on.
        StoreError: The store cannot be read or written.
    """

    def happened(events: Sequence[Event | Polled]) -> None:
        settled: list[Settle] = []
        for event in events:
            settled += _carry_out(scheduler.handle(event), scheduler, board, backend)
        board.settle(settled)  # those that came together, together

    def told(message: Message) -> None:
        match message:
            case Saved(_, key, outcome):
                board.save(key, outcome)
            case Reached(_, key, step, loss):
                tell(key, step, loss)

    with executor.connect(work, board.journal, told) as backend:
        scheduler = Scheduler(tasks, backend.workers, backend.orders, fuse)
        looked = time.monotonic()
        board.settle(_carry_out(scheduler.begin(), scheduler, board, backend))
        while not scheduler.over:
            events = backend.receive(POLL_SECONDS)
            happened(events)
            if scheduler.waits_for_others and (not events or time.monotonic() - looked >= POLL_SECONDS):
                looked = time.monotonic()
                happened([Polled()])


def _carry_out(
    commands: Sequence[Command], scheduler: Scheduler, board: Board, backend: Backend
) -> list[Settle]:
    """Carry out commands, and those that follow from claims; return what is to be committed."""
    settled: list[Settle] = []
    pending = deque(commands)
    while pending:
        match pending.popleft():
            case Claim() as asked:
                pending.extend(scheduler.handle(board.claim(asked)))
            case Assign(agent, lease):
                backend.assign(agent, lease)
            case Settle() as each:
                board.note(each.outcome)
                settled.append(each)
            case Start(agent):
                backend.start(agent)
            case Stop(agent):
                backend.stop(agent)
    return settled

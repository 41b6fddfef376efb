"""What every executor is: something that takes tasks from a board and brings outcomes back."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

from paribus.engine.building.work import Outcome, Task, Work
from paribus.engine.running.board import Board
from paribus.engine.showing.standing import Tell
from paribus.engine.training.journal import Journal
from paribus.engine.training.segment import Progress, train
from paribus.engine.training.state import State


class Executor(ABC):
    """Trains tasks somewhere. Where it does so never changes a bit of the results."""

    @abstractmethod
    def execute(self, board: Board, work: Work, tell: Tell) -> None:
        """Take tasks until there are none, train them, and settle each with its outcome.

        Args:
            board: Where tasks come from, parents before children, and where outcomes go.
            work: What all tasks share.
            tell: Called now and then with the key of a task, the step reached and the loss there.

        Raises:
            ExecutionError: The executor itself cannot start or go on.
        """


def train_and_put(
    task: Task, work: Work, state: State | None, journal: Journal, progress: Progress
) -> tuple[State | None, Outcome]:
    """Train a task and put its final state into the store: the part that runs where the worker is."""
    saver = journal.saver(task)
    inputs = {key: State.from_bytes(journal.store.get(digest)) for key, digest in task.inputs.items()}
    end, outcome = train(task, work, state, progress, saver, inputs)
    if outcome.status != "failed":  # the next run goes on from what was saved
        outcome = dataclasses.replace(outcome, saved=saver.saved)
    return end, journal.put(outcome, end)

"""In process, one task after another: the reference for all other executors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import final

from paribus.engine.building.work import Task, Work
from paribus.engine.running.board import Board
from paribus.engine.running.executors.base import Executor, train_and_put
from paribus.engine.showing.standing import Tell
from paribus.engine.training.state import State


@final
@dataclass(frozen=True)
class Serial(Executor):
    """Train in this process; a fork starts from the state in memory."""

    def execute(self, board: Board, work: Work, tell: Tell) -> None:
        """Train every task, depth first."""
        held: dict[str, tuple[State, int]] = {}
        while (task := board.take()) is not None:
            state = _starting_state(task, held, board)
            end, outcome = train_and_put(task, work, state, board.journal, partial(tell, task.key))
            if end is not None and board.children(task):
                held[task.key] = end, board.children(task)
            board.settle(task, outcome)


def _starting_state(task: Task, held: dict[str, tuple[State, int]], board: Board) -> State | None:
    if task.parent is None:
        return None
    if task.parent not in held:
        return State.from_bytes(board.journal.store.get(str(board.state_of(task))))
    state, uses = held.pop(task.parent)
    if uses > 1:
        held[task.parent] = state, uses - 1
    return state

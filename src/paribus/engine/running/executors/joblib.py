"""On all cores of this machine, with joblib's persistent loky workers."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, final

from joblib import cpu_count
from joblib.externals.loky import get_reusable_executor

from paribus.engine.building.work import Outcome, Task, Work
from paribus.engine.running.board import Board
from paribus.engine.running.executors.base import Executor, train_and_put
from paribus.engine.running.executors.notes import read_notes, write_note
from paribus.engine.running.executors.shipping import receive, ship
from paribus.engine.showing.standing import Tell
from paribus.engine.training.journal import Journal
from paribus.engine.training.state import State
from paribus.errors import ConfigurationError, ExecutionError

_BREAKAGES = 3
_IDLE_SECONDS = 300
_WATCH_SECONDS = 0.5
_LOOK_SECONDS = 0.5


@final
@dataclass(frozen=True)
class Joblib(Executor):
    """Train in ``workers`` processes, which stay warm between runs.

    Attributes:
        workers: Processes; ``None``: one per core that this process may use.
    """

    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigurationError(f"Joblib: workers={self.workers!r}; expected at least 1")

    def execute(self, board: Board, work: Work, tell: Tell) -> None:
        """Train every task; a worker that dies costs its tasks in flight, which are tried again."""
        with tempfile.TemporaryDirectory(prefix="paribus-") as folder:
            _Pool(self.workers or cpu_count(), ship(work, Path(folder)), board, tell).drain()


@final
class _Pool:
    """The driver's side of the workers: submits what is ready, and again what was lost."""

    def __init__(self, workers: int, path: Path, board: Board, tell: Tell) -> None:
        self._workers = workers
        self._path = path
        self._board = board
        self._tell = tell
        self._flying: dict[Future[Outcome], Task] = {}
        self._breakages = 0

    def drain(self) -> None:
        """Keep the workers busy until nothing is ready and nothing flies."""
        try:
            while self._fill():
                done, _ = wait(self._flying, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
                for note in read_notes(self._path.parent):
                    self._tell(*note)
                lost = [task for flight in done if (task := self._land(flight)) is not None]
                if lost:
                    self._recover(lost)
        except BaseException:
            self._executor().shutdown(wait=True, kill_workers=True)
            raise

    def _fill(self) -> bool:
        while len(self._flying) < 2 * self._workers:
            task = self._board.take(wait=not self._flying)
            if task is None:
                break
            self._submit(task)
        return bool(self._flying)

    def _submit(self, task: Task) -> None:
        state = self._board.state_of(task)
        flight = self._executor().submit(_train, str(self._path), task, state, self._board.journal)
        self._flying[flight] = task

    def _executor(self) -> Any:
        return get_reusable_executor(
            max_workers=self._workers, timeout=_IDLE_SECONDS, initializer=_end_with, initargs=(os.getpid(),)
        )

    def _land(self, flight: Future[Outcome]) -> Task | None:
        """Settle the outcome of a flight; return its task where the worker died with it."""
        task = self._flying.pop(flight)
        try:
            outcome = flight.result()
        except BrokenProcessPool:
            return task
        self._board.settle(task, outcome)
        return None

    def _recover(self, lost: list[Task]) -> None:
        """Submit the tasks of a broken pool again, to fresh workers."""
        self._breakages += 1
        if self._breakages > _BREAKAGES:
            raise ExecutionError(
                f"joblib: the workers died {self._breakages} times, last while training the segment "
                f"{lost[0].key}; see whether memory runs out, or run with executor='serial'"
            )
        lost += list(self._flying.values())
        self._flying.clear()
        for task in lost:
            self._submit(self._board.resumed(task))


def _end_with(driver: int) -> None:
    """Watch, in a worker, for the end of its driver: nobody would commit its outcomes."""

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="paribus-watch", daemon=True).start()


@lru_cache(maxsize=2)
def _work(path: str) -> Work:
    return receive(path)


def _train(path: str, task: Task, state: str | None, journal: Journal) -> Outcome:
    """Train one task: what runs in a worker."""
    start = None if state is None else State.from_bytes(journal.store.get(state))
    note = partial(write_note, Path(path).parent, task.key)
    _, outcome = train_and_put(task, _work(path), start, journal, note)
    return outcome

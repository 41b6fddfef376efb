"""On all cores of this machine, with joblib's persistent loky workers."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from paribus.engine.building.work import Work
from paribus.engine.running.executors.base import Backend, Executor
from paribus.engine.running.executors.crew import Crew, Door, Hand, Launcher
from paribus.engine.running.executors.serving import Address, knock, serve
from paribus.engine.running.executors.shipping import ship
from paribus.engine.running.executors.sources import are_current, sources
from paribus.engine.running.messages import Tell
from paribus.engine.training.journal import Journal
from paribus.errors import ConfigurationError

_IDLE_SECONDS = 300
_WATCH_SECONDS = 0.5


@final
@dataclass(frozen=True)
class Joblib(Executor):
    """Train in ``workers`` processes of loky's pool, which stay warm between runs.

    Attributes:
        workers: Processes; ``None``: one per core that this process may use.
    """

    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigurationError(f"Joblib: workers={self.workers!r}; expected at least 1")

    @contextmanager
    def connect(self, work: Work, journal: Journal, tell: Tell) -> Iterator[Backend]:
        """Let each agent be one long task of the pool; one that dies takes the others with it."""
        from joblib import cpu_count

        workers = self.workers or cpu_count()
        with tempfile.TemporaryDirectory(prefix="paribus-") as folder, closing(Door()) as door:
            launcher, idle = _Loky(workers, door.address), list[Hand]()
            path = ship(work, Path(folder))
            crew = Crew(workers, door, launcher, idle, path, journal, tell)
            try:
                yield crew
            except BaseException:
                launcher.kill()
                raise
            crew.dismiss()
            for hand in idle:
                hand.release()


@final
@dataclass
class _Pool:
    """Processes of loky.

    Attributes:
        processes: Not loky's reusable pool: `joblib.Parallel` takes that for its own, and fails on one that
            it did not make.
        sources: When the files of the user's modules were changed that they may have imported.
    """

    processes: Any
    sources: dict[str, int]


_pools: dict[tuple[int, int], _Pool] = {}


@final
class _Loky(Launcher):
    """Loky's pool. It breaks whole where one process dies, and is made anew for the next launch."""

    def __init__(self, workers: int, address: Address) -> None:
        self._workers = workers
        self._address = address
        self._launched: dict[int, Future[None]] = {}
        self._again: set[int] = set()
        self._sources = sources()
        self._place = os.getpid(), workers
        pool = _pools.get(self._place)
        if pool is not None and not are_current(pool.sources, self._sources):
            self.kill()

    def launch(self, number: int) -> None:
        from joblib.externals.loky.process_executor import ShutdownExecutorError

        try:
            self._launched[number] = self._submit(number)
        except (BrokenProcessPool, ShutdownExecutorError):
            self.kill()
            self._launched[number] = self._submit(number)

    def fate(self, number: int) -> str | None:
        task = self._launched[number]
        if not task.done():
            return None
        error = task.exception()
        if isinstance(error, BrokenProcessPool) and number not in self._again:
            self._again.add(number)  # it was launched before loky had seen that the pool is broken
            self.launch(number)
            return None
        return None if error is None else f"its process ended before it had started: {error}"

    def _submit(self, number: int) -> Future[None]:
        from joblib.externals.loky.process_executor import ProcessPoolExecutor

        if self._place not in _pools:
            processes = ProcessPoolExecutor(
                self._workers, timeout=_IDLE_SECONDS, initializer=_end_with, initargs=(os.getpid(),)
            )
            _pools[self._place] = _Pool(processes, {})
        pool = _pools[self._place]
        pool.sources = self._sources
        task: Future[None] = pool.processes.submit(_agent, self._address, number)
        return task

    def kill(self) -> None:
        """End all processes."""
        pool = _pools.pop(self._place, None)
        if pool is not None:
            pool.processes.shutdown(wait=True, kill_workers=True)


def _end_with(driver: int) -> None:
    """Watch, in a worker, for the end of its driver; loky's workers would wait for another task."""

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="paribus-watch", daemon=True).start()


def _agent(address: Address, number: int) -> None:
    with suppress(OSError):  # the run was over before this began
        serve(knock(address, number))

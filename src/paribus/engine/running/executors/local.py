"""On all cores of this machine, by processes of Paribus's own."""

from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

from paribus.engine.building.work import Work
from paribus.engine.running.executors.base import Backend, Executor
from paribus.engine.running.executors.crew import Crew, Door, Hand, Launcher
from paribus.engine.running.executors.serving import Address
from paribus.engine.running.executors.shipping import ship
from paribus.engine.running.messages import Tell
from paribus.engine.training.journal import Journal
from paribus.errors import ConfigurationError

# A fork of a process with torch takes a hundredth of a second; elsewhere than on Linux it is not sound.
_FORKS = sys.platform == "linux"


@final
@dataclass(frozen=True)
class Local(Executor):
    """Train in ``workers`` processes, which stay warm between runs and end with this process.

    Where one is killed, the others go on, and another takes its place.

    Attributes:
        workers: Processes; ``None``: one per core that this process may use.
    """

    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigurationError(f"Local: workers={self.workers!r}; expected at least 1")

    @staticmethod
    def prepare() -> None:
        """Start the process that forks agents: it loads torch meanwhile."""
        _home()

    @contextmanager
    def connect(self, work: Work, journal: Journal, tell: Tell) -> Iterator[Backend]:
        """Take what is warm, and start what lacks."""
        from joblib import cpu_count

        workers = self.workers or cpu_count()
        with tempfile.TemporaryDirectory(prefix="paribus-") as folder:
            home = _home()
            path = ship(work, Path(folder))
            crew = Crew(workers, home.door, home.launcher, home.idle, path, journal, tell)
            try:
                yield crew
            except BaseException:
                crew.kill()
                raise
            crew.dismiss()


@final
class _Home:
    """What agents of this process share from run to run."""

    def __init__(self) -> None:
        self.door = Door()
        self.launcher = _Nursery(self.door.address) if _FORKS else _Fresh(self.door.address)
        self.idle: list[Hand] = []
        self._process = os.getpid()
        atexit.register(self._close)

    def _close(self) -> None:
        if os.getpid() == self._process:  # and not a forked child
            for hand in self.idle:
                hand.close()
            self.door.close()
            self.launcher.close()


_homes: dict[int, _Home] = {}


def _home() -> _Home:
    """Return the home of this process; a forked child has its own."""
    process = os.getpid()
    if process not in _homes:
        _homes[process] = _Home()
    return _homes[process]


@final
class _Nursery(Launcher):
    """One process with torch loaded forks all others."""

    def __init__(self, address: Address) -> None:
        self._command = _command("nursery", address)
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE)

    def launch(self, number: int) -> None:
        if self._process.poll() is not None:  # somebody ended it
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # `fate` tells
            self._process.stdin.write(f"{number}\n".encode())
            self._process.stdin.flush()

    def close(self) -> None:
        """End the process; the agents end with their connections."""
        with suppress(BrokenPipeError):
            self._process.communicate()

    def fate(self, number: int) -> str | None:
        code = self._process.poll()
        return None if code is None else f"the process that forks them ended with exit code {code}"


@final
class _Fresh(Launcher):
    """Each process is a new Python."""

    def __init__(self, address: Address) -> None:
        self._command = _command("serving", address)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def launch(self, number: int) -> None:
        self._processes[number] = subprocess.Popen([*self._command, str(number)], stdin=subprocess.DEVNULL)

    def close(self) -> None:
        """Wait for the processes, whose connections are closed."""
        for process in self._processes.values():
            process.wait()

    def fate(self, number: int) -> str | None:
        code = self._processes[number].poll()
        return None if code is None else f"its process ended with exit code {code} before it had started"


def _command(module: str, address: Address) -> list[str]:
    """Write the command that starts a Python which imports from where this one does."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__package__}.{module} import main; main()"
    return [sys.executable, "-c", code, pickle.dumps(address).hex()]

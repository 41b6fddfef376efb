"""What an agent does in a process of its own: it knocks at its driver's door, and trains what it is told."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, final

from paribus.engine.running.messages import Lease, Ready, Saved
from paribus.errors import ExecutionError

GONE = (EOFError, ConnectionResetError, BrokenPipeError)


@final
@dataclass(frozen=True)
class Address:
    """Where a door is, and the word without which nobody is let in."""

    family: int
    place: Any
    word: bytes


@final
@dataclass(frozen=True)
class Opening:
    """Tells an agent which run it is to work for.

    Attributes:
        agent: The number that it has there.
        path: The file that the work is read from.
        journal: Puts states; pickled.
        folder: The driver's working directory.
        imports: Where the driver imports from.
        environment: The driver's environment variables.
    """

    agent: int
    path: str
    journal: bytes
    folder: str
    imports: tuple[str, ...]
    environment: dict[str, str]


@final
@dataclass(frozen=True)
class Closing:
    """Tells an agent that the run is over; it answers with the same, and waits for the next."""


@final
@dataclass(frozen=True)
class Noted:
    """Tells an agent that the progress which it saved has its row, so that it may go on."""


@final
@dataclass(frozen=True)
class Failed:
    """An agent cannot go on, and the run is to end with this exception."""

    error: Exception


def main() -> None:
    """Be an agent of the driver whose address, and the number that it gave, are in the command line."""
    be_worker()
    with suppress(OSError):
        serve(knock(pickle.loads(bytes.fromhex(sys.argv[1])), int(sys.argv[2])))


def be_worker() -> None:
    """Let code that asks whether it runs in the main process find that it does not."""
    multiprocessing.current_process().name = "paribus-agent"


def knock(address: Address, number: int) -> Connection:
    """Connect to a driver's door, and say who knocks."""
    made = socket.socket(address.family)
    made.connect(address.place)
    connection = Connection(made.detach())
    connection.send_bytes(address.word)
    connection.send((number, os.getpid()))
    return connection


def serve(connection: Connection) -> None:
    """Train what comes, until the driver says that it is enough; end at once when it is gone."""
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    noted = threading.Semaphore(0)
    listening = connection, inbox, noted
    threading.Thread(target=_listen, args=listening, name="paribus-agent", daemon=True).start()
    train: Callable[[Lease], object] | None = None
    with _uninterrupted():
        while (message := inbox.get()) is not None:
            try:
                if isinstance(message, Opening):
                    train = _opened(message, partial(_send, connection, noted))
                elif isinstance(message, Closing):
                    train = None
                    connection.send(message)
                elif train is not None:
                    train(pickle.loads(message))
            except Exception as error:
                train = None
                connection.send(Failed(sendable(error)))


def _send(connection: Connection, noted: threading.Semaphore, message: object) -> None:
    """Tell the driver; with saved progress, wait for its word: no agent runs far ahead of its rows."""
    connection.send(message)
    if isinstance(message, Saved):
        noted.acquire()


def _listen(connection: Connection, inbox: queue.SimpleQueue[Any], noted: threading.Semaphore) -> None:
    """Pass messages on; where the driver is gone, nobody would commit what is being trained."""
    try:
        while (message := connection.recv()) is not None:
            if isinstance(message, Noted):
                noted.release()
            else:
                inbox.put(message)
    except GONE:
        os._exit(1)
    noted.release()  # nobody waits for its progress any more
    inbox.put(None)


def _opened(opening: Opening, send: Callable[[object], None]) -> Callable[[Lease], object]:
    """Read the work of a run, in the driver's surroundings."""
    os.chdir(opening.folder)
    sys.path[:] = opening.imports
    os.environ.update(opening.environment)

    import torch

    torch.set_num_threads(1)  # where a task wants more, it sets them: idle ones slow all others down
    with suppress(RuntimeError):  # it was set before
        torch.set_num_interop_threads(1)

    from paribus.engine.running.agent import Agent
    from paribus.engine.running.executors.shipping import receive

    agent = Agent(opening.agent, receive(opening.path), pickle.loads(opening.journal), send)
    send(Ready(opening.agent))
    return agent.train


def sendable(error: Exception) -> Exception:
    """Return an error, or what it says where it cannot travel."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return ExecutionError(f"{type(error).__name__}: {error}")
    return error


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Leave Ctrl-C, which reaches all processes of a terminal, to the driver."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

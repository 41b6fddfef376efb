"""Agents in other processes of this machine, as their driver sees them."""

from __future__ import annotations

import hmac
import os
import pickle
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, final

from paribus.engine.running.executors.base import Backend
from paribus.engine.running.executors.serving import GONE, Address, Closing, Failed, Noted, Opening
from paribus.engine.running.executors.shipping import packed
from paribus.engine.running.executors.sources import are_current, sources
from paribus.engine.running.messages import Event, Lease, Lost, Reached, Saved, Tell
from paribus.engine.training.journal import Journal

_KNOCK_SECONDS = 10.0
# What a forked child would hold open, so that the other side did not see its driver end.
_open: weakref.WeakSet[Door | Hand] = weakref.WeakSet()


@final
class Door:
    """Listens for agents that knock.

    Attributes:
        address: Where they find it.
        socket: Readable when somebody knocks.
    """

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="paribus-")  # nobody else may enter it
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._process = os.getpid()
        unix = hasattr(socket, "AF_UNIX")
        family = socket.AF_UNIX if unix else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.bind(str(Path(folder, "door")) if unix else ("127.0.0.1", 0))
        self.socket.listen(128)
        _open.add(self)
        self.address = Address(int(family), self.socket.getsockname(), secrets.token_hex(16).encode())

    def admit(self) -> tuple[Connection, int, int] | None:
        """Let in who knocks: return the way to it, its number and its process; ``None``: it is a stranger."""
        connection = Connection(self.socket.accept()[0].detach())
        with suppress(OSError, EOFError):
            if connection.poll(_KNOCK_SECONDS):
                word = connection.recv_bytes(1000)
                if hmac.compare_digest(word, self.address.word):
                    number, process = connection.recv()
                    return connection, number, process
        connection.close()
        return None

    def close(self) -> None:
        """Let nobody in any more."""
        self.socket.close()
        if os.getpid() != self._process:  # a forked child has this object, and not the folder
            self._remove.detach()
        self._remove()


class Launcher(ABC):
    """Starts processes that knock at a door and serve."""

    @abstractmethod
    def launch(self, number: int) -> None:
        """Start a process that knocks with this number."""

    @abstractmethod
    def fate(self, number: int) -> str | None:
        """Say why a process that was launched will not knock; ``None`` where it still may."""


@final
@dataclass(eq=False)
class Hand:
    """A process that serves.

    Attributes:
        connection: The way to it.
        process: Its number.
        past: How many earlier runs it has not yet said the last word on.
        sources: When the files of the user's modules were changed that it may have imported.
    """

    connection: Connection
    process: int
    past: int = 0
    sources: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _open.add(self)

    def close(self) -> None:
        """Close the way to the process."""
        self.connection.close()

    def release(self) -> None:
        """Let the process do something else."""
        with suppress(*GONE):
            self.connection.send(None)
        self.connection.close()

    def kill(self) -> None:
        """End the process at once."""
        with suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        self.connection.close()


def _leave() -> None:
    for each in list(_open):
        each.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave)


@final
class Crew(Backend):
    """The agents of one run.

    Args:
        workers: How many to keep.
        door: Where new processes knock.
        launcher: Starts them.
        idle: Processes that wait for a run; those that are left at the end of this one are put there.
        path: The file that agents read the work from.
        journal: Puts states, where the agents are.
        tell: Takes what agents tell on the way.
    """

    orders = 2  # so that an agent need not wait for its driver

    def __init__(
        self,
        workers: int,
        door: Door,
        launcher: Launcher,
        idle: list[Hand],
        path: Path,
        journal: Journal,
        tell: Tell,
    ) -> None:
        self._workers = workers
        self._door = door
        self._launcher = launcher
        self._idle = idle
        self._path = str(path)
        self._journal = pickle.dumps(journal)
        self._tell = tell
        self._expected: dict[int, int] = {}
        self._hands: dict[int, Hand] = {}
        self._events: list[Event] = []
        self._sources = sources()

    @property
    def workers(self) -> int:
        """How many agents to keep."""
        return self._workers

    def start(self, agent: int) -> None:
        """Take a process that waits, or launch one."""
        while self._idle:
            hand = self._idle.pop()
            if are_current(hand.sources, self._sources) and self._open(agent, hand):
                return
            hand.kill()
        number = secrets.randbits(62)  # a process of an earlier run may knock late
        self._expected[number] = agent
        self._launcher.launch(number)

    def assign(self, agent: int, lease: Lease) -> None:
        """Send a lease; where the agent is gone, its loss is told, or has been told already."""
        if agent in self._hands:
            with suppress(*GONE):
                self._hands[agent].connection.send(packed(lease))

    def process(self, agent: int) -> int:
        """Return the number of the process that is an agent."""
        return self._hands[agent].process

    def receive(self, seconds: float) -> Sequence[Event]:
        """Wait for agents to knock, to speak, or to end."""
        agents: dict[Any, int] = {hand.connection: agent for agent, hand in self._hands.items()}
        for found in wait([self._door.socket, *agents], 0 if self._events else seconds):
            if found is self._door.socket:
                self._admit()
            else:
                self._drain(agents[found])
        for number, agent in list(self._expected.items()):
            if (reason := self._launcher.fate(number)) is not None:
                del self._expected[number]
                self._events.append(Lost(agent, reason))
        events, self._events = self._events, []
        return events

    def dismiss(self) -> None:
        """Let the agents wait for another run."""
        for hand in self._hands.values():
            with suppress(*GONE):
                hand.connection.send(Closing())
                hand.past += 1
                self._idle.append(hand)

    def kill(self) -> None:
        """End the agents, whatever they do."""
        for hand in self._hands.values():
            hand.kill()

    def _admit(self) -> None:
        knocked = self._door.admit()
        if knocked is None:
            return
        connection, number, process = knocked
        hand = Hand(connection, process)
        if number in self._expected:
            agent = self._expected.pop(number)
            if not self._open(agent, hand):
                self._events.append(Lost(agent, "its process ended"))
        else:
            self._idle.append(hand)

    def _open(self, agent: int, hand: Hand) -> bool:
        """Tell a process which run it is to work for; tell whether it is there."""
        surroundings = os.getcwd(), tuple(sys.path), dict(os.environ)
        self._hands[agent], hand.sources = hand, self._sources
        try:
            hand.connection.send(Opening(agent, self._path, self._journal, *surroundings))
        except GONE:
            del self._hands[agent]
            return False
        return True

    def _drain(self, agent: int) -> None:
        """Take all that an agent has said."""
        hand = self._hands[agent]
        try:
            while hand.connection.poll():
                match hand.connection.recv():
                    case Closing():
                        hand.past -= 1
                    case Saved() as message:
                        if not hand.past:
                            self._tell(message)
                        hand.connection.send(Noted())
                    case _ if hand.past:
                        pass
                    case Failed(error):
                        raise error
                    case Reached() as message:
                        self._tell(message)
                    case event:
                        self._events.append(event)
        except GONE:
            self._hands.pop(agent).close()
            self._events.append(Lost(agent, "its process ended"))

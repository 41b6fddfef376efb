"""In process, one task after another: the reference for all other executors."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from paribus.engine.building.work import Work
from paribus.engine.running.agent import Agent
from paribus.engine.running.executors.base import Backend, Executor
from paribus.engine.running.messages import Ended, Event, Lease, Message, Ready, Tell
from paribus.engine.training.journal import Journal

_OVER = object()


@final
@dataclass(frozen=True)
class Serial(Executor):
    """Train in this process; a fork starts from the state in memory."""

    @contextmanager
    def connect(self, work: Work, journal: Journal, tell: Tell) -> Iterator[Backend]:
        """Make the one agent that there is."""
        yield _InProcess(work, journal, tell)


@final
class _InProcess(Backend):
    """One agent, which trains while its driver waits for events."""

    workers = 1
    orders = 1

    def __init__(self, work: Work, journal: Journal, tell: Tell) -> None:
        self._work = work
        self._journal = journal
        self._tell = tell
        self._leases: deque[Lease] = deque()
        self._going: Iterator[None] = iter(())
        self._events: list[Event] = []

    def start(self, agent: int) -> None:
        """Make the agent."""
        self._agent = Agent(agent, self._work, self._journal, self._sent)
        self._events.append(Ready(agent))

    def assign(self, agent: int, lease: Lease) -> None:
        """Keep a lease for `receive`."""
        self._leases.append(lease)

    def receive(self, seconds: float) -> Sequence[Event]:
        """Train a lease; where there is none, let time pass."""
        if not self._events and next(self._going, _OVER) is _OVER:
            if self._leases:
                self._going = self._agent.advance(self._leases.popleft())
            else:
                time.sleep(seconds)
        events, self._events = self._events, []
        return events

    def _sent(self, message: Ended | Message) -> None:
        if isinstance(message, Ended):
            self._events.append(message)
        else:
            self._tell(message)

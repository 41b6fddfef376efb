"""What every executor is: something that starts agents, and moves messages between them and the driver."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager

from paribus.engine.building.work import Work
from paribus.engine.running.messages import Event, Lease, Tell
from paribus.engine.training.journal import Journal


class Executor(ABC):
    """Says where segments are trained. Where it is never changes a bit of the results."""

    @abstractmethod
    def connect(self, work: Work, journal: Journal, tell: Tell) -> AbstractContextManager[Backend]:
        """Make ready to start agents; at the end of the block none is left at work.

        Args:
            work: What all tasks share.
            journal: Puts states, where the agents are.
            tell: Called within ``receive`` with what agents tell on the way: how far they are, and which
                progress they saved; at once, and before the order is said to have ended.

        Raises:
            ExecutionError: The executor cannot start, or a part of the work cannot be sent to an agent.
        """


class Backend(ABC):
    """Starts agents and moves messages, for one run. An agent is known by the number that it is given."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many agents to keep."""

    @property
    @abstractmethod
    def orders(self) -> int:
        """How many orders an agent may have at a time, where they are short."""

    @abstractmethod
    def start(self, agent: int) -> None:
        """Start an agent; it says that it is ready, or that it was lost, in an event."""

    @abstractmethod
    def assign(self, agent: int, lease: Lease) -> None:
        """Send a lease to an agent, which may still be training another, and trains them in their order."""

    @abstractmethod
    def receive(self, seconds: float) -> Sequence[Event]:
        """Wait for events, at most so long; those of one agent are in the order in which they happened.

        Raises:
            StoreError: An agent could not read or write the store.
            ExecutionError: The executor cannot go on.
        """

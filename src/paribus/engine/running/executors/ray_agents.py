"""Agents as actors of a Ray cluster: what runs in them, and the driver's hand on them."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from paribus.engine.building.work import Work
from paribus.engine.running.agent import Agent
from paribus.engine.running.executors.base import Backend
from paribus.engine.running.executors.shipping import unpack
from paribus.engine.running.messages import Ended, Event, Lease, Lost, Message, Ready, Tell
from paribus.engine.training.journal import Journal
from paribus.errors import ExecutionError, ParibusError

# Events that come within this time travel together; what is over in less is told once, at the lease's end.
_TOGETHER_SECONDS = 0.05
_PATIENCE_SECONDS = 60.0


@final
@dataclass(frozen=True)
class Parcel:
    """Work in the cluster's object store: one copy on each node, which its agents map.

    Attributes:
        token: Names the work.
        reference: To the pickled skeleton and the data's buffers.
    """

    token: str
    reference: Any


@final
@dataclass(frozen=True)
class Surroundings:
    """Of a driver.

    Attributes:
        folder: Its working directory; empty for agents that may be on other machines.
        imports: Where it imports from.
        environment: Its environment variables, those that are not the agents' own.
    """

    folder: str
    imports: Sequence[str]
    environment: Mapping[str, str]

    def enter(self) -> None:
        """Make this process see what the driver sees."""
        if self.folder:
            os.chdir(self.folder)
        sys.path += [each for each in self.imports if each not in sys.path and Path(each).is_dir()]
        os.environ.update(self.environment)


@final
class Slot:
    """An actor that is one agent after another, of one run after another."""

    def __init__(self, gpus: float) -> None:
        import torch

        torch.set_num_threads(1)  # a segment sets its own; what lies between would take every core
        with suppress(OSError):
            os.nice(-os.nice(0))
        if 0 < gpus < 1 and torch.cuda.is_available():
            torch.cuda.set_per_process_memory_fraction(gpus)
        self._works: dict[str, Work] = {}
        self._told: list[Ended | Message] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="paribus-agent")

    def begin(
        self, number: int, token: str, packed: Any, journal: Journal, surroundings: Surroundings
    ) -> None:
        """Be an agent of a run."""
        surroundings.enter()
        if token not in self._works:
            self._works = {token: _unpacked(*packed)}
        self._told.clear()
        self._agent = Agent(number, self._works[token], journal, self._told.append)

    def train(self, lease: Lease) -> Iterator[list[Ended | Message | Exception | None]]:
        """Train a lease; yield what is to be told, then an error that ends the run, then ``None``."""
        training = self._thread.submit(self._agent.train, lease)
        while not wait([training], _TOGETHER_SECONDS).done:
            if self._told:
                yield [*self._drained()]
        error = training.exception()
        yield [*self._drained(), *([error] if isinstance(error, Exception) else []), None]

    def rest(self) -> None:
        """Let go of the run's states."""
        del self._agent

    def _drained(self) -> list[Ended | Message]:
        told = self._told[:]
        del self._told[: len(told)]  # the other thread may have appended meanwhile
        return told


def _unpacked(skeleton: bytes, buffers: Sequence[Any]) -> Work:
    import torch

    with warnings.catch_warnings():  # the pages are everybody's, and cannot be written
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return unpack(skeleton, [torch.from_numpy(buffer) for buffer in buffers])


@final
@dataclass
class _Seat:
    """What the driver knows of an agent.

    Attributes:
        actor: Its actor.
        streams: What is to come from it, in this order: that it has begun, then the events of each lease.
        rested: Whether it was at rest before, and may have ended there.
    """

    actor: Any
    streams: deque[Any] = field(default_factory=deque)
    rested: bool = False


@final
class ActorBackend(Backend):
    """Agents that are actors.

    Args:
        workers: How many agents to keep.
        make: Makes an actor; an error where no node can hold one.
        ship: Puts the work into the object store, where it is not.
        journal: Puts states, where the agents are.
        tell: Takes what agents tell on the way.
        warm: Actors that are at rest, and may be used; those that are at rest in the end are put there.
        surroundings: What agents see of this process.
    """

    workers = 0
    orders = 8

    def __init__(
        self,
        workers: int,
        make: Callable[[], Any],
        ship: Callable[[bool], Parcel],
        journal: Journal,
        tell: Tell,
        warm: list[Any],
        surroundings: Surroundings,
    ) -> None:
        import ray

        self._ray = ray
        self.workers = workers
        self._make, self._ship, self._warm = make, ship, warm
        self._journal, self._tell = journal, tell
        self._surroundings = surroundings
        self._seats: dict[int, _Seat] = {}
        self._lacking = False
        self._waiting_since: float | None = time.monotonic()

    def start(self, agent: int) -> None:
        """Let an actor be an agent: one at rest, or a new one."""
        rested = bool(self._warm)
        actor = self._warm.pop() if rested else self._make()
        parcel = self._ship(self._lacking)
        self._lacking = False
        begun = actor.begin.remote(agent, parcel.token, parcel.reference, self._journal, self._surroundings)
        self._seats[agent] = _Seat(actor, deque([begun]), rested)

    def assign(self, agent: int, lease: Lease) -> None:
        """Send a lease."""
        if agent in self._seats:  # else its loss is being told
            seat = self._seats[agent]
            seat.streams.append(seat.actor.train.remote(lease))

    def receive(self, seconds: float) -> Sequence[Event]:
        """Wait for whichever agent tells something first, and take what all have told."""
        heads = {seat.streams[0]: agent for agent, seat in self._seats.items() if seat.streams}
        if not heads:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(list(heads), num_returns=1, timeout=seconds)
        if ready and len(heads) > 1:
            ready, _ = self._ray.wait(list(heads), num_returns=len(heads), timeout=0)
        self._watch(bool(ready))
        return [event for head in ready for event in self._read(heads[head], head)]

    def actor(self, agent: int) -> Any:
        """Return the actor that is an agent."""
        return self._seats[agent].actor

    def close(self, *, keep: bool) -> None:
        """End all agents; where they may be kept, those that have nothing to do go to rest instead."""
        for seat in self._seats.values():
            if keep and not seat.streams:
                seat.actor.rest.remote()
                self._warm.append(seat.actor)
            else:
                self._ray.kill(seat.actor)
        self._seats.clear()

    def _read(self, agent: int, head: Any) -> list[Event]:
        """Take what has come of a stream."""
        try:
            begins = isinstance(head, self._ray.ObjectRef)
            told = self._ray.get(head if begins else next(head))
        except self._ray.exceptions.RayError as error:
            return self._lost(agent, error)
        if begins:
            self._seats[agent].streams.popleft()
            self._seats[agent].rested = False
            return [Ready(agent)]
        return self._heard(agent, told)

    def _lost(self, agent: int, error: Exception) -> list[Event]:
        """Give an agent up; where it is well, and the experiment is not, the run ends."""
        errors = self._ray.exceptions
        cause = getattr(error, "cause", error)
        if isinstance(error, errors.RayTaskError) and not isinstance(cause, errors.RayError):
            raise _unable(cause) from error
        seat = self._seats.pop(agent)
        self._lacking = isinstance(cause, errors.ObjectLostError)
        if seat.rested:  # nothing of this run was lost
            self.start(agent)
            return []
        return [Lost(agent, _in_short(cause))]

    def _heard(self, agent: int, told: Sequence[Ended | Message | Exception | None]) -> list[Event]:
        events: list[Event] = []
        for each in told:
            if each is None:
                self._seats[agent].streams.popleft()
            elif isinstance(each, Ended):
                events.append(each)
            elif isinstance(each, Exception):
                raise each
            else:
                self._tell(each)
        return events

    def _watch(self, came: bool) -> None:
        """Say so, once, where no agent has started for long: others may have what it needs."""
        if came:
            self._waiting_since = None
        if self._waiting_since is not None and time.monotonic() - self._waiting_since > _PATIENCE_SECONDS:
            self._waiting_since = None
            warnings.warn(
                f"Ray: no agent has started in {_PATIENCE_SECONDS:.0f} seconds; others may have the nodes' "
                "resources, and the run waits for them",
                stacklevel=2,
            )


def _unable(cause: Exception) -> Exception:
    """Say why an agent cannot begin."""
    if isinstance(cause, ImportError):
        return ExecutionError(
            f"Ray: an agent cannot import what the experiment needs ({cause}); install it on every node, or "
            "give its folder: Ray(py_modules=[…])"
        )
    if isinstance(cause, ParibusError):
        return cause
    return ExecutionError(f"Ray: an agent cannot begin ({type(cause).__name__}: {cause})")


def _in_short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

"""Agents as actors of a Ray cluster: what runs in them, and the driver's hand on them."""

from __future__ import annotations

import os
import pickle
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, final

from paribus.engine.building.work import Work
from paribus.engine.running.agent import Agent
from paribus.engine.running.executors.base import Backend
from paribus.engine.running.executors.serving import sendable
from paribus.engine.running.executors.shipping import packed, unpack
from paribus.engine.running.messages import Ended, Event, Lease, Lost, Message, Ready, Tell
from paribus.engine.training.journal import Journal
from paribus.errors import ExecutionError, ParibusError

# Events that come within this time travel together; a lease that is over in less is told of once, at its end.
_TOGETHER_SECONDS = 0.05
_PATIENCE_SECONDS = 60.0
# A spare costs seconds of a core to start, which a short run does not have.
_SPARE_SECONDS = 10.0


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
        self._leases: deque[Future[None]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="paribus-agent")

    def begin(self, number: int, token: str, packed: Any, journal: bytes, surroundings: Surroundings) -> str:
        """Be an agent of a run; return the node that this is."""
        import ray

        surroundings.enter()
        if token not in self._works:
            self._works = {token: _unpacked(*packed)}
        self._told.clear()
        self._leases.clear()
        self._agent = Agent(number, self._works[token], pickle.loads(journal), self._told.append)
        return str(ray.get_runtime_context().get_node_id())

    def train(self, lease: bytes) -> bytes:
        """Begin to train a lease, after those before it, and tell as `hear` does."""
        self._leases.append(self._thread.submit(self._agent.train, pickle.loads(lease)))
        return self.hear()

    def hear(self) -> bytes:
        """Wait for something to tell, and tell it.

        Returns:
            Pickled: events, then for each lease that is over ``None``, or the error that ends the run.
        """
        while not wait([self._leases[0]], _TOGETHER_SECONDS).done and not self._told:
            pass
        over = [lease.exception() for lease in takewhile(Future.done, [*self._leases])]
        told = self._told[:]
        del self._told[: len(told)]  # the other thread may have appended meanwhile
        for _ in over:
            self._leases.popleft()
        return pickle.dumps([*told, *(sendable(e) if isinstance(e, Exception) else None for e in over)])

    def rest(self) -> None:
        """Let go of the run's states."""
        del self._agent


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
        answers: What is to come from it, in this order: that it has begun, then what it tells of leases.
        begun: Whether it has begun.
        leases: How many it has that are not over.
        rested: Whether it was at rest before, and may have ended there.
    """

    actor: Any
    answers: deque[Any]
    begun: bool = False
    leases: int = 0
    rested: bool = False


@final
class ActorBackend(Backend):
    """Agents that are actors.

    Args:
        workers: How many agents to keep.
        make: Makes an actor; an error where no node can hold one.
        spare: Makes an actor that holds nothing that others may want, and waits to take the place of one that
            is lost; ``None``: there is no such thing.
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
        spare: Callable[[], Any] | None,
        ship: Callable[[bool], Parcel],
        journal: Journal,
        tell: Tell,
        warm: list[Any],
        surroundings: Surroundings,
    ) -> None:
        import ray

        self._ray = ray
        self.workers = workers
        self._make, self._spare, self._ship, self._warm = make, spare, ship, warm
        self._journal, self._tell = pickle.dumps(journal), tell
        self._surroundings = surroundings
        self._seats: dict[int, _Seat] = {}
        self._lacking = False
        self._since = time.monotonic()
        self._warned = False

    def start(self, agent: int) -> None:
        """Let an actor be an agent: one at rest, or a new one."""
        rested = bool(self._warm)
        actor = self._warm.pop() if rested else self._make()
        parcel = self._ship(self._lacking)
        self._lacking = False
        begun = actor.begin.remote(agent, parcel.token, parcel.reference, self._journal, self._surroundings)
        self._seats[agent] = _Seat(actor, deque([begun]), rested=rested)

    def assign(self, agent: int, lease: Lease) -> None:
        """Send a lease."""
        if agent in self._seats:  # else its loss is being told
            seat = self._seats[agent]
            seat.answers.append(seat.actor.train.remote(packed(lease)))
            seat.leases += 1

    def receive(self, seconds: float) -> Sequence[Event]:
        """Wait for whichever agent tells something first, and take what all have told."""
        self._watch()
        heads = {seat.answers[0]: agent for agent, seat in self._seats.items() if seat.answers}
        if not heads:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(list(heads), num_returns=1, timeout=seconds)
        if ready and len(heads) > 1:
            ready, _ = self._ray.wait(list(heads), num_returns=len(heads), timeout=0)
        return [event for head in ready for event in self._read(heads[head], head)]

    def actor(self, agent: int) -> Any:
        """Return the actor that is an agent."""
        return self._seats[agent].actor

    def close(self, *, keep: bool) -> None:
        """End all agents; where they may be kept, those that have nothing to do go to rest instead."""
        for seat in self._seats.values():
            if keep and not seat.answers:
                seat.actor.rest.remote()
                self._warm.append(seat.actor)
            else:
                with suppress(self._ray.exceptions.RayError):  # one that is not made yet is not made any more
                    self._ray.kill(seat.actor)
        self._seats.clear()

    def _read(self, agent: int, head: Any) -> list[Event]:
        """Take an answer, and ask for another where a lease is not over."""
        try:
            told = self._ray.get(head)
        except self._ray.exceptions.RayError as error:
            return self._lost(agent, error)
        seat = self._seats[agent]
        seat.answers.popleft()
        if not seat.begun:
            seat.begun, seat.rested = True, False
            return [Ready(agent, told)]
        events = self._heard(seat, pickle.loads(told))
        if seat.leases and not seat.answers:
            seat.answers.append(seat.actor.hear.remote())
        return events

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

    def _heard(self, seat: _Seat, told: Sequence[Ended | Message | Exception | None]) -> list[Event]:
        events: list[Event] = []
        for each in told:
            if each is None:
                seat.leases -= 1
            elif isinstance(each, Ended):
                events.append(each)
            elif isinstance(each, Exception):
                raise each
            else:
                self._tell(each)
        return events

    def _watch(self) -> None:
        """See to what a run wants only when it is long: a spare, and a word where nothing happens."""
        waited = time.monotonic() - self._since
        begun = [seat.begun for seat in self._seats.values()]
        if self._spare is not None and not self._warm and all(begun) and waited > _SPARE_SECONDS:
            self._warm.append(self._spare())
        if not self._warned and waited > _PATIENCE_SECONDS:
            self._warned = True
            if not any(begun):
                warnings.warn(
                    f"Ray: no agent has started in {_PATIENCE_SECONDS:.0f} seconds; others may have the "
                    "nodes' resources, and the run waits for them",
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

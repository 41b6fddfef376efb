"""What runs where a worker is: an agent trains leases, and keeps a few of the states that it reached."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import final

from paribus.engine.building.work import Work
from paribus.engine.fusion import Fuse
from paribus.engine.fusion.together import Past, Together
from paribus.engine.running.messages import Ended, Lease, Message, Order, Reached, Saved
from paribus.engine.training.journal import Journal, Saver
from paribus.engine.training.state import State

_HELD = 64
_HELD_BYTES = 2**27
_TOLD_SECONDS = 0.1


@final
class Agent:
    """Trains what it is given, puts final states itself, and tells how each order ended.

    Args:
        number: By which the driver knows it.
        work: What all tasks share.
        journal: Puts states.
        send: Takes what the driver is told.
    """

    def __init__(
        self, number: int, work: Work, journal: Journal, send: Callable[[Ended | Message], object]
    ) -> None:
        self._number = number
        self._work = work
        self._journal = journal
        self._send = send
        self._held: dict[str, State] = {}
        self._together: dict[Fuse, Together] = {}
        self._told: dict[str, float] = {}

    def train(self, lease: Lease) -> None:
        """Train the orders of a lease; what goes on from an end that was not reached is passed over.

        Raises:
            StoreError: A state cannot be read or put.
        """
        for _ in self.advance(lease):
            pass

    def advance(self, lease: Lease) -> Iterator[None]:
        """Train the orders of a lease; pause whenever some of them are over, which was told."""
        orders = {order.task.key: order for order in lease.orders}
        waiting, ended = list(orders.values()), dict[str, str | None]()
        together, lasting = self._together_by(lease.fuse), _lasting(lease.orders)
        while waiting or together:
            later = orders.keys() - ended.keys()
            # What is only evaluated goes on from itself.
            ready = [o for o in waiting if o.task.parent == o.task.key or o.task.parent not in later]
            begun = {order.task.key for order in ready}
            waiting = [order for order in waiting if order.task.key not in begun]
            for order in ready:
                parent = order.task.parent
                state = order.state or (ended.get(parent) if parent else None)
                if parent is None or state is not None:
                    self._admit(dataclasses.replace(order, state=state), together, lasting[order.task.key])
                else:
                    ended[order.task.key] = None
            over = together.advance()
            for end, outcome in over:
                if end is not None and orders[outcome.key].kept:
                    self._hold(outcome.key, end)
            for outcome in self._journal.put_all(over):
                ended[outcome.key] = outcome.state
                self._told.pop(outcome.key, None)
                self._send(Ended(self._number, outcome))
            yield

    def _together_by(self, fuse: Fuse) -> Together:
        """Return what trains: the same for all leases, so that the groups of one are there for the next."""
        if fuse not in self._together:
            self._together[fuse] = Together(self._work, fuse, self._journal.store.path / "verdicts")
        return self._together[fuse]

    def _admit(self, order: Order, together: Together, until: int) -> None:
        task, get = order.task, self._journal.store.get
        saver = Saver(self._journal, lambda outcome: self._send(Saved(self._number, task.key, outcome)))

        def past() -> Past:
            return self._state(order), {key: State.from_bytes(get(at)) for key, at in task.inputs.items()}

        together.admit(task, past, partial(self._tell, task.key), saver, until)

    def _state(self, order: Order) -> State | None:
        """Return the state that an order starts from: the one in memory, or the stored one."""
        if order.task.parent is None or order.state is None:
            return None
        held = self._held.get(order.task.parent)
        return State.from_bytes(self._journal.store.get(order.state)) if held is None else held

    def _hold(self, key: str, state: State) -> None:
        """Keep a state; the oldest go, so that there are few and they are small together."""
        self._held[key] = state
        while len(self._held) > _HELD or (len(self._held) > 1 and self._bytes > _HELD_BYTES):
            del self._held[next(iter(self._held))]

    @property
    def _bytes(self) -> int:
        return sum(tensor.nbytes for state in self._held.values() for tensor in state.tensors.values())

    def _tell(self, key: str, step: int, loss: float) -> None:
        """Tell how far an order is: the more of them go on at a time, the less often each."""
        now = time.monotonic()
        if now - self._told.get(key, -math.inf) >= _TOLD_SECONDS * len(self._told):
            self._told[key] = now
            self._send(Reached(self._number, key, step, loss))


def _lasting(orders: Sequence[Order]) -> dict[str, int]:
    """Return, for each order, the step up to which one learner goes on from its end, and not several."""
    after: dict[str | None, list[str]] = {}
    for order in orders:
        if order.task.parent != order.task.key:
            after.setdefault(order.task.parent, []).append(order.task.key)
    lasting: dict[str, int] = {}
    for task in (order.task for order in reversed(orders)):
        following = after.get(task.key, ())
        lasting[task.key] = lasting[following[0]] if len(following) == 1 else task.stop
    return lasting

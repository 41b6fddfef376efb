"""Who trains what: a pure scheduler. Events go in, commands come out; there is no clock and no I/O in it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import final

from paribus.engine.building.work import Outcome, Task
from paribus.engine.fusion import Fuse
from paribus.engine.running.frontier import Frontier
from paribus.engine.running.messages import (
    Assign,
    Claim,
    Claimed,
    Command,
    Ended,
    Event,
    Lease,
    Lost,
    Order,
    Polled,
    Ready,
    Settle,
    Start,
)
from paribus.engine.running.shares import ends_of, share_out, steps_of
from paribus.errors import ExecutionError

LOSSES = 3
# What an agent has to do beyond its present order is short, so that none waits behind a long one.
_SECONDS_AHEAD = 1.0
_MEMORY = 0.9
# A lease of groups has about as many learners at most: what one agent claims, others do not train meanwhile.
_GROUPED = 256


@final
@dataclass(slots=True)
class _Agent:
    """What the scheduler knows of an agent.

    Attributes:
        orders: What it has and has not ended, by key, in its order.
        near: Tasks that go on from what it ended, the next one last; some may be gone.
        node: The machine that it is on; empty where that is all the same.
        ready: Whether it has started.
        claiming: Whether tasks are being claimed for it.
    """

    orders: dict[str, Order] = field(default_factory=dict)
    near: deque[Task] = field(default_factory=deque)
    node: str = ""
    ready: bool = False
    claiming: bool = False


@final
class Scheduler:
    """Walks a tree of tasks with agents that come and go.

    Each agent goes depth first: it prefers what goes on from the ends that it holds. An agent that has
    nothing of its own prefers what goes on from its node's, and else takes the oldest task that is free.
    Where orders are short, leases hold several of them, and an agent is given its next lease before it has
    ended the present one; near the end of a run leases shrink, so that no agent has work left while others
    have none.

    Args:
        workers: How many agents to keep.
        orders: How many orders an agent may have at a time.
    """

    def __init__(self, workers: int, orders: int = 1) -> None:
        self._workers = workers
        self._orders = orders
        self._agents: dict[int, _Agent] = {}
        self._elsewhere: dict[str, Task] = {}
        self._losses: dict[str, int] = {}
        self._stillborn = 0
        self._started = self._leases = 0
        self._pace: float | None = None
        self._commands: list[Command] = []
        self._take_on((), False)

    @property
    def over(self) -> bool:
        """Whether every task is settled."""
        return not self._frontier

    @property
    def waits_for_others(self) -> bool:
        """Whether there are tasks that other drivers train."""
        return bool(self._elsewhere)

    def begin(self, tasks: Sequence[Task], fuse: Fuse = False) -> list[Command]:
        """Take the tasks of a round, after all of the last are settled; return the first commands.

        Args:
            tasks: What to train, parents before children, with distinct keys.
            fuse: How many learners may be trained as one. Where any may, a lease is an agent's share of all
                trees: who is to be one group must be at one place.
        """
        self._take_on(tasks, fuse)
        for _ in range(min(self._workers, len(tasks)) - len(self._agents)):
            self._start()
        self._feed_idle()
        return self._issued()

    def handle(self, event: Event | Claimed | Polled) -> list[Command]:
        """Take an event; return what is to be done now.

        Raises:
            ExecutionError: A task was lost too often, or agents end before they start.
        """
        match event:
            case Ready(number, node):
                self._ready(number, node)
            case Ended(number, outcome):
                self._ended(number, outcome)
            case Lost(number, reason):
                self._lost(number, reason)
            case Claimed():
                self._claimed(event)
            case Polled():
                self._release(self._elsewhere.values())
                self._elsewhere.clear()
        self._feed_idle()
        return self._issued()

    # --- events --------------------------------------------------------------------------------------------

    def _ready(self, number: int, node: str) -> None:
        if number in self._agents:
            self._stillborn = 0
            self._agents[number].ready, self._agents[number].node = True, node
            self._feed(number)

    def _ended(self, number: int, outcome: Outcome) -> None:
        """Settle an order; what comes from a lost agent, or comes twice, is passed over."""
        agent = self._agents.get(number)
        order = None if agent is None else agent.orders.pop(outcome.key, None)
        if agent is None or order is None:
            return
        self._learn(order.task, outcome)
        self._losses.pop(outcome.key, None)
        self._settle(outcome, order.task, agent)
        self._feed(number)

    def _lost(self, number: int, reason: str) -> None:
        """Free what an agent had, and start another in its place."""
        agent = self._agents.pop(number, None)
        if agent is None:
            return
        self._idle.pop(number, None)
        self._stillborn += not agent.ready
        if self._stillborn > LOSSES:
            raise ExecutionError(f"run: {self._stillborn} agents ended before they had started: {reason}")
        for key in list(agent.orders)[:1]:  # the others had not begun, or it stands for its group
            self._losses[key] = self._losses.get(key, 0) + 1
            if self._losses[key] > LOSSES:
                raise ExecutionError(
                    f"run: the segment {key} was lost {self._losses[key]} times, last since {reason}; see "
                    "whether memory runs out, or run with executor='serial'"
                )
        self._put_back(order.task for order in agent.orders.values())
        if self._frontier:
            self._start()

    def _claimed(self, event: Claimed) -> None:
        agent = self._agents.get(event.agent)
        for key in event.elsewhere:
            if key in self._frontier and not self._frontier.waits(key):
                self._elsewhere[key] = self._frontier[key]
        for outcome in event.settled:
            if outcome.key in self._frontier:
                self._settle(outcome, None, agent)
        orders = tuple(order for order in event.orders if order.task.key in self._frontier)
        if agent is None:  # lost meanwhile
            self._put_back(order.task for order in orders)
            return
        agent.claiming = False
        if orders:
            self._leases += 1
            agent.orders.update((order.task.key, order) for order in orders)
            self._commands.append(Assign(event.agent, Lease(self._leases, orders, self._fuse)))
        self._feed(event.agent)

    # --- what follows from them ----------------------------------------------------------------------------

    def _take_on(self, tasks: Sequence[Task], fuse: Fuse) -> None:
        self._frontier, self._fuse = Frontier(tasks), fuse
        # Every free task is in the common queue; what is there and not free was taken from elsewhere.
        self._common = deque(self._frontier.first)
        self._free = {task.key for task in self._common}
        self._idle = dict.fromkeys(number for number, agent in self._agents.items() if agent.ready)
        # What goes on from the ends that were reached on a node.
        self._nearby: dict[str, deque[Task]] = {}
        for agent in self._agents.values():
            agent.near.clear()
        self._shares: deque[list[Task]] = deque()
        if fuse is not False and self._common:
            trees = [self._frontier.tree_of(task) for task in self._common]
            leases = math.ceil(sum(map(ends_of, trees)) / (self._workers * _GROUPED))
            shares = share_out(trees, [0.0] * (self._workers * leases))
            self._shares.extend(share for share in shares if share)
            self._free.clear()  # each is in a share

    def _start(self) -> None:
        self._agents[self._started] = _Agent()
        self._commands.append(Start(self._started))
        self._started += 1

    def _settle(self, outcome: Outcome, task: Task | None, agent: _Agent | None) -> None:
        released, above = self._frontier.finish(outcome)
        self._commands.append(Settle(outcome, task))
        self._commands += [Settle(each, None) for each in above]
        held = {} if agent is None else agent.orders
        for each in above:
            held.pop(each.key, None)
        free = [task for task in released if task.key not in held]
        self._release(free)
        if agent is not None:
            agent.near += reversed(free)
            if agent.node:
                self._nearby.setdefault(agent.node, deque()).extend(free)

    def _release(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            self._common.append(task)
            self._free.add(task.key)

    def _put_back(self, tasks: Iterable[Task]) -> None:
        """Free tasks that were taken: in front, and the first of them first."""
        for task in reversed(list(tasks)):
            if not self._frontier.waits(task.key):
                self._common.appendleft(task)
                self._free.add(task.key)

    def _learn(self, task: Task, outcome: Outcome) -> None:
        """Note how long a step takes."""
        pace = outcome.seconds / max(1, outcome.step - task.start)
        self._pace = pace if self._pace is None else _MEMORY * self._pace + (1 - _MEMORY) * pace

    def _seconds(self, task: Task) -> float:
        return _SECONDS_AHEAD if self._pace is None else self._pace * max(1, task.stop - task.start)

    def _feed_idle(self) -> None:
        while self._idle and (self._free or self._shares):
            self._feed(next(iter(self._idle)))

    def _feed(self, number: int) -> None:
        """Claim what an agent is to have next, where it needs more."""
        agent = self._agents[number]
        if not agent.ready or agent.claiming or len(agent.orders) > self._orders // 2:
            return
        self._idle.pop(number, None)
        if self._fuse is not False:
            self._feed_group(number)
            return
        share = len(self._free) // (2 * len(self._agents))
        ahead = sum(self._seconds(order.task) for order in agent.orders.values())
        if not agent.orders or (share and ahead < _SECONDS_AHEAD):
            picked = self._pick(agent, max(1, share), ahead)
            if picked:
                agent.claiming = True
                asked = tuple((task, self._frontier.awaited(task.key)) for task in picked)
                self._commands.append(Claim(number, asked))
                return
        if not agent.orders:
            self._idle[number] = None

    def _pick(self, agent: _Agent, share: int, ahead: float) -> list[Task]:
        """Take free tasks, and what goes on from them, as long as they are short together."""
        picked: list[Task] = []
        room = self._orders - len(agent.orders)
        while len(picked) < room and (not picked or ahead < _SECONDS_AHEAD):
            # What goes on from a task of this lease could be given to nobody else before it ends.
            task = self._frontier.next_of(picked[-1].key) if picked else None
            if task is None:
                task = self._take(agent) if share else None
                share -= 1
            if task is None:
                break
            picked.append(task)
            ahead += self._seconds(task)
        return picked

    def _feed_group(self, number: int) -> None:
        """Claim an agent's share: one of those made at first, and later of what was left, or came back."""
        agent = self._agents[number]
        if agent.orders:
            return
        share = self._shares.popleft() if self._shares else self._share_of_free(number)
        if share:
            self._free.difference_update(task.key for task in share)
            agent.claiming = True
            asked = tuple((task, self._frontier.awaited(task.key)) for task in share)
            self._commands.append(Claim(number, asked))
        else:
            self._idle[number] = None

    def _share_of_free(self, number: int) -> list[Task]:
        """Share out what is free; of what others have, half is taken to be over."""
        free = {task.key: task for task in self._common if task.key in self._free}
        if not free:
            return []
        trees = [self._frontier.tree_of(task) for task in free.values()]
        leases = math.ceil(sum(map(ends_of, trees)) / _GROUPED)
        others = [agent for other, agent in self._agents.items() if other != number]
        held = [steps_of(order.task for order in agent.orders.values()) / 2 for agent in others]
        return share_out(trees, [0.0] * leases + held)[0]

    def _take(self, agent: _Agent) -> Task | None:
        """Take what goes on from an agent's own ends; else from those of its node; else the oldest task."""
        near, nearby = agent.near, self._nearby.get(agent.node, deque())
        for tasks, take in ((near, near.pop), (nearby, nearby.popleft), (self._common, self._common.popleft)):
            while tasks:
                task = take()
                if task.key in self._free:
                    self._free.discard(task.key)
                    return task
        return None

    def _issued(self) -> list[Command]:
        commands, self._commands = self._commands, []
        return commands

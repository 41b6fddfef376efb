"""The real scheduler, with agents that exist in virtual time alone: what would so many workers do?"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, final

from paribus.engine.building.work import Outcome, Task
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
    Ready,
    Settle,
    Start,
)
from paribus.engine.running.scheduler import Scheduler


@final
@dataclass(frozen=True)
class Costs:
    """What things take, in seconds.

    Attributes:
        start: From the wish for an agent to its first word.
        message: On the way between driver and agent.
        driver: Of the driver, for each order: its event read, its row written, the next one claimed.
        order: Of an agent, for each order, beside its training.
        lifetime: Of an agent, on average, until it is lost.
        detection: From the end of an agent until the driver hears of it.
    """

    start: float = 3.0
    message: float = 0.001
    driver: float = 0.0005
    order: float = 0.002
    lifetime: float = math.inf
    detection: float = 1.0


@final
@dataclass(frozen=True)
class Simulated:
    """What came of it.

    Attributes:
        settled: How often each task was settled, by key.
        seconds: Virtual time from the first command to the last outcome.
        trained: Seconds of training that the plan holds.
        workers: How many agents were kept.
        driving: Seconds in which the driver was at work.
        losses: Agents that were lost.
    """

    settled: Counter[str]
    seconds: float
    trained: float
    workers: int
    driving: float
    losses: int

    @property
    def efficiency(self) -> float:
        """The share of the agents' time that went into what the plan holds."""
        return self.trained / (self.workers * self.seconds)

    @property
    def load(self) -> float:
        """The share of the time in which the driver was at work."""
        return self.driving / self.seconds


def plan_of(learners: int, forks: int = 1) -> list[Task]:
    """Make tasks of trees: from each trunk, so many forks; with one, every learner is a task of its own."""
    configuration: Any = None  # the scheduler does not look
    tasks: list[Task] = []
    for number in range(learners):
        trunk = number - number % forks
        if forks > 1 and number == trunk:
            tasks.append(Task(f"trunk-{trunk}", None, 0, 100, configuration, {}))
        parent = f"trunk-{trunk}" if forks > 1 else None
        tasks.append(Task(f"learner-{number}", parent, 100, 200, configuration, {}))
    return tasks


def durations(tasks: Iterable[Task], mean: float, spread: float, seed: int) -> dict[str, float]:
    """Draw how long each task trains: lognormal, ``spread`` of its logarithm, around a mean in seconds."""
    draws = random.Random(seed)
    middle = math.log(mean) - spread**2 / 2
    return {task.key: draws.lognormvariate(middle, spread) for task in tasks}


def simulate(
    tasks: Sequence[Task], seconds: dict[str, float], workers: int, orders: int, costs: Costs, seed: int = 0
) -> Simulated:
    """Let the scheduler walk tasks with agents that need so many seconds for each; nothing is trained."""
    world = _World(seconds, costs, random.Random(seed))
    scheduler = Scheduler(workers, orders)
    world.obey(scheduler, scheduler.begin(tasks))
    while not scheduler.over:
        world.obey(scheduler, scheduler.handle(world.next()))
    return Simulated(world.settled, world.now, sum(seconds.values()), workers, world.driving, world.losses)


@final
class _World:
    """Virtual time: a heap of what will happen, and a driver that does one thing after another."""

    def __init__(self, seconds: dict[str, float], costs: Costs, draws: random.Random) -> None:
        self._seconds, self._costs, self._draws = seconds, costs, draws
        self._happens: list[tuple[float, int, Event]] = []
        self._places = count()
        self._free_at: dict[int, float] = {}
        self._ends_at: dict[int, float] = {}
        self.settled: Counter[str] = Counter()
        self.now = self.driving = 0.0
        self.losses = 0

    def next(self) -> Event:
        """Move on to the next event that reaches the driver."""
        while True:
            time, _, event = heapq.heappop(self._happens)
            if isinstance(event, Lost):
                self.losses += 1
            elif time > self._ends_at[event.agent]:
                continue
            self.now = max(self.now, time)
            if isinstance(event, Ended):
                self.now += self._costs.driver
                self.driving += self._costs.driver
            return event

    def obey(self, scheduler: Scheduler, commands: Sequence[Command]) -> None:
        """Carry out commands."""
        for command in commands:  # the most frequent first
            match command:
                case Settle():
                    self.settled[command.outcome.key] += 1
                case Claim():
                    orders = tuple(Order(task, None, kept) for task, kept in command.tasks)
                    self.obey(scheduler, scheduler.handle(Claimed(command.agent, orders)))
                case Assign():
                    self._train(command.agent, command.lease)
                case Start():
                    self._start(command.agent)

    def _start(self, agent: int) -> None:
        ready = self._free_at[agent] = self.now + self._costs.start
        alive = math.inf
        if self._costs.lifetime < math.inf:
            alive = self._draws.expovariate(1 / self._costs.lifetime)
            self._happen(ready + alive + self._costs.detection, Lost(agent, "its time had come"))
        self._ends_at[agent] = ready + alive
        self._happen(ready + self._costs.message, Ready(agent))

    def _train(self, agent: int, lease: Lease) -> None:
        time = max(self._free_at[agent], self.now + self._costs.message)
        for order in lease.orders:
            key, seconds = order.task.key, self._seconds[order.task.key]
            time += seconds + self._costs.order
            outcome = Outcome(key, "done", order.task.stop, {}, seconds=seconds, state=key)
            self._happen(time + self._costs.message, Ended(agent, outcome))
        self._free_at[agent] = time

    def _happen(self, time: float, event: Event) -> None:
        heapq.heappush(self._happens, (time, next(self._places), event))

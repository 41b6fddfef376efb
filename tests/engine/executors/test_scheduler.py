"""The scheduler, without clock and processes: whatever happens, each task is settled once, in order."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paribus.engine.building.work import Outcome, Task
from paribus.engine.fusion import Fuse
from paribus.engine.running.messages import (
    Assign,
    Claim,
    Claimed,
    Command,
    Ended,
    Lease,
    Lost,
    Order,
    Polled,
    Ready,
    Settle,
    Start,
)
from paribus.engine.running.scheduler import LOSSES, Scheduler
from paribus.engine.running.shares import steps_of
from paribus.errors import ExecutionError

NOTHING: Any = None


def task(key: str, parent: str | None = None, *reads: str, steps: int = 10) -> Task:
    return Task(key, parent, 0, steps, NOTHING, {}, reads)


def ended(key: str, status: str = "done", seconds: float = 0.0) -> Outcome:
    return Outcome(key, status, 10, {}, seconds=seconds, state="s" if status == "done" else None)


class World:
    """A driver, its agents and another driver: carries out commands, and checks each."""

    def __init__(
        self,
        tasks: Sequence[Task],
        workers: int,
        orders: int = 1,
        fuse: Fuse = False,
        nodes: Mapping[int, str] | None = None,
    ) -> None:
        self.nodes = nodes or {}
        self.tasks: dict[str, Task] = {}
        self.scheduler = Scheduler(workers, orders)
        self.starting: list[int] = []
        self.agents: dict[int, deque[Lease]] = {}
        self.settled: dict[str, str] = {}
        self.trained: list[str] = []
        self.elsewhere: dict[str, int] = {}
        self.found: dict[str, Outcome] = {}
        self.begin(tasks, fuse)

    def begin(self, tasks: Sequence[Task], fuse: Fuse = False) -> None:
        self.tasks |= {task.key: task for task in tasks}
        self.carry_out(self.scheduler.begin(tasks, fuse))

    def handle(self, event: Any) -> None:
        self.carry_out(self.scheduler.handle(event))

    def carry_out(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Start(agent):
                    self.starting.append(agent)
                case Claim():
                    self.handle(self.claimed(command))
                case Assign(agent, lease):
                    self.check_lease(agent, lease)
                    self.agents[agent].append(lease)
                case Settle(outcome):
                    self.settle(outcome)

    def claimed(self, asked: Claim) -> Claimed:
        orders, elsewhere, found = [], [], []
        for each, kept in asked.tasks:
            if self.elsewhere.get(each.key, 0) > 0 or each.parent in elsewhere:
                self.elsewhere[each.key] = self.elsewhere.get(each.key, 1) - 1
                elsewhere.append(each.key)
            elif each.key in self.found:
                found.append(self.found[each.key])
            else:
                orders.append(Order(each, None, kept))
        return Claimed(asked.agent, tuple(orders), tuple(elsewhere), tuple(found))

    def check_lease(self, agent: int, lease: Lease) -> None:
        assert agent in self.agents, "a lease for an agent that is not there"
        before: set[str] = set()
        held = {o.task.key for leases in self.agents.values() for each in leases for o in each.orders}
        for order in lease.orders:
            key = order.task.key
            assert key not in self.settled
            assert key not in held, "two have one task"
            parent = order.task.parent
            assert parent not in self.tasks or self.settled.get(parent) == "done" or parent in before
            gone = self.settled.keys()
            assert all(read in gone for read in order.task.reads if read in self.tasks)
            before.add(key)

    def settle(self, outcome: Outcome) -> None:
        assert outcome.key not in self.settled, "settled twice"
        parent = self.tasks[outcome.key].parent
        assert parent not in self.tasks or parent in self.settled or outcome.key in self.found
        self.settled[outcome.key] = outcome.status

    # --- what agents do

    def ready(self, agent: int) -> None:
        self.starting.remove(agent)
        self.agents[agent] = deque()
        self.handle(Ready(agent, self.nodes.get(agent, "")))

    def train(self, agent: int, status: str = "done", seconds: float = 0.0) -> Ended | None:
        """End the first order of an agent; one whose parent was not reached is passed over."""
        lease = self.agents[agent][0]
        order, rest = lease.orders[0], lease.orders[1:]
        if rest:
            self.agents[agent][0] = Lease(lease.number, rest)
        else:
            self.agents[agent].popleft()
        parent = order.task.parent
        if parent in self.tasks and self.settled[parent] != "done":
            return None
        self.trained.append(order.task.key)
        event = Ended(agent, ended(order.task.key, status, seconds))
        self.handle(event)
        return event

    def lose(self, agent: int) -> None:
        self.agents.pop(agent, None)
        if agent in self.starting:
            self.starting.remove(agent)
        self.handle(Lost(agent, "killed"))

    def finish(self) -> None:
        while not self.scheduler.over:
            for agent in list(self.starting):
                self.ready(agent)
            for agent in [agent for agent, leases in self.agents.items() if leases]:
                self.train(agent)


@st.composite
def trees(draw: st.DrawFn) -> list[Task]:
    tasks: list[Task] = []
    for number in range(draw(st.integers(1, 14))):
        earlier = [each.key for each in tasks]
        parent = draw(st.sampled_from([None, "stored", *earlier]))
        reads = draw(st.lists(st.sampled_from(earlier), max_size=2, unique=True)) if earlier else []
        tasks.append(task(f"t{number}", parent, *reads))
    return tasks


@given(
    trees(),
    st.integers(1, 4),
    st.integers(1, 5),
    st.sampled_from([False, 8]),
    st.randoms(use_true_random=False),
)
def test_whatever_happens_each_task_is_settled_once(
    tasks: list[Task], workers: int, orders: int, fuse: Fuse, draws: random.Random
) -> None:
    """The world itself checks leases and order."""
    world = World(
        tasks, workers, orders, fuse, nodes={number: "xyz"[number % 3] for number in range(0, 99, 2)}
    )
    world.elsewhere = {each.key: draws.randint(0, 2) for each in tasks if draws.random() < 0.2}
    losses = LOSSES
    while not world.scheduler.over:
        busy = [agent for agent, leases in world.agents.items() if leases]
        doings = ["ready"] * bool(world.starting) + ["train"] * bool(busy)
        doings += ["poll"] * world.scheduler.waits_for_others
        assert doings, "nobody has anything to do, and tasks are left"
        if losses and draws.random() < 0.15:
            losses -= 1
            world.lose(draws.choice([*world.agents, *world.starting]))
            continue
        match draws.choice(doings):
            case "ready":
                world.ready(draws.choice(world.starting))
            case "poll":
                world.handle(Polled())
            case "train":
                told = world.train(draws.choice(busy), draws.choice(STATUSES))
                if told is not None and draws.random() < 0.3:
                    world.handle(told)  # twice
    assert world.settled.keys() == world.tasks.keys()


STATUSES = ["done"] * 6 + ["failed", "diverged"]


def test_an_agent_goes_depth_first() -> None:
    tasks = [task(root + path, (root + path)[:-1] or None) for root in "ab" for path in ("", "1", "11", "2")]
    world = World(tasks, 1)
    world.finish()
    assert world.trained == ["a", "a1", "a11", "a2", "b", "b1", "b11", "b2"]


def test_agents_are_there_for_the_next_round() -> None:
    world = World([task("a"), task("b")], 2)
    world.finish()
    world.begin([task("c"), task("d"), task("e")])
    assert not world.starting
    world.finish()
    world.lose(next(iter(world.agents)))
    assert not world.starting, "nobody is needed between rounds"
    world.begin([task("f"), task("g")])
    assert len(world.starting) == 1
    world.finish()
    assert sorted(world.trained) == list("abcdefg")


def test_agents_go_on_from_what_they_hold() -> None:
    tasks = [task(root + path, root if path else None) for root in "ab" for path in ("", "1", "2", "3")]
    world = World(tasks, 2)
    for agent in list(world.starting):
        world.ready(agent)
    one, other = world.agents
    of = {agent: leases[0].orders[0].task.key for agent, leases in world.agents.items()}
    for agent in (one, other, other, one, one, other):
        assert world.agents[agent][0].orders[0].task.key.startswith(of[agent])
        world.train(agent, seconds=100.0)


def test_an_agent_without_ends_of_its_own_goes_on_from_those_of_its_node() -> None:
    tasks = [task(key) for key in ("a", "b", "c", "d", "e")] + [task("a1", "a"), task("a2", "a")]
    world = World(tasks, 3, nodes={0: "x", 1: "x", 2: "y"})
    for agent in list(world.starting):
        world.ready(agent)
    for agent, then in ((0, "a1"), (2, "d"), (1, "a2"), (0, "e")):
        world.train(agent, seconds=100.0)
        assert world.agents[agent][0].orders[0].task.key == then


def test_a_lease_holds_what_is_short_and_never_what_others_lack() -> None:
    world = World([task(f"t{n}") for n in range(100)], 2, orders=8)
    for agent in list(world.starting):
        world.ready(agent)
    assert [len(leases[0].orders) for leases in world.agents.values()] == [1, 1], "nothing is known yet"
    sizes = []
    while not world.scheduler.over:
        for agent, leases in world.agents.items():
            if leases:
                sizes.append(len(leases[-1].orders))
                world.train(agent, seconds=0.01)
    assert max(sizes) == 8
    assert sizes[-1] == 1


def test_what_is_long_is_given_one_by_one() -> None:
    world = World([task(f"t{n}") for n in range(20)], 2, orders=8)
    for agent in list(world.starting):
        world.ready(agent)
    while not world.scheduler.over:
        for agent, leases in world.agents.items():
            assert sum(len(lease.orders) for lease in leases) <= 1
            if leases:
                world.train(agent, seconds=600.0)


def test_a_chain_is_one_lease() -> None:
    chain = [task("t0"), *(task(f"t{n}", f"t{n - 1}") for n in range(1, 6))]
    world = World([task("first"), *chain], 1, orders=4)
    world.ready(0)
    world.train(0, seconds=0.01)
    assert [order.task.key for order in world.agents[0][0].orders] == ["t0", "t1", "t2", "t3"]
    assert [order.kept for order in world.agents[0][0].orders] == [True] * 4


def study(trees: int, forks: int, start: int, end: int) -> list[Task]:
    """Trees of a trunk up to a step, and forks from there to the end."""
    trunks = [task(f"t{tree}", steps=start) for tree in range(trees)]
    return trunks + [
        task(f"t{tree}f{fork}", f"t{tree}", steps=end - start)
        for tree in range(trees)
        for fork in range(forks)
    ]


def test_one_agent_has_all_trees_of_learners_that_may_be_groups() -> None:
    world = World(study(3, 6, 100, 600), 1, fuse="auto")
    world.ready(0)
    assert len(world.agents[0][0].orders) == 3 * 7


def test_a_lease_of_groups_has_so_many_learners_that_others_find_work() -> None:
    world = World([task(f"t{number}") for number in range(600)], 1, fuse="auto")
    world.ready(0)
    assert len(world.agents[0][0].orders) == 200
    world.finish()


@pytest.mark.parametrize(("trees", "start"), [(2, 100), (3, 100), (3, 500), (1, 100), (5, 10)])
def test_agents_have_equal_shares_of_trees_that_may_be_groups(trees: int, start: int) -> None:
    """Once the trunks are trained, what was left of parted trees is given too."""
    world = World(study(trees, 12, start, 600), 2, fuse="auto")
    steps = [0, 0]
    for agent in (0, 1):
        world.ready(agent)
    while not world.scheduler.over:
        agent = min((a for a, leases in world.agents.items() if leases), key=lambda a: steps[a])
        steps[agent] += steps_of([world.agents[agent][0].orders[0].task])
        world.train(agent)
    assert max(steps) <= 1.2 * min(steps)


def test_a_task_that_kills_its_agents_ends_the_run() -> None:
    world = World([task("deadly"), task("other")], 1)
    for _ in range(LOSSES):
        world.ready(world.starting[0])
        world.lose(next(iter(world.agents)))
    world.ready(world.starting[0])
    with pytest.raises(ExecutionError, match=r"the segment deadly was lost 4 times, last since killed; see"):
        world.lose(next(iter(world.agents)))


def test_agents_that_cannot_start_end_the_run() -> None:
    world = World([task("t")], 1)
    for _ in range(LOSSES):
        world.lose(world.starting[0])
    with pytest.raises(ExecutionError, match="4 agents ended before they had started: killed"):
        world.lose(world.starting[0])


def test_what_the_store_has_already_is_settled_and_goes_on() -> None:
    world = World([task("a"), task("b", "a")], 1)
    world.found = {"a": ended("a")}
    world.finish()
    assert world.trained == ["b"]
    assert Counter(world.settled.values()) == {"done": 2}


def test_a_failure_is_not_tried_again_and_blocks_what_goes_on_from_it() -> None:
    world = World([task("a"), task("b", "a"), task("c", "b"), task("d")], 1)
    world.ready(0)
    world.train(0, "failed")
    world.finish()
    assert world.trained == ["a", "d"]
    assert world.settled == {"a": "failed", "b": "blocked", "c": "blocked", "d": "done"}

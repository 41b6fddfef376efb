"""The scheduler among many agents, in virtual time: no clock of this machine has a say."""

from __future__ import annotations

import math

import pytest
from benchmarks.simulation import Costs, Simulated, durations, plan_of, simulate


def simulated(
    learners: int, workers: int, orders: int, costs: Costs, *, forks: int = 1, seed: int = 0
) -> Simulated:
    tasks = plan_of(learners, forks)
    return simulate(tasks, durations(tasks, 0.5, 0.5, seed), workers, orders, costs, seed)


@pytest.mark.parametrize("forks", [1, 6])
@pytest.mark.parametrize("lifetime", [math.inf, 60.0, 12.0])
@pytest.mark.parametrize("orders", [1, 8])
def test_each_task_is_settled_once_whoever_is_lost(forks: int, lifetime: float, orders: int) -> None:
    found = simulated(900, 30, orders, Costs(start=1.0, lifetime=lifetime), forks=forks)
    assert set(found.settled) == {task.key for task in plan_of(900, forks)}
    assert set(found.settled.values()) == {1}
    assert (found.losses > 0) == (lifetime < math.inf)


@pytest.mark.parametrize("orders", [1, 8])
def test_no_time_is_lost_beyond_what_things_cost(orders: int) -> None:
    costs, learners, workers = Costs(start=1.0), 4000, 20
    found = simulated(learners, workers, orders, costs)
    longest = 4.0  # seconds of the last learner, while all others may have nothing left
    beside = costs.start + 2 * longest + learners / workers * (costs.order + 2 * costs.message + costs.driver)
    assert found.seconds <= found.trained / workers + beside
    assert found.efficiency >= 0.9


def test_an_agent_that_is_lost_costs_its_lease_and_its_start() -> None:
    costs = Costs(start=1.0, lifetime=60.0)
    found, undisturbed = simulated(4000, 20, 8, costs), simulated(4000, 20, 8, Costs(start=1.0))
    each = 8 * 0.5 + 1.0 + costs.detection + costs.start  # leases are a second long, and another may wait
    assert found.seconds <= undisturbed.seconds + found.losses * each / 20 + each


def test_it_is_a_function_of_its_seed() -> None:
    costs = Costs(lifetime=30.0)
    assert simulated(300, 10, 8, costs, seed=1) == simulated(300, 10, 8, costs, seed=1)
    assert simulated(300, 10, 8, costs, seed=1) != simulated(300, 10, 8, costs, seed=2)


def test_a_driver_that_is_too_slow_is_what_limits() -> None:
    found = simulated(2000, 100, 8, Costs(start=0.0, driver=0.05))
    assert found.load > 0.95
    assert found.seconds >= 2000 * 0.05

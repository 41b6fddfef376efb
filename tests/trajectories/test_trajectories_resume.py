"""kill -9 at any instant: the rerun's results are those of a run that nobody killed."""

from __future__ import annotations

import os
import random
import signal
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from trajectory_cases import (
    ALIVE,
    ORDERS,
    WORKERS,
    Countdown,
    Perishable,
    drive,
    drive_at_once,
    drive_workers,
    finishes,
    forked_driver,
    is_free,
    results,
    save_at_each_step,
    script,
    tallied,
    tree,
    watched,
)

from learning_cases import experiment, run
from paribus import Experiment
from paribus.engine.running.board import Board
from paribus.engine.running.driver import driving
from paribus.engine.running.executors import Serial
from paribus.engine.running.run import execute
from paribus.engine.training import segment
from paribus.engine.training.journal import Journal
from paribus.store import verify

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*fork.* start method:UserWarning"),
]

# Fifty random instants: each is a number of calls, of Python and of C, drawn from all over a run.
IN_PROCESS, AT_ONCE, WORKERS_KILLED, DRIVERS_KILLED = 20, 10, 5, 5
KILLS = IN_PROCESS + (AT_ONCE + AT_ONCE // 2) + 2 * WORKERS_KILLED + DRIVERS_KILLED
assert KILLS == 50
_FLYING = 2 * WORKERS


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    exp = tree(tmp_path_factory.mktemp("reference") / "store")
    assert not run(exp).failed
    return exp


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory, reference: Experiment) -> int:
    """Count the calls of a run that nobody kills."""
    store, life = tmp_path_factory.mktemp("counted") / "store", Countdown()
    assert ended(forked_driver(drive, store, life)) == 0
    assert results(tree(store)) == results(reference), "saving progress changes nothing"
    return life.calls


@pytest.fixture(scope="module")
def calls_under_joblib(tmp_path_factory: pytest.TempPathFactory, reference: Experiment) -> int:
    """Count those of all workers."""
    folder, life = tmp_path_factory.mktemp("counted"), Countdown()
    assert ended_with_workers(folder, life, "worker") == 0
    assert results(tree(folder / "store")) == results(reference)
    return life.calls


def ended(driver: BaseProcess) -> int | None:
    driver.join()
    return driver.exitcode


def ended_with_workers(folder: Path, life: Countdown, victim: str) -> int | None:
    with watched(folder / "alive") as are_gone:
        status = ended(forked_driver(drive_workers, folder / "store", life, victim, folder / "alive"))
        assert are_gone(), "workers outlived their driver"
    return status


@pytest.mark.parametrize("trial", range(IN_PROCESS))
def test_killed_in_process_at_any_instant(
    trial: int, reference: Experiment, calls: int, folder: Path
) -> None:
    instant = random.Random(trial).randint(1, calls)
    with tallied(folder) as steps:
        assert ended(forked_driver(drive, folder, Countdown(instant))) == -signal.SIGKILL
        assert verify(tree(folder).store).sound
        finishes(folder, reference)
    assert steps() <= reference.plan().steps_distinct + 1, "more than the step in flight was lost"


@pytest.mark.parametrize("trial", range(AT_ONCE))
def test_two_drivers_at_once_are_killed_at_any_instant(
    trial: int, reference: Experiment, calls: int, folder: Path
) -> None:
    """The first always, early; the second in every other trial, and otherwise it takes over."""
    draws, survives = random.Random(100 + trial), trial % 2 == 1
    life = Countdown(*(draws.randint(1, calls // 2) for _ in range(2 - survives)))
    start = get_context("fork").Barrier(2)
    with tallied(folder) as steps:
        drivers = [forked_driver(drive_at_once, folder, life, number, start) for number in range(2)]
        ends = [ended(driver) for driver in drivers]
        assert ends == [-signal.SIGKILL, 0 if survives else -signal.SIGKILL]
        if survives:
            assert tree(folder).plan().steps_to_train == 0
        finishes(folder, reference)
    assert steps() <= reference.plan().steps_distinct + 2 - survives


@pytest.mark.parametrize("trial", range(WORKERS_KILLED))
def test_workers_of_joblib_are_killed_at_any_instant(
    trial: int, reference: Experiment, calls_under_joblib: int, folder: Path
) -> None:
    """Two, one after the other; the driver goes on with fresh ones, and finishes."""
    draws = random.Random(200 + trial)
    life = Countdown(*(draws.randint(1, calls_under_joblib // 2) for _ in range(2)))
    with tallied(folder) as steps:
        assert ended_with_workers(folder.parent, life, "worker") == 0
        assert life.kills == 2
        assert tree(folder).plan().steps_to_train == 0
        finishes(folder, reference)
    assert steps() <= reference.plan().steps_distinct + 2 * _FLYING


@pytest.mark.parametrize("trial", range(DRIVERS_KILLED))
def test_drivers_of_joblib_are_killed_at_any_instant(
    trial: int, reference: Experiment, calls_under_joblib: int, folder: Path
) -> None:
    life = Countdown(random.Random(300 + trial).randint(1, calls_under_joblib))
    with tallied(folder) as steps:
        assert ended_with_workers(folder.parent, life, "driver") == -signal.SIGKILL
        assert verify(tree(folder).store).sound
        finishes(folder, reference)
    assert steps() <= reference.plan().steps_distinct + WORKERS, "more than the steps in flight were lost"


JOBLIB = """
if __name__ == "__main__":
    print(run(tree(args[0], model=Perishable()), "joblib", workers=2, save_every=0.0), file=sys.stderr)
    print(os.listdir(os.environ[ORDERS]), file=sys.stderr)
"""


def test_in_processes_that_joblib_spawns_a_worker_and_the_driver_are_killed(tmp_path: Path) -> None:
    reference = tree(tmp_path / "alone", model=Perishable())
    run(reference)
    orders, store, draws = tmp_path / "orders", tmp_path / "store", random.Random(7)
    orders.mkdir()
    for number, victim in enumerate(["worker", "driver"]):
        (orders / f"{number} {victim} {draws.randint(2, 6)}").touch()
    with watched(tmp_path / "fifo") as are_gone:
        driver = script(JOBLIB, store, **{ORDERS: str(orders), ALIVE: str(tmp_path / "fifo")})
        _, told = driver.communicate(timeout=120)
        assert driver.returncode == -signal.SIGKILL, told
        assert are_gone(), "workers outlived their driver"
    assert [order.name.split()[1] for order in orders.iterdir()] == ["driver"], "no worker was killed"
    exp = tree(store, model=Perishable())
    assert verify(exp.store).sound
    assert exp.plan().steps_to_train < exp.plan().steps_distinct
    assert not run(exp).failed
    assert results(exp) == results(reference)
    assert verify(exp.store).sound
    assert is_free(exp)


def test_what_was_saved_goes_only_after_the_end_is_committed(folder: Path) -> None:
    """A driver that is killed before it commits the end of a long segment has its progress."""
    driver = forked_driver(die_before_the_commit, folder)
    driver.join()
    assert driver.exitcode == -signal.SIGKILL
    exp = experiment(folder, steps=50)
    assert exp.plan().steps_to_train == 1
    run(exp)
    assert run(exp).steps_trained == 0


def die_before_the_commit(store: Path) -> None:
    save_at_each_step()
    Board.settle = lambda _, settled: settled and os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign,assignment]
    run(experiment(store, steps=50), save_every=0.0)


def test_progress_is_saved_in_seconds_and_leaves_one_state(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "_REPORT_SECONDS", -1.0)
    exp = experiment(folder, steps=50)
    run(exp, save_every=0.0)
    assert len(list(exp.store.scan())) == 1, "what was saved on the way is gone at the end"


def test_saved_progress_takes_nothing_that_another_run_committed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another experiment's run ends just where progress is saved, after this one was planned."""
    monkeypatch.setattr(segment, "_REPORT_SECONDS", -1.0)
    other = experiment(folder, steps=20)
    long = experiment(folder, steps=30)
    tasks = long.plan().tasks()
    run(other)
    journal = Journal.open(long.store, long.work, tasks, interval=0.0)
    with driving(Serial(), long.work, journal) as driver:
        execute(tasks, {}, driver, lambda *_: None, [])
    assert run(other).steps_trained == 0
    assert {record.key for record in other.store.scan()} == {other[0].key, long[0].key}

"""kill -9 at any instant: the rerun's results are those of a run that nobody killed."""

from __future__ import annotations

import os
import random
import signal
from itertools import islice
from multiprocessing.connection import wait
from pathlib import Path

import pytest
from trajectory_cases import (
    ALIVE,
    ORDERS,
    Perishable,
    calls_of_a_run,
    drive,
    finishes,
    forked_driver,
    instants,
    is_free,
    results,
    save_at_each_step,
    script,
    tree,
    watched,
)

from learning_cases import experiment, run
from paribus import Experiment
from paribus.engine import training
from paribus.engine.board import Board
from paribus.engine.executors.base import train_and_put
from paribus.engine.journal import Journal
from paribus.store import verify

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

IN_PROCESS, AT_ONCE = 26, 8


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    exp = tree(tmp_path_factory.mktemp("reference") / "store")
    assert not run(exp).failed
    return exp


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory, reference: Experiment) -> int:
    store = tmp_path_factory.mktemp("counted") / "store"
    found = calls_of_a_run(store)
    assert results(tree(store)) == results(reference), "saving progress changes nothing"
    return found


@pytest.mark.parametrize("trial", range(IN_PROCESS))
def test_killed_in_process_at_any_instant(
    trial: int, reference: Experiment, calls: int, folder: Path
) -> None:
    # Every other one is killed again in what it goes on with.
    for instant in islice(instants(trial, calls), 1 + trial % 2):
        driver = forked_driver(drive, folder, instant)
        driver.join()
        assert driver.exitcode in (-signal.SIGKILL, 0)
        if folder.exists() and (folder / "format.json").exists():
            assert verify(tree(folder).store).sound
    finishes(folder, reference)


@pytest.mark.parametrize("trial", range(AT_ONCE))
def test_two_drivers_at_once_are_killed_at_any_instant(
    trial: int, reference: Experiment, calls: int, folder: Path
) -> None:
    """The first always early; the second, in every other trial, not at all: it then takes over."""
    chosen = instants(100 + trial, calls)
    survives = trial % 2 == 1
    drivers = [
        forked_driver(drive, folder, next(chosen) // 2 + 1),
        forked_driver(drive, folder, 10**12 if survives else next(chosen) // 2 + 1),
    ]
    running = {driver.sentinel: driver for driver in drivers}
    while running:
        for sentinel in wait(running):
            running.pop(int(sentinel)).join()  # at once: a zombie would still look alive
    assert [driver.exitcode for driver in drivers][: 2 - survives] == [-signal.SIGKILL] * (2 - survives)
    if survives:
        assert drivers[1].exitcode == 0
        assert tree(folder).plan().steps_to_train == 0
    finishes(folder, reference)


JOBLIB = """
if __name__ == "__main__":
    run(tree(args[0], model=Perishable()), "joblib", workers=2, save_every=0.0)
"""


def test_under_joblib_workers_and_drivers_are_killed(tmp_path: Path) -> None:
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
    assert not any(orders.iterdir())
    exp = tree(store, model=Perishable())
    assert verify(exp.store).sound
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
    Board.settle = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign,assignment]
    run(experiment(store, steps=50), save_every=0.0)


def test_progress_is_saved_in_seconds_and_leaves_one_state(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_REPORT_SECONDS", -1.0)
    exp = experiment(folder, steps=50)
    run(exp, save_every=0.0)
    assert len(list(exp.store.scan())) == 1, "what was saved on the way is gone at the end"


def test_saved_progress_takes_nothing_that_another_run_committed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another experiment's run ends just where progress is saved, after this one was planned."""
    monkeypatch.setattr(training, "_REPORT_SECONDS", -1.0)
    other = experiment(folder, steps=20)
    long = experiment(folder, steps=30)
    exp_plan = long.plan()
    run(other)
    journal = Journal.open(long.store, long.work, exp_plan.tasks(), interval=0.0)
    (task,) = exp_plan.tasks()
    _, outcome = train_and_put(task, long.work, None, journal, lambda step: None)
    journal.commit(task, outcome)
    assert run(other).steps_trained == 0
    assert {record.key for record in other.store.scan()} == {other[0].key, long[0].key}

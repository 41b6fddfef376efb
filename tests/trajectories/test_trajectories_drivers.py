"""Several drivers on one store: each segment is trained once, and the claims of the dead are taken over."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from trajectory_cases import forked_driver, results, tree

import paribus.experiment
from learning_cases import CALLS, counted, experiment, forked, run
from paribus import Experiment
from paribus.engine.running.claiming import Claimant
from paribus.engine.running.executors import serial
from paribus.interventions import InitWeights
from paribus.store import Store, export, import_, verify

LEASE = 3600.0


def wide(store: Path) -> Experiment:
    return tree(store, interventions=[*forked()[1:], InitWeights.make_variations(seed=range(3))])


def drive_when_all_are_planned(store: Path, ready: Any, told: Any) -> None:
    execute = paribus.experiment.execute

    def together(*arguments: Any) -> Any:
        ready.wait()
        return execute(*arguments)

    paribus.experiment.execute = together
    told.send(run(wide(store)).steps_trained)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_four_processes_on_one_experiment_train_each_step_once(tmp_path: Path) -> None:
    exp = wide(tmp_path / "shared")
    ready, pipes = get_context("fork").Barrier(4), [get_context("fork").Pipe(duplex=False) for _ in range(4)]
    drivers = [
        forked_driver(drive_when_all_are_planned, tmp_path / "shared", ready, told) for _, told in pipes
    ]
    trained = [pipe.recv() for pipe, _ in pipes]
    for driver in drivers:
        driver.join()
    assert [driver.exitcode for driver in drivers] == [0] * 4
    assert sum(trained) == exp.plan().steps_distinct
    assert sum(steps > 0 for steps in trained) > 1, "one of them did all the work"
    alone = wide(tmp_path / "alone")
    run(alone)
    assert results(exp) == results(alone)
    assert verify(exp.store).sound
    assert exp.store.claims.live() == {}


# --- one claim elsewhere, and what becomes of it ----------------------------------------------------------


@pytest.fixture
def neighbour() -> Iterator[subprocess.Popen[bytes]]:
    """A process of this machine that lives until it is killed."""
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    assert process.stdin
    with process, process.stdin:
        yield process
        process.kill()


def on_waiting(monkeypatch: pytest.MonkeyPatch, *happenings: Callable[[], object]) -> list[int]:
    """Let one thing happen at each wait for another driver, instead of time passing; count the waits."""
    waits: list[int] = []

    def sleep(seconds: float) -> None:
        waits.append(len(waits))
        happenings[len(waits) - 1]()

    monkeypatch.setattr(serial, "time", SimpleNamespace(sleep=sleep))
    return waits


def claimed(exp: Experiment, host: str, process: int, beat: float | None = None) -> str:
    owner = f"{host} {process} abcd"
    assert exp.store.claims.acquire(exp[0].key, owner, LEASE, now=beat)
    return owner


def test_a_driver_waits_for_the_other_and_reads_what_it_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = experiment(tmp_path / "other")
    run(other)
    export(other.store, [other[0].key], tmp_path / "file")
    exp = experiment(tmp_path / "store")
    owner = claimed(exp, "elsewhere", os.getpid())

    def finish() -> None:
        import_(exp.store, tmp_path / "file")
        exp.store.claims.release(exp[0].key, owner)

    waits = on_waiting(monkeypatch, lambda: None, finish)
    assert run(exp).steps_trained == 0
    assert len(waits) == 2
    assert results(exp) == results(other)
    assert exp.store.claims.live() == {}


def test_a_lapsed_lease_of_another_machine_hands_the_segment_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exp = experiment(folder)
    owner = claimed(exp, "elsewhere", os.getpid())
    lapse = lambda: exp.store.claims.renew(exp[0].key, owner, LEASE, now=time.time() - LEASE)  # noqa: E731
    waits = on_waiting(monkeypatch, lambda: None, lapse)
    assert run(exp).steps_trained == 6
    assert len(waits) == 2


def test_a_process_of_equal_number_on_another_machine_is_not_taken_for_dead(
    folder: Path, monkeypatch: pytest.MonkeyPatch, neighbour: subprocess.Popen[bytes]
) -> None:
    exp = experiment(folder)
    neighbour.kill()
    neighbour.wait()
    owner = claimed(exp, "elsewhere", neighbour.pid)
    waits = on_waiting(monkeypatch, lambda: exp.store.claims.release(exp[0].key, owner))
    assert run(exp).steps_trained == 6
    assert len(waits) == 1


def test_the_claim_of_a_process_that_died_is_taken_over_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, neighbour: subprocess.Popen[bytes]
) -> None:
    exp = experiment(folder)
    claimed(exp, socket.gethostname(), neighbour.pid)
    neighbour.kill()
    neighbour.wait()
    waits = on_waiting(monkeypatch)
    assert run(exp).steps_trained == 6
    assert waits == []
    assert exp.store.claims.live() == {}


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="a system without /proc")
def test_a_dead_process_that_its_parent_has_not_reaped_bars_nobody(
    folder: Path, monkeypatch: pytest.MonkeyPatch, neighbour: subprocess.Popen[bytes]
) -> None:
    exp = experiment(folder)
    claimed(exp, socket.gethostname(), neighbour.pid)
    neighbour.kill()
    os.waitid(os.P_PID, neighbour.pid, os.WEXITED | os.WNOWAIT)
    os.kill(neighbour.pid, 0)  # it still has its number
    waits = on_waiting(monkeypatch)
    assert run(exp).steps_trained == 6
    assert waits == []


def test_whoever_takes_over_goes_on_from_the_progress_of_the_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, neighbour: subprocess.Popen[bytes]
) -> None:
    """The other had come to step 3 of 6, after this driver made its plan."""
    exp = experiment(tmp_path / "store", objective=counted)
    claimed(exp, socket.gethostname(), neighbour.pid)

    def die_at_three() -> None:
        monkeypatch.setattr(serial, "time", time)
        run(experiment(tmp_path / "store", objective=counted, steps=3))
        neighbour.kill()
        neighbour.wait()
        os.environ[CALLS] = "0"

    monkeypatch.setenv(CALLS, "0")
    waits = on_waiting(monkeypatch, die_at_three)
    assert run(exp).steps_trained == 3
    assert len(waits) == 1
    assert os.environ[CALLS] == "3"
    alone = experiment(tmp_path / "alone", objective=counted)
    run(alone)
    assert results(exp) == results(alone)
    assert run(exp).steps_trained == 0


# --- the heartbeat ---------------------------------------------------------------------------------------


class Renewals:
    """Claims that only note renewals, and fail at some."""

    def __init__(self, wanted: int, failing: int = 0) -> None:
        self.wanted, self.failing, self.count = wanted, failing, 0
        self.enough = threading.Event()

    def acquire_all(self, keys: set[str], *_: object) -> set[str]:
        return set(keys)

    def renew(self, key: str, owner: str, lease: float) -> bool:
        self.count += 1
        if self.count == self.wanted:
            self.enough.set()
        if self.count <= self.failing:
            raise paribus.errors.StoreError("Store: disk is full")
        return True

    def release_all(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("failing", [0, 2])
def test_a_claim_is_renewed_as_long_as_it_is_held(failing: int) -> None:
    """A beat that the store does not take is followed by the next."""
    claims = Renewals(wanted=4, failing=failing)
    with Claimant(SimpleNamespace(claims=claims), lease=0.01) as claimant:  # type: ignore[arg-type]
        assert claimant.take("a")
        assert claims.enough.wait(60)
        claimant.give_back("a")


def test_claims_are_given_back_at_the_end_and_after_an_error(folder: Path) -> None:
    store = Store.open(folder)

    def interrupted() -> None:
        with Claimant(store) as claimant:
            claimant.take("0" * 32)
            assert list(store.claims.live()) == ["0" * 32]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.claims.live() == {}


def test_a_claim_that_could_not_be_given_back_bars_nobody_in_its_process(folder: Path) -> None:
    """As after a full disk; and a restarted container has the process number of the one before."""
    store = Store.open(folder)
    store.claims.acquire("0" * 32, f"{socket.gethostname()} {os.getpid()} abcd", LEASE)
    with Claimant(store) as one, Claimant(store) as other:
        assert one.take("0" * 32)
        assert one.contested("0" * 32)
        assert not other.take("0" * 32), "this one is at work"

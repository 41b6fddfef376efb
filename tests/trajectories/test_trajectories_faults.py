"""Faults in the middle of a run: a clear message, a store that verify passes, a rerun that finishes."""

from __future__ import annotations

import functools
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from trajectory_cases import (
    TESTS,
    Progress,
    finishes,
    fork_workers,
    forked_driver,
    results,
    tree,
    watched,
)

from learning_cases import experiment, run, states
from paribus import Experiment
from paribus.engine.learners.keys import past_of
from paribus.engine.running.agent import Agent
from paribus.engine.training import segment
from paribus.errors import CorruptObjectError, StoreError
from paribus.interventions import InitWeights, InterpolateWeights
from paribus.models import MLP
from paribus.store import Retention, Store, gc, verify

sys.path.insert(0, str(TESTS / "store"))
from store_cases import mounted, read_only

forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*start method:UserWarning")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    exp = tree(tmp_path_factory.mktemp("reference") / "store")
    run(exp)
    return exp


# --- a full disk -------------------------------------------------------------------------------------------


def fill(folder: Path, leave: int) -> Path:
    """Fill a file system but for some bytes."""
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(max(os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize - leave, 0)))
    return ballast


@pytest.mark.parametrize("left", [0, 12, 40, 80, 160])
def test_a_disk_that_fills_in_the_middle_of_a_run(
    left: int, reference: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is being written then: progress, a state, a row, a claim."""
    monkeypatch.setattr(segment, "_REPORT_SECONDS", -1.0)
    place = tmp_path / "small"
    place.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=4m", "tmpfs", at=place):
        exp = tree(place / "store")
        exp.plan()
        ballast = fill(place, left * 1024)
        with pytest.raises(StoreError, match=r"could not be (written|read).*free"):
            run(exp, save_every=0.0)
        assert verify(exp.store).sound
        assert verify(exp.store).leftovers == 0
        assert not any(record.status == "failed" for record in exp.store.scan()), "no learner is to blame"
        ballast.unlink()
        finishes(place / "store", reference)
        exp.store.close()


def run_under_a_quota(store: Path, told: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    try:
        run(experiment(store, model=MLP(4, (4000,), 3)))
    except StoreError as error:
        told.send(str(error))


@forks
def test_a_quota_ends_a_run_with_its_reason(folder: Path) -> None:
    """A state is larger than what may be written."""
    here, there = get_context("fork").Pipe(duplex=False)
    driver = forked_driver(run_under_a_quota, folder, there)
    assert "could not be written: File too large; free space" in here.recv()
    driver.join()
    exp = experiment(folder, model=MLP(4, (4000,), 3))
    assert verify(exp.store).sound
    assert exp[0].status == "missing", "no learner is to blame"
    assert run(exp).steps_trained == 6


def run_workers_under_a_quota(store: Path, alive: Path, told: Any) -> None:
    fork_workers(alive)
    train = Agent.train

    @functools.wraps(train)
    def limited(*arguments: Any) -> Any:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        return train(*arguments)

    Agent.train = limited  # type: ignore[method-assign]
    try:
        run(large(store), "joblib", workers=2)
    except StoreError as error:
        told.send(str(error))


def large(store: Path) -> Experiment:
    """Two learners, each with a state of more than 200,000 bytes."""
    return experiment(store, InitWeights.make_variations(seed=range(2)), model=MLP(4, (8000,), 3))


@forks
def test_a_disk_that_fills_under_a_worker_of_joblib(tmp_path: Path) -> None:
    """Only the workers can write no more; the driver could, and says why it ends."""
    here, there = get_context("fork").Pipe(duplex=False)
    with watched(tmp_path / "alive") as are_gone:
        driver = forked_driver(run_workers_under_a_quota, tmp_path / "store", tmp_path / "alive", there)
        assert "could not be written: File too large; free space" in here.recv()
        driver.join()
        assert are_gone()
    assert driver.exitcode == 0
    exp = large(tmp_path / "store")
    assert (verify(exp.store).sound, verify(exp.store).leftovers) == (True, 0)
    assert [learner.status for learner in exp] == ["missing"] * 2, "no learner is to blame"
    assert exp.store.claims.live() == {}
    assert run(exp).steps_trained == 12


# --- a store that cannot be used ----------------------------------------------------------------------------


def test_a_read_only_store_is_refused_before_training_and_can_be_read(tmp_path: Path) -> None:
    run(experiment(tmp_path / "store"))
    with read_only(tmp_path / "store"):
        cached = experiment(tmp_path / "store")
        assert run(cached).steps_trained == 0
        assert len(cached.frame()) == 3
        longer = experiment(tmp_path / "store", steps=9)
        with pytest.raises(StoreError, match="is read-only; make it writable, or give store= a copy"):
            run(longer)
        assert longer[0].checkpoint(8).step == 8, "a replay writes nothing"


def test_a_store_of_a_newer_version_is_refused_and_left_alone(folder: Path) -> None:
    exp = experiment(folder)
    run(exp)
    exp.store.close()
    (folder / "format.json").chmod(0o644)
    (folder / "format.json").write_text(json.dumps({"format": "paribus-store", "version": 99}))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(StoreError, match=r"has format 99, and this Paribus knows formats up to .*upgrade"):
        experiment(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


# --- SIGTERM and Ctrl-C --------------------------------------------------------------------------------


TERMINATED = "paribus: terminated; the store keeps what was finished, and the next run goes on"
INTERRUPTED = "interrupted: what was finished is stored, and the next run goes on from it"


def drive_endlessly(store: Path, told: str, stderr: Path) -> None:
    sys.stderr = stderr.open("w", buffering=1)
    run(experiment(store, steps=10**9, logger=Progress(told)), save_every=0.0)


@forks
def test_sigterm_ends_a_driver_in_order(tmp_path: Path) -> None:
    """The signal comes when training is under way: a metric says so through a fifo."""
    os.mkfifo(tmp_path / "told")
    arguments = tmp_path / "store", str(tmp_path / "told"), tmp_path / "stderr"
    driver = forked_driver(drive_endlessly, *arguments)
    await_training(tmp_path)
    driver.terminate()
    driver.join()
    ended_in_order(tmp_path, driver.exitcode, (tmp_path / "stderr").read_text())


def drive_group(store: Path, told: str, alive: Path, output: Path) -> None:
    os.setsid()  # a process group of its own, as a shell gives to what it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background, a shell has it ignored
    fork_workers(alive)
    sys.stdout = sys.stderr = output.open("w", buffering=1)
    experiment(store, steps=10**9, logger=Progress(told)).run("joblib", workers=2, save_every=0.0)


@forks
@pytest.mark.parametrize(
    ("send", "number", "status", "said"),
    [
        (os.kill, signal.SIGTERM, 128 + signal.SIGTERM, TERMINATED),
        (os.killpg, signal.SIGTERM, 128 + signal.SIGTERM, TERMINATED),
        (os.killpg, signal.SIGINT, 1, INTERRUPTED),
    ],
    ids=["SIGTERM to the driver", "SIGTERM", "Ctrl-C"],
)
def test_a_signal_to_a_driver_with_workers_or_to_all_at_once(
    send: Callable[[int, int], None], number: int, status: int, said: str, tmp_path: Path
) -> None:
    """Ctrl-C goes to the whole process group."""
    os.mkfifo(tmp_path / "told")
    with watched(tmp_path / "alive") as are_gone:
        arguments = tmp_path / "store", str(tmp_path / "told"), tmp_path / "alive", tmp_path / "output"
        driver = forked_driver(drive_group, *arguments)
        await_training(tmp_path)
        assert driver.pid
        send(driver.pid, number)
        driver.join()
        assert are_gone()
    ended_in_order(tmp_path, driver.exitcode, (tmp_path / "output").read_text(), status, said)


def await_training(folder: Path) -> None:
    pipe = os.open(folder / "told", os.O_RDWR)  # for writing too: opening never waits
    assert select.select([pipe], [], [], 300)[0], "the driver did not begin to train"
    os.close(pipe)


def ended_in_order(
    folder: Path,
    status: int | None,
    told: str,
    expected: int = 128 + signal.SIGTERM,
    said: str = TERMINATED,
) -> None:
    assert status == expected, told
    assert said in told
    store = Store.open(folder / "store")
    assert store.claims.live() == {}
    assert verify(store).sound
    done = experiment(folder / "store", steps=30)
    assert not run(done).failed
    alone = experiment(folder / "alone", steps=30)
    run(alone)
    assert states(done) == states(alone)


def test_a_handler_of_the_callers_own_stays(folder: Path) -> None:
    def mine(number: int, frame: Any) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGTERM, mine)
    try:
        run(experiment(folder))
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
    run(experiment(folder, steps=9))
    assert signal.getsignal(signal.SIGTERM) is before


# --- what was stored is damaged ---------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["body", "manifest", "refs", "status"])
def test_a_row_that_was_altered_is_told_and_computed_again(
    column: str, reference: Experiment, folder: Path
) -> None:
    exp = tree(folder)
    run(exp)
    exp.store.ledger.write(f"UPDATE records SET {column} = {column} || ' ' WHERE key = ?", (exp[0].key,))
    assert verify(exp.store).altered_records == (exp[0].key,)
    with pytest.warns(UserWarning, match=f"record {exp[0].key} was altered on disk; it counts as missing"):
        summary = run(exp)
    assert 0 < summary.steps_trained < exp.plan().steps_distinct
    assert results(exp) == results(reference)
    assert verify(exp.store).sound


# --- others at the store --------------------------------------------------------------------


def after_first_commit(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    commit, done = Store.commit_all, []

    def committed(store: Store, records: Any) -> None:
        commit(store, records)
        if not done:
            done.extend(records)
            happens()

    monkeypatch.setattr(Store, "commit_all", committed)


def test_an_object_deleted_under_a_run_that_needs_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two learners fork from a stored state; it goes when the first is trained."""
    run(tree(folder, interventions=(), steps=3))
    exp = tree(folder)
    plan = exp.plan()
    (start,) = plan.starting_points()
    path = exp.store.path_of(plan.states[start])
    after_first_commit(monkeypatch, path.unlink)
    with pytest.raises(CorruptObjectError, match=r"cannot be read.*compute it again"):
        run(exp, fuse=False)
    monkeypatch.undo()
    assert [key for key, _, _ in verify(exp.store).dangling] == [start], "and verify tells which"
    with pytest.warns(UserWarning, match="computed again"):
        assert not run(tree(folder)).failed
    assert verify(exp.store).sound


def test_an_object_deleted_under_a_reader(folder: Path) -> None:
    exp = experiment(folder)
    run(exp)
    plan = exp.plan()
    exp.store.path_of(plan.states[exp[0].key]).unlink()
    with pytest.warns(UserWarning, match="computed again"):
        assert exp[0].checkpoint().step == 6


def test_gc_takes_nothing_that_a_run_under_way_starts_from(
    reference: Experiment, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trunk was last used long ago, and everything unused for a day goes, while the run is under way."""
    trunk = tree(folder, interventions=(), steps=3)
    run(trunk)
    trunk.store.ledger.write("UPDATE records SET used = 0")
    for file in trunk.store.objects.files():
        os.utime(trunk.store.path / "objects" / file.name, (0, 0))
    swept = []
    after_first_commit(
        monkeypatch, lambda: swept.append(gc(trunk.store, Retention(unused_for=86400, grace=60)))
    )
    exp = tree(folder)
    assert not run(exp).failed
    monkeypatch.undo()
    assert len(swept) == 1
    assert results(exp) == results(reference)
    assert verify(exp.store).sound


def collect(path: Path, done: Any) -> None:
    store = Store.open(path)
    while not done.is_set():
        gc(store, Retention(grace=60))
    assert verify(store).sound


@forks
def test_gc_without_end_beside_a_run(reference: Experiment, folder: Path) -> None:
    tree(folder)
    done = get_context("fork").Event()
    collector = forked_driver(collect, folder, done)
    finishes(folder, reference)
    done.set()
    collector.join()
    assert collector.exitcode == 0


def test_gc_keeps_what_a_kept_learner_reads(tmp_path: Path) -> None:
    exp = experiment(tmp_path / "s", InterpolateWeights(InitWeights(seed=1), alpha=0.5, step=3, at=4))
    assert not run(exp).failed
    exp.store.pins.add([exp[0].key])
    read = {key for segment in exp.plan().segments for key in segment.reads}
    before = {record.key for record in exp.store.scan()}
    assert len(read) == 1
    assert gc(exp.store, Retention(budget=0, grace=0), past_of=past_of, now=4e9).records == ()
    assert {record.key for record in exp.store.scan()} == before >= read
    exp.store.pins.remove([exp[0].key])
    assert set(gc(exp.store, Retention(budget=0, grace=0), past_of=past_of, now=4e9).records) == before

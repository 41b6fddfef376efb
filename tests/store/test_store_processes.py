"""Threads, forks, and processes that are killed."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from store_cases import a_record, commit_with_state, finish, key_of, start

from paribus.store import Retention, Store, gc, stats, verify

WRITE = (
    "store = Store.open(args[0])\n"
    "for number in range(int(args[1]), int(args[2])):\n"
    "    commit_with_state(store, number, b'%d' % (number % 10) * 1000)\n"
)


def test_processes_that_open_a_new_store_at_once_share_it(tmp_path: Path) -> None:
    path = tmp_path / "s"
    finish_all(start(WRITE, path, 10 * index, 10 * index + 10) for index in range(4))
    store = Store.open(path)
    assert stats(store).records == {"done": 40}
    assert stats(store).objects == 10
    assert verify(store).sound
    assert verify(store).leftovers == 0
    store.close()


def test_processes_that_write_the_same_keys_and_objects_agree(store: Store) -> None:
    finish_all(start(WRITE, store.path, 0, 100) for _ in range(3))
    assert stats(store).records == {"done": 100}
    assert stats(store).objects == 10
    assert verify(store).sound


def finish_all(processes: object) -> None:
    for process in list(processes):
        finish(process)


def test_threads_share_a_store(store: Store) -> None:
    def write(number: int) -> str:
        digest = commit_with_state(store, number, b"%d" % (number % 5))
        assert store.statuses([key_of(number)]) == {key_of(number): "done"}
        return digest

    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(write, range(200)))
    assert len(set(digests)) == 5
    assert verify(store).sound
    assert stats(store).records == {"done": 200}


def test_connections_are_bounded_by_the_threads_that_live(store: Store) -> None:
    for number in range(20):
        thread = threading.Thread(target=store.statuses, args=([key_of(number)],))
        thread.start()
        thread.join()
    assert len(store.ledger._connections) < 10


def test_a_forked_child_and_its_parent_both_go_on(store: Store) -> None:
    script = (
        "store = Store.open(args[0])\n"
        "store.commit(a_record(1))\n"
        "child = os.fork()\n"
        "for number in range(100):\n"
        "    store.commit(a_record(1000 * bool(child) + number))\n"
        "if child: assert os.waitpid(child, 0)[1] == 0\n"
        "for number in range(2000, 2010): store.commit(a_record(number))\n"
    )
    finish(start(script, store.path))
    assert stats(store).records == {"done": 210}
    assert verify(store).sound


KILLED = (
    "import secrets\n"
    "store = Store.open(args[0])\n"
    "number = int(args[1])\n"
    "while True:\n"
    "    commit_with_state(store, number, secrets.token_bytes(300_000))\n"
    "    print(number, flush=True)\n"
    "    number += 1\n"
)


@pytest.mark.parametrize("commits", [1, 2, 5, 9])
def test_a_writer_killed_at_any_instant_leaves_a_sound_store(store: Store, commits: int) -> None:
    writers = [start(KILLED, store.path, first) for first in (0, 100_000)]
    told = []
    for writer in writers:
        assert writer.stdout
        told += [int(writer.stdout.readline()) for _ in range(commits)]
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        out, _ = writer.communicate(timeout=60)
        told += [int(line) for line in out.splitlines()]
    found = verify(store)
    assert found.sound
    assert store.statuses(map(key_of, told)).keys() == {key_of(number) for number in told}
    gc(store, Retention(grace=0), now=4e9)
    assert (verify(store).leftovers, verify(store).unreferenced) == (0, 0)
    assert verify(store).records == found.records


def test_the_claim_of_a_killed_process_is_stolen_after_its_lease(store: Store) -> None:
    script = "Store.open(args[0]).claims.acquire(key_of(1), 'a', 30, now=1000); os.kill(os.getpid(), 9)"
    process = start(script, store.path)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not store.claims.acquire(key_of(1), "b", 30, now=1029)
    assert store.claims.acquire(key_of(1), "b", 30, now=1030)


def test_a_transaction_that_is_interrupted_changes_nothing(store: Store) -> None:
    store.commit(a_record())

    def interrupted() -> None:
        with store.ledger.transaction() as connection:
            connection.execute("DELETE FROM records")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.statuses([key_of(1)])

"""A fault costs a recomputation, never a wrong answer."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from store_cases import a_record, commit_with_state, finish, flip_bit, key_of, mounted, overwrite, start

from paribus.errors import CorruptObjectError, StoreError
from paribus.store import Retention, Store, compact, export, gc, import_, stats, verify


def test_a_flipped_bit_is_found(store: Store) -> None:
    digest = commit_with_state(store, 1, bytes(1000))
    flip_bit(store.path_of(digest))
    with pytest.raises(CorruptObjectError, match=r"was altered \(1,000 bytes\); compute it again"):
        store.get(digest)
    found = verify(store)
    assert not found.sound
    assert (found.altered_objects, found.dangling) == ((digest,), ())


@pytest.mark.parametrize("length", [0, 1, 999])
def test_a_truncated_object_is_found(store: Store, length: int) -> None:
    digest = commit_with_state(store, 1, bytes(1000))
    overwrite(store.path_of(digest), bytes(length))
    with pytest.raises(CorruptObjectError, match="was altered"):
        store.get(digest)
    assert verify(store).altered_objects == (digest,)


def test_a_missing_object_is_found(store: Store) -> None:
    digest = commit_with_state(store, 1, b"state")
    store.path_of(digest).unlink()
    with pytest.raises(CorruptObjectError, match="cannot be read"):
        store.get(digest)
    assert verify(store).dangling == ((key_of(1), "state", digest),)


@pytest.mark.parametrize("harm", [flip_bit, lambda path: overwrite(path, b""), Path.unlink])
def test_computing_it_again_mends_the_store(store: Store, harm: object) -> None:
    digest = commit_with_state(store, 1, bytes(1000))
    harm(store.path_of(digest))
    assert commit_with_state(store, 1, bytes(1000)) == digest
    assert store.get(digest) == bytes(1000)
    assert verify(store).sound


def test_damage_in_the_ledger_is_told(store: Store) -> None:
    for number in range(500):
        commit_with_state(store, number, b"state")
    store.close()
    ledger = store.ledger.path
    payload = bytearray(ledger.read_bytes())
    payload[4096 * 3 : 4096 * 6] = b"\xff" * 4096 * 3
    ledger.write_bytes(payload)
    with pytest.raises(StoreError, match="the file is damaged; move the store away"):
        verify(Store.open(store.path))


def test_a_disk_that_is_full_leaves_a_sound_store(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=2m", "tmpfs", at=place):
        store = Store.open(place / "s")
        kept = commit_with_state(store, 1, bytes(100_000))
        with pytest.raises(StoreError, match="could not be written: No space left on device; free space"):
            store.put(bytes(3_000_000))
        assert verify(store).leftovers == 0
        # Small writes until nothing fits: at some point it is the ledger that has no room.
        said = [fill(store, number) for number in range(2, 3000)]
        assert any("disk is full; free disk space and run again" in text for text in said)
        assert store.get(kept) == bytes(100_000)
        found = verify(store)
        assert found.sound
        assert found.records == 1 + said.count("")
        store.close()


def fill(store: Store, number: int) -> str:
    try:
        commit_with_state(store, number, b"%d" % number + bytes(3000 * (number < 300)))
    except StoreError as error:
        return str(error)
    return ""


WRITES = {
    "object": lambda store, _: store.put(bytes(50_000)),
    "row": lambda store, _: store.commit(a_record(9, body="x" * 50_000)),
    "touch": lambda store, _: store.touch(map(key_of, range(3))),
    "reference": lambda store, _: store.forget([key_of(1)], "state"),
    "discard": lambda store, _: store.discard(key_of(1)),
    "claim": lambda store, _: store.claims.acquire(key_of(9), "a", 60),
    "pin": lambda store, _: store.pins.add(map(key_of, range(500))),
    "export": lambda store, _: export(store, [key_of(1)], store.path.parent / "export"),
    "import": lambda store, elsewhere: import_(store, elsewhere / "export"),
    "gc": lambda store, _: gc(store, Retention(budget=0), now=4e9),
    "compact": lambda store, _: compact(store),
}


@pytest.mark.parametrize("left", [0, 4096, 20_480])
@pytest.mark.parametrize("kind", WRITES)
def test_a_disk_that_is_full_in_the_middle_of_any_write(kind: str, left: int, tmp_path: Path) -> None:
    place, other = tmp_path / "small", Store.open(tmp_path / "other")
    place.mkdir()
    commit_with_state(other, 7, bytes(50_001))
    export(other, [key_of(7)], tmp_path / "export")
    with mounted("-t", "tmpfs", "-o", "size=2m", "tmpfs", at=place):
        store = Store.open(place / "s")
        for number in range(3):
            commit_with_state(store, number, bytes([number]) * 30_000)
        before = {record.key for record in store.scan()}
        space = os.statvfs(place)
        ballast = place / "ballast"
        ballast.write_bytes(bytes(space.f_bavail * space.f_frsize - left))
        if left == 0:
            with pytest.raises(StoreError, match=r"No space left|disk is full"):
                WRITES[kind](store, tmp_path)
        else:
            with suppress(StoreError):
                WRITES[kind](store, tmp_path)
        found = verify(store)
        assert (found.sound, found.leftovers) == (True, 0)
        if left == 0:
            assert {record.key for record in store.scan()} == before
        assert {path.name for path in place.iterdir()} <= {"s", "ballast", "export"}
        ballast.unlink()
        WRITES[kind](store, tmp_path)
        assert verify(store).sound
        store.close()


def test_a_write_that_the_system_cuts_off_leaves_a_sound_store(store: Store) -> None:
    kept = commit_with_state(store, 1, b"kept")
    script = (
        "import resource\n"
        "from paribus.errors import StoreError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "store = Store.open(args[0])\n"
        "for size in (400_000, 100_000):\n"
        "    try: print(store.put(bytes(size)))\n"
        "    except StoreError as error: print(error)\n"
    )
    said, digest = finish(start(script, store.path)).splitlines()
    assert "(400,000 bytes) could not be written: File too large; free space" in said
    assert store.get(digest) == bytes(100_000)
    assert store.get(kept) == b"kept"
    found = verify(store)
    assert found.sound
    assert found.leftovers == 0


def test_an_object_deleted_under_a_reader_is_a_corrupt_one(store: Store) -> None:
    digest = commit_with_state(store, 1, b"state")
    other = Store.open(store.path)
    other.discard(key_of(1))
    gc(other, now=4e9)
    other.close()
    with pytest.raises(CorruptObjectError):
        store.get(digest)
    assert verify(store).sound


def test_stats_count(store: Store) -> None:
    commit_with_state(store, 1, b"12345")
    commit_with_state(store, 2, b"123")
    store.pins.add([key_of(1)])
    store.claims.acquire(key_of(3), "a", 60)
    counted = stats(store)
    assert counted.ledger_bytes > 0
    assert (counted.records, counted.objects, counted.object_bytes) == ({"done": 2}, 2, 8)
    assert (counted.pins, counted.claims) == (1, 1)

"""What every store promises, whatever state it is in."""

from __future__ import annotations

import math
import pickle
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from store_cases import a_record, key_of

from paribus.errors import CorruptObjectError, StoreError
from paribus.store import Store, layout, verify


def new(path: Path) -> Store:
    return Store.open(path)


def reopened(path: Path) -> Store:
    first = Store.open(path)
    first.commit(a_record(900))
    first.close()
    return Store.open(str(path))


def crowded(path: Path) -> Store:
    store = Store.open(path)
    for number in range(10_000, 10_600):
        store.commit(a_record(number))
    return store


def pickled(path: Path) -> Store:
    return pickle.loads(pickle.dumps(Store.open(path)))


def on_network(path: Path) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "mounts_text", lambda: "host:/x / nfs4 rw 0 0")
        with pytest.warns(UserWarning, match="network file system; it works with one machine at a time"):
            return Store.open(path)


@pytest.fixture(params=[new, reopened, crowded, pickled, on_network], ids=lambda make: make.__name__)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    make: Callable[[Path], Store] = request.param
    opened = make(tmp_path / "store")
    yield opened
    assert verify(opened).sound
    opened.close()


def test_an_absent_key_is_absent(store: Store) -> None:
    assert store.records([key_of(1)]) == {}
    assert store.statuses([key_of(1)]) == {}
    assert store.records([]) == {}


def test_a_record_comes_back_equal(store: Store) -> None:
    digest = store.put(b"state")
    record = a_record(body={"rows": [[0, 0.1, -0.0], [1, math.inf, "ü\ud800"]]}, references={"state": digest})
    store.commit(record)
    assert store.records([record.key]) == {record.key: record}
    assert store.statuses([record.key]) == {record.key: "done"}


def test_nan_is_a_result(store: Store) -> None:
    store.commit(a_record(body={"loss": math.nan}))
    body = store.records([key_of(1)])[key_of(1)].body
    assert isinstance(body, dict)
    assert math.isnan(body["loss"])


def test_the_last_commit_of_a_key_counts(store: Store) -> None:
    store.commit(a_record(status="failed"))
    store.commit(a_record(status="done"))
    assert store.statuses([key_of(1)]) == {key_of(1): "done"}
    assert store.records([key_of(1)])[key_of(1)].status == "done"


def test_created_is_filled_by_the_store_when_0(store: Store) -> None:
    store.commit(a_record(created=0))
    assert store.records([key_of(1)])[key_of(1)].created > 1.7e9


def test_a_discarded_record_is_absent(store: Store) -> None:
    store.commit(a_record())
    store.discard(key_of(1))
    store.discard(key_of(2))
    assert store.statuses([key_of(1), key_of(2)]) == {}


@pytest.mark.parametrize("asked", [1, 499, 501, 1200, 4000])
def test_many_keys_are_answered_as_one_by_one(store: Store, asked: int) -> None:
    for number in range(0, asked, 97):
        store.commit(a_record(number))
    keys = [key_of(number) for number in range(asked)]
    expected = {key: "done" for key in keys if store.statuses([key])}
    assert store.statuses(iter(keys)) == expected
    assert {key: record.status for key, record in store.records(iter(keys)).items()} == expected


@pytest.mark.parametrize("payload", [b"", b"x", bytes(1 << 20), bytearray(b"abc"), memoryview(b"abcd")[::1]])
def test_an_object_comes_back_equal(store: Store, payload: bytes) -> None:
    digest = store.put(payload)
    assert store.get(digest) == payload
    assert store.path_of(digest).parent.name == digest[:2]


def test_equal_objects_are_one_file(store: Store) -> None:
    digest = store.put(b"state")
    before = store.path_of(digest).stat().st_ino
    assert store.put(bytearray(b"state")) == digest
    assert store.path_of(digest).stat().st_ino == before


def test_an_absent_object_is_a_corrupt_one(store: Store) -> None:
    with pytest.raises(CorruptObjectError, match="cannot be read: No such file"):
        store.get("0" * 32)


@pytest.mark.parametrize("digest", ["../../../etc/passwd", "", "0" * 31, "A" * 32, "0" * 32 + "\n"])
def test_only_a_digest_names_a_file(store: Store, digest: str) -> None:
    with pytest.raises(StoreError, match="is no digest; expected 32"):
        store.get(digest)


def test_a_record_never_refers_to_an_absent_object(store: Store) -> None:
    with pytest.raises(StoreError, match=r"its object 'state' \(0+\) is not stored; put it first"):
        store.commit(a_record(references={"state": "0" * 32}))
    assert store.statuses([key_of(1)]) == {}


def test_a_body_that_is_no_json_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match=r"its body is no JSON .*; give None, booleans"):
        store.commit(a_record(body={"x": object()}))


def test_an_altered_row_counts_as_missing_and_is_told(store: Store) -> None:
    store.commit(a_record(body={"loss": 0.25}))
    store.commit(a_record(2))
    with sqlite3.connect(store.ledger.path) as other:
        other.execute("UPDATE records SET body = replace(body, '0.25', '0.24')")
    other.close()
    assert verify(store).altered_records == (key_of(1),)
    with pytest.warns(UserWarning, match="was altered on disk; it counts as missing"):
        assert store.records([key_of(1), key_of(2)]).keys() == {key_of(2)}
    store.commit(a_record(body={"loss": 0.25}))
    assert key_of(1) in store.records([key_of(1)])


@pytest.mark.parametrize(
    "column",
    ["status", "manifest", "body", "refs", "environment", "layout", "created", "numbers", "checksum"],
)
def test_a_row_of_garbage_spoils_no_other(store: Store, column: str) -> None:
    store.commit(a_record())
    store.commit(a_record(2))
    store.ledger.write(f"UPDATE records SET {column} = CAST(x'ff00' AS TEXT) WHERE key = ?", (key_of(1),))
    with pytest.warns(UserWarning, match="counts as missing"):
        assert store.records([key_of(1), key_of(2)]).keys() == {key_of(2)}
    assert store.statuses([key_of(2)]) == {key_of(2): "done"}
    store.discard(key_of(1))


def test_the_store_works_again_after_close(store: Store) -> None:
    store.commit(a_record())
    store.close()
    assert store.statuses([key_of(1)]) == {key_of(1): "done"}

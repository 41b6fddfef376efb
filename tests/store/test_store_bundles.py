"""Bundles: copies of records that save time, and are never the reason of another answer."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_cases import a_record, commit_with_state, flip_bit, key_of, overwrite, read_only, some_columns

from paribus.errors import StoreError
from paribus.store import Record, Retention, Store, compact, export, gc, import_, pack, stats, verify
from paribus.store.bundles import bundle, unbundle
from paribus.store.record import encode

COUNT = 20
FUTURE = 4e9
FAMILIES = ("a" * 32, "b" * 32)


@pytest.fixture
def compacted(store: Store) -> Store:
    """A store of which all records of trajectories are in one bundle."""
    for number in range(COUNT):
        store.commit(a_record(number, body={"loss": number}, columns=some_columns(), family=FAMILIES[0]))
    compact(store)
    return store


def bundles(store: Store) -> list[str]:
    return [digest for (digest,) in store.ledger.read("SELECT digest FROM bundles")]


def rows(store: Store) -> dict[str, Record]:
    """What the rows say, whatever is in bundles."""
    return {record.key: record for record in store.scan() if record.family in FAMILIES}


def without_rows(store: Store) -> None:
    """Alter every row, so that what is read can only be a copy."""
    store.ledger.write("UPDATE records SET body = '{}'")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(), part, max_size=3),
    max_leaves=5,
)
RECORDS = st.builds(
    lambda number, status, manifest, body, columns, created: replace(
        a_record(number, status=status, body=body, created=created, columns=columns), manifest=manifest
    ),
    st.integers(0, 2**64),
    st.sampled_from(["done", "failed"]),
    st.text(st.characters(exclude_categories=["Cs"])),
    JSON,
    st.sampled_from([some_columns(), pack({})]),
    st.floats(0.5, 4e9),
)


@given(st.lists(RECORDS, min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_a_bundle_gives_back_what_was_put_in(records: list[Record]) -> None:
    payload = bundle(records)
    assert list(map(encode, unbundle(payload))) == list(map(encode, records))
    assert bundle(unbundle(payload)) == payload


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_what_is_no_bundle_is_refused(data: st.DataObject) -> None:
    payload = bundle([a_record(number, columns=some_columns()) for number in range(2)])
    cut = data.draw(st.integers(0, len(payload) - 1))
    for wrong in (payload[:cut], payload + b"\0", b"", b"\0" * cut):
        with pytest.raises(ValueError, match=r"\w"):
            unbundle(wrong)


def test_records_are_read_from_the_bundle(compacted: Store) -> None:
    before = rows(compacted)
    assert len(bundles(compacted)) == 1
    without_rows(compacted)
    assert compacted.relatives(FAMILIES) == before


def test_few_of_a_bundle_are_read_as_rows(store: Store) -> None:
    for number in range(COUNT):
        store.commit(a_record(number, family=FAMILIES[number == 0]))
    compact(store)
    without_rows(store)
    with pytest.warns(UserWarning, match=f"record {key_of(0)} was altered"):
        assert store.relatives(FAMILIES[1:]) == {}


WRITES: dict[str, Callable[[Store], object]] = {
    "commit": lambda store: store.commit(a_record(3, body={"loss": 99}, family=FAMILIES[0])),
    "new": lambda store: store.commit(a_record(99, family=FAMILIES[1])),
    "discard": lambda store: store.discard(key_of(3)),
    "forget": lambda store: store.forget([key_of(3)], "state"),
    "touch": lambda store: store.touch([key_of(3)]),
    "gc": lambda store: gc(store, Retention(unused_for=1.0), now=FUTURE),
    "compact": compact,
}


@pytest.mark.parametrize("kind", WRITES)
def test_what_is_written_later_wins(compacted: Store, kind: str) -> None:
    before = compacted.relatives(FAMILIES)
    WRITES[kind](compacted)
    found = compacted.relatives(FAMILIES)
    assert found == rows(compacted)
    assert (found == before) is (kind in ("forget", "touch", "compact"))
    assert verify(compacted).sound
    compact(compacted)
    assert compacted.relatives(FAMILIES) == found


HARMS: dict[str, Callable[[Path], object]] = {
    "flipped": flip_bit,
    "cut": lambda path: overwrite(path, path.read_bytes()[:-1]),
    "empty": lambda path: overwrite(path, b""),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("kind", HARMS)
def test_a_damaged_bundle_is_told_and_costs_only_time(compacted: Store, kind: str) -> None:
    before, (digest,) = rows(compacted), bundles(compacted)
    HARMS[kind](compacted.path_of(digest))
    with pytest.warns(UserWarning, match=r"the rows of its records are read, until `paribus compact`"):
        assert compacted.relatives(FAMILIES) == before
    found = verify(compacted)
    assert (found.sound, found.altered_bundles, found.altered_objects) == (False, (digest,), ())
    compact(compacted)
    assert verify(compacted).sound
    assert compacted.relatives(FAMILIES) == before


def test_each_bit_of_a_bundle_is_covered(compacted: Store) -> None:
    before, (digest,) = rows(compacted), bundles(compacted)
    path = compacted.path_of(digest)
    payload = path.read_bytes()
    for place in range(0, len(payload), max(1, len(payload) // 50)):
        overwrite(path, payload[:place] + bytes([payload[place] ^ 4]) + payload[place + 1 :])
        with pytest.warns(UserWarning, match="was altered"):
            assert compacted.relatives(FAMILIES) == before


def test_a_copy_that_is_none_is_found(compacted: Store) -> None:
    with sqlite3.connect(compacted.ledger.path) as ledger:
        number = ledger.execute("SELECT id FROM bundles").fetchone()[0]
        compacted.commit(a_record(3, body={"loss": 99}, family=FAMILIES[0]))
        ledger.execute("UPDATE records SET bundle = ?", (number,))
    ledger.close()
    assert verify(compacted).altered_bundles == tuple(bundles(compacted))


def test_a_bundle_in_which_no_record_is_goes_with_the_next_gc(compacted: Store) -> None:
    (digest,) = bundles(compacted)
    assert gc(compacted, now=FUTURE).objects == ()
    assert verify(compacted).unreferenced == 0
    assert digest in gc(compacted, Retention(unused_for=1.0), now=FUTURE, dry_run=True).objects
    assert digest in gc(compacted, Retention(unused_for=1.0), now=FUTURE).objects
    assert bundles(compacted) == []
    assert verify(compacted).sound


def test_compacting_again_writes_nothing_new_and_leaves_nothing_behind(compacted: Store) -> None:
    first = bundles(compacted)
    compact(compacted)
    assert bundles(compacted) == first
    compacted.commit(a_record(99, family=FAMILIES[1]))
    compact(compacted)
    assert bundles(compacted) != first
    assert stats(compacted).objects == 1
    assert stats(compacted).bundled == COUNT + 1


def test_an_altered_row_is_in_no_bundle(store: Store) -> None:
    for number in range(COUNT):
        store.commit(a_record(number, family=FAMILIES[0]))
    store.ledger.write("UPDATE records SET body = '{}' WHERE key = ?", (key_of(3),))
    assert compact(store).records == COUNT - 1
    with pytest.warns(UserWarning, match=f"record {key_of(3)} was altered"):
        assert key_of(3) not in store.relatives(FAMILIES)


def test_a_reader_beside_a_compaction_sees_every_record(compacted: Store) -> None:
    before, reader = rows(compacted), Store.open(compacted.path)
    compacted.discard(key_of(3))
    stale = reader._copies  # what a reader has that found its places before the compaction

    def late(digest: str, numbers: bool) -> dict[str, Record]:
        compact(compacted)
        return stale(digest, numbers)

    reader._copies = late  # type: ignore[method-assign]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = reader.relatives(FAMILIES)
    assert found == {key: record for key, record in before.items() if key != key_of(3)}
    reader.close()


def test_a_read_only_store_is_read_from_its_bundles_and_not_compacted(compacted: Store) -> None:
    before = rows(compacted)
    without_rows(compacted)
    compacted.ledger.compact()
    compacted.close()
    with read_only(compacted.path):
        reader = Store.open(compacted.path)
        assert reader.relatives(FAMILIES) == before
        with pytest.raises(StoreError, match="is read-only"):
            compact(reader)
        reader.close()


def test_an_export_has_records_and_no_bundles(compacted: Store, tmp_path: Path) -> None:
    commit_with_state(compacted, 50, b"state")
    before = {record.key: record for record in compacted.scan()}
    export(compacted, before, tmp_path / "file")
    other = Store.open(tmp_path / "other")
    assert import_(other, tmp_path / "file").objects == 1
    assert {record.key: record for record in other.scan()} == before
    compact(other)
    assert other.relatives(FAMILIES) == compacted.relatives(FAMILIES)
    other.close()


def test_a_full_disk_in_a_compaction_costs_nothing(compacted: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    compacted.commit(a_record(99, family=FAMILIES[1]))
    before = rows(compacted)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("paribus.store.folder.write_whole", full)
        with pytest.raises(StoreError, match="No space left on device; free space"):
            compact(compacted)
    assert compacted.relatives(FAMILIES) == before
    assert verify(compacted).sound

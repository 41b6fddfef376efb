"""Older stores open: of version 1, with metrics as JSON in the body, and of version 2, without bundles."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import xxhash
from store_cases import a_record, key_of, read_only, some_columns

from paribus.errors import StoreError
from paribus.store import Store, compact, record, schema, unpack, verify
from paribus.store.layout import open_ledger
from paribus.store.schema import create_tables

FAMILY = "f" * 32
REST = {"start": 0, "stop": 9, "seconds": 0.1}
BODY = {**REST, "metrics": unpack(some_columns()), "passed": {key_of(7): 0}}
PAIR = {"name": "distance", "step": 9, "values": {"distance": 0.5}}
COLUMNS = "key, kind, family, status, manifest, body, refs, environment, created, checksum, used"


def row_of(number: int, kind: str, body: Any) -> tuple[Any, ...]:
    """A row as version 1 wrote it."""
    parts = (json.dumps(part, separators=(",", ":")) for part in (body, {}, {"torch": "2.15"}))
    texts = (key_of(number), kind, FAMILY, "done", '{"steps":1}', *parts)
    checksum = xxhash.xxh3_64_hexdigest("\0".join((*texts, repr(1.5))).encode())
    return (*texts, 1.5, checksum, 2.5)


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A store of version 1: a segment, a pair, metrics that are none, and two rows that were altered."""
    path = tmp_path / "older"
    open_ledger(path, (create_tables,)).close()
    rows = [row_of(1, "segment", BODY), row_of(2, "pair", PAIR), row_of(3, "segment", {"metrics": [5]})]
    rows += [row_of(4, "segment", BODY), row_of(5, "segment", BODY)]
    with sqlite3.connect(path / "ledger.sqlite") as old:
        old.executemany(f"INSERT INTO records ({COLUMNS}) VALUES ({', '.join('?' * 11)})", rows)
        old.execute("UPDATE records SET body = '{}' WHERE key = ?", (key_of(4),))
        old.execute("UPDATE records SET body = CAST(x'ff00' AS TEXT) WHERE key = ?", (key_of(5),))
    old.close()
    assert json.loads((path / "format.json").read_text())["version"] == 1
    return path


def test_an_older_store_opens_with_columns(older: Path) -> None:
    store = Store.open(older)
    assert json.loads((older / "format.json").read_text())["version"] == 3
    with pytest.warns(UserWarning, match="counts as missing"):
        found = store.records(key_of(number) for number in range(9))
    assert found.keys() == {key_of(1), key_of(2)}
    assert (found[key_of(1)].body, found[key_of(2)].body) == (REST, PAIR)
    assert repr(unpack(found[key_of(1)].columns)) == repr(BODY["metrics"])
    assert (found[key_of(1)].created, found[key_of(1)].family) == (1.5, FAMILY)
    assert verify(store).altered_records == (key_of(3), key_of(4), key_of(5))
    store.close()


def test_it_is_migrated_once_and_written_to_as_any_other(older: Path) -> None:
    Store.open(older).close()
    store = Store.open(older)
    store.commit(a_record(4, columns=some_columns()))
    assert store.records([key_of(4)])[key_of(4)].columns == some_columns()
    assert store.ledger.read("SELECT used FROM records WHERE key = ?", (key_of(1),)) == [(2.5,)]
    store.close()


def test_a_store_without_bundles_opens_and_is_compacted(tmp_path: Path) -> None:
    older = open_ledger(tmp_path / "older", schema.STEPS[:2])
    places = f"({', '.join(record.COLUMNS)}, used) VALUES ({', '.join('?' * 13)})"
    rows = [(*record.encode(a_record(number, columns=some_columns())), 2.5) for number in range(20)]
    with older.transaction() as connection:
        connection.executemany(f"INSERT INTO records {places}", rows)
    older.close()
    store = Store.open(tmp_path / "older")
    before = store.relatives([FAMILY])
    assert before.keys() == {key_of(number) for number in range(20)}
    assert compact(store).records == 20
    assert store.relatives([FAMILY]) == before
    assert verify(store).sound
    store.close()


def test_a_read_only_older_store_says_so(older: Path) -> None:
    with read_only(older), pytest.raises(StoreError, match="is read-only"):
        Store.open(older)

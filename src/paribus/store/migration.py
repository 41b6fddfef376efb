"""From version 1, with metrics as JSON in the body, to 2, with columns, to 3, with bundles."""

from __future__ import annotations

import json
import sqlite3
import struct
from typing import Any

import xxhash

from paribus.store.columns import Columns, pack
from paribus.store.record import checksum

_SELECT = (
    "SELECT key, kind, family, status, manifest, body, refs, environment, created, checksum FROM records"
)
_BODY = 5
_UPDATE = "UPDATE records SET body = ?, layout = ?, numbers = ?, checksum = ? WHERE id = ?"


def lists_to_columns(connection: sqlite3.Connection) -> None:
    """Version 1 to 2. A row that was altered on disk stays as it is, and counts as missing."""
    # Last, so that a look at a body reads no page of numbers.
    connection.execute("ALTER TABLE records ADD COLUMN layout TEXT NOT NULL DEFAULT '[]'")
    connection.execute("ALTER TABLE records ADD COLUMN numbers BLOB NOT NULL DEFAULT x''")
    connection.text_factory = _replaced
    for (identifier,) in connection.execute("SELECT id FROM records").fetchall():
        row = connection.execute(f"{_SELECT} WHERE id = ?", (identifier,)).fetchone()
        if (changed := _changed(row)) is not None:
            connection.execute(_UPDATE, (*changed, identifier))
    connection.text_factory = str


def add_bundles(connection: sqlite3.Connection) -> None:
    """Version 2 to 3: which object has a copy of a record, and is it still a copy of the present one."""
    connection.execute("CREATE TABLE bundles (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE)")
    # Null in every row that is written: a bundle has copies of what the rows were when it was made.
    connection.execute("ALTER TABLE records ADD COLUMN bundle INTEGER")
    # A frame asks where the records of a family are, and reads no page of the rows that are in bundles.
    connection.execute("DROP INDEX family_of")
    connection.execute("CREATE INDEX family_of ON records (family, key, bundle)")


def split(body: Any) -> tuple[Any, Columns]:
    """Take what metrics recorded out of a body of version 1, and the keys that are found without it.

    Raises:
        ValueError: What the body has in their place are no metrics.
    """
    if not (isinstance(body, dict) and "metrics" in body):
        return body, pack({})
    try:
        columns = pack(body["metrics"])
    except (AttributeError, KeyError, TypeError, struct.error) as error:
        raise ValueError(f"{error!r} in the metrics of a body") from error
    return {name: value for name, value in body.items() if name not in ("metrics", "passed")}, columns


def _changed(row: tuple[Any, ...]) -> tuple[object, ...] | None:
    """Return body, layout, numbers and checksum of version 2; ``None`` where the row is no sound record."""
    *texts, created, found = row
    if found != _checksum_1(texts, created):
        return None
    try:
        rest, columns = split(json.loads(texts[_BODY]))
    except (ValueError, RecursionError):
        return None
    texts[_BODY] = json.dumps(rest, separators=(",", ":"))
    layout, numbers = columns.layout.text, columns.numbers
    return texts[_BODY], layout, numbers, checksum((*texts, layout), created, numbers)


def _checksum_1(texts: list[str], created: float) -> str:
    return xxhash.xxh3_64_hexdigest("\0".join((*texts, repr(created))).encode("utf-8", "replace"))


def _replaced(text: bytes) -> str:
    return text.decode("utf-8", "replace")

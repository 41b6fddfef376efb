"""Compaction: records copied into bundles, and the ledger's free space given back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from paribus.store.bundles import bundle
from paribus.store.collection import sweep
from paribus.store.record import COLUMNS, Record, decode, is_whole
from paribus.store.store import Store

# A reader of a few batches of learners holds a few bundles in memory.
_RECORDS = 512
_BYTES = 16 * 2**20

_SELECT = f"SELECT {', '.join(COLUMNS)}, id FROM records WHERE id IN"
_MARK = "UPDATE records SET bundle = ? WHERE id = ? AND checksum = ?"
_Row = tuple[Record, int, str]


@dataclass(frozen=True)
class Compaction:
    """What a compaction did.

    Attributes:
        records: How many records were copied into bundles.
        bundles: How many bundles hold them.
        bundle_bytes: Their bytes.
        before: Bytes of the ledger before.
        after: And now.
    """

    records: int
    bundles: int
    bundle_bytes: int
    before: int
    after: int


def compact(store: Store) -> Compaction:
    """Copy all records of trajectories into bundles, and give the space of removed rows back to the disk.

    The rows stay, and what is written later is read from them: a bundle only saves time. Safe beside
    readers and writers; they wait for each other while the ledger is rewritten.

    Raises:
        StoreError: The store is read-only, or its disk full.
    """
    store.require_writable()
    before = store.ledger.path.stat().st_size
    written: dict[str, int] = {}
    records = 0
    for rows in _parts(store):
        payload = bundle([record for record, _, _ in rows])
        digest = store.put(payload)
        written[digest] = len(payload)
        records += _mark(store, digest, rows)
    earlier = {digest for (digest,) in store.ledger.read("SELECT digest FROM bundles")} - written.keys()
    with store.ledger.transaction() as connection:
        connection.executemany("DELETE FROM bundles WHERE digest = ?", ((digest,) for digest in earlier))
    sweep(store, earlier)
    store.ledger.compact()
    return Compaction(records, len(written), sum(written.values()), before, store.ledger.path.stat().st_size)


def _parts(store: Store) -> Iterator[list[_Row]]:
    """Yield the sound rows that belong to trajectories, in the order in which they came, in parts."""
    found = store.ledger.read("SELECT id FROM records WHERE family != ''")
    identifiers = sorted(number for (number,) in found)
    part: list[_Row] = []
    size = 0
    for start in range(0, len(identifiers), _RECORDS):
        some = identifiers[start : start + _RECORDS]
        rows = store.ledger.read(f"{_SELECT} ({','.join('?' * len(some))}) ORDER BY id", some)
        for record, (*_, checksum, number) in zip(decode([row[:-1] for row in rows]), rows, strict=True):
            if record is not None and is_whole(record):
                part.append((record, number, checksum))
                size += len(record.columns.numbers) + len(record.manifest)
            if len(part) == _RECORDS or size > _BYTES:
                yield part
                part, size = [], 0
    if part:
        yield part


def _mark(store: Store, digest: str, rows: Sequence[_Row]) -> int:
    """Tell the rows, if they are what was copied, which bundle has them; return how many."""
    with store.ledger.transaction() as connection:
        # Inside the lock in which gc removes objects.
        if not store.objects.holds(digest):
            return 0
        connection.execute("INSERT OR IGNORE INTO bundles (digest) VALUES (?)", (digest,))
        ((number,),) = connection.execute("SELECT id FROM bundles WHERE digest = ?", (digest,)).fetchall()
        marks = ((number, each, checksum) for _, each, checksum in rows)
        return connection.executemany(_MARK, marks).rowcount

"""Verification: does the store still hold what was put into it?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from paribus.errors import CorruptObjectError, StoreError
from paribus.store.bundles import unbundle
from paribus.store.record import COLUMNS, Record, decode, encode, is_whole
from paribus.store.store import Store

_COPIED = "SELECT key, checksum FROM records JOIN bundles ON bundles.id = bundle WHERE digest = ? AND key IN"


@dataclass(frozen=True)
class Verification:
    """What a verification found.

    Attributes:
        records: Number of rows.
        objects: Number of objects.
        size: Bytes of all objects.
        altered_records: Keys of rows that do not match their checksum.
        altered_objects: Digests of objects that cannot be read or do not match their name.
        dangling: (key, name, digest) of references to absent objects.
        altered_bundles: Digests of bundles that are missing, cannot be read, or have another copy of a record
            than its row; `compact` makes them anew.
        damage: SQLite's complaints about the ledger file.
        unreferenced: Number of objects to which no record refers; gc takes them.
        leftovers: Number of temporaries of puts in progress or killed; gc takes the old ones.
    """

    records: int
    objects: int
    size: int
    altered_records: tuple[str, ...]
    altered_objects: tuple[str, ...]
    dangling: tuple[tuple[str, str, str], ...]
    damage: tuple[str, ...]
    unreferenced: int
    leftovers: int
    altered_bundles: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether every record and every object to which it refers can be trusted."""
        altered = (self.altered_records, self.altered_objects, self.altered_bundles)
        return not any((*altered, self.dangling, self.damage))


def verify(store: Store) -> Verification:
    """Recompute every checksum and follow every reference; change nothing.

    Reads all objects once, one at a time. Safe beside running writers.

    Raises:
        StoreError: The ledger cannot be read at all.
    """
    rows = store.ledger.read(f"SELECT {', '.join(COLUMNS)} FROM records ORDER BY key")
    decoded = [(row[0], _whole(found)) for row, found in zip(rows, decode(rows), strict=True)]
    records = [record for _, record in decoded if record is not None]
    files = list(store.objects.files())
    digests = {file.digest for file in files if file.digest is not None}
    bundles = {digest for (digest,) in store.ledger.read("SELECT digest FROM bundles")}
    named = {digest for record in records for digest in record.references.values()} | bundles
    complaints = [text for (text,) in store.ledger.read("PRAGMA quick_check")]
    return Verification(
        records=len(rows),
        objects=len(digests),
        size=sum(file.size for file in files if file.digest is not None),
        altered_records=tuple(key for key, record in decoded if record is None),
        altered_objects=tuple(sorted(d for d in digests - bundles if _altered(store, d))),
        dangling=tuple(_dangling(store, records, digests)),
        damage=tuple(text for text in complaints if text != "ok"),
        unreferenced=len(digests - named),
        leftovers=sum(file.leftover for file in files),
        altered_bundles=tuple(sorted(digest for digest in bundles if _differs(store, digest))),
    )


def _whole(record: Record | None) -> Record | None:
    return record if record is not None and is_whole(record) else None


def _differs(store: Store, digest: str) -> bool:
    """Tell whether a bundle cannot be read, or is said to have the copy of a record and has another one."""
    try:
        copies = {copy.key: encode(copy)[-1] for copy in unbundle(store.get(digest))}
    except (StoreError, ValueError):
        # A bundle that `compact` has replaced since the listing is no damage.
        return bool(store.ledger.read("SELECT id FROM bundles WHERE digest = ?", (digest,)))
    rows = store.ledger.read(f"{_COPIED} ({','.join('?' * len(copies))})", (digest, *copies))
    return any(copies[key] != checksum for key, checksum in rows)


def _altered(store: Store, digest: str) -> bool:
    try:
        store.get(digest)
    except CorruptObjectError:
        # An object that gc took since the listing is no damage.
        return store.objects.holds(digest)
    return False


def _dangling(
    store: Store, records: Sequence[Record], listed: Collection[str]
) -> Iterable[tuple[str, str, str]]:
    # Looks for what the listing lacks: a record may be younger than it.
    absent = {digest for record in records for digest in record.references.values()}.difference(listed)
    absent -= store.sizes(absent).keys()
    for record in records:
        for name, digest in sorted(record.references.items()):
            if digest in absent:
                yield record.key, name, digest

"""What a store holds, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from paribus.store.store import Store


@dataclass(frozen=True)
class Statistics:
    """Counts and bytes of a store.

    Attributes:
        records: Number of records by status.
        bundled: Number of records of which a bundle has a copy.
        objects: Number of objects.
        object_bytes: Their bytes.
        ledger_bytes: Bytes of the ledger, without its log.
        pins: Number of pinned keys.
        claims: Number of live claims.
    """

    records: Mapping[str, int]
    objects: int
    object_bytes: int
    ledger_bytes: int
    pins: int
    claims: int
    bundled: int = 0


def stats(store: Store) -> Statistics:
    """Count what a store holds.

    Raises:
        StoreError: The ledger cannot be read.
    """
    sizes = [file.size for file in store.objects.files() if file.digest is not None]
    return Statistics(
        records=counts(store),
        objects=len(sizes),
        object_bytes=sum(sizes),
        ledger_bytes=store.ledger.path.stat().st_size,
        pins=len(store.pins.all()),
        claims=len(store.claims.live()),
        bundled=store.ledger.read("SELECT COUNT(bundle) FROM records")[0][0],
    )


def counts(store: Store) -> dict[str, int]:
    """Count the records of each status; cheap enough to be asked again and again.

    Raises:
        StoreError: The ledger cannot be read.
    """
    return dict(store.ledger.read("SELECT status, COUNT(*) FROM records GROUP BY status ORDER BY status"))


def last_written(store: Store) -> float | None:
    """Tell when the youngest record was written, in Unix seconds; ``None`` where there is none.

    Raises:
        StoreError: The ledger cannot be read.
    """
    rows = store.ledger.read("SELECT created FROM records ORDER BY id DESC LIMIT 1")
    return rows[0][0] if rows else None

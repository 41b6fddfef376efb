"""Garbage collection: mark from the records, sweep the objects."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from paribus.errors import StoreError
from paribus.store.objects import StoredFile
from paribus.store.record import Record
from paribus.store.store import Store

# Files that are looked at under one lock: at an address each takes a while, and writers wait.
_SWEPT = 1000
Past = Callable[[Record], Iterable[str]]

_BUNDLED = "SELECT key, digest FROM records JOIN bundles ON bundles.id = bundle"
_FORGET_BUNDLES = """
    DELETE FROM bundles WHERE id NOT IN (SELECT bundle FROM records WHERE bundle IS NOT NULL)
"""


@dataclass(frozen=True)
class Retention:
    """What gc keeps. By default every record, and no object without one.

    Attributes:
        unused_for: Seconds; records that were used less recently go. None: no limit.
        budget: Bytes of objects; the least recently used records beyond them go. None: no limit.
        grace: Seconds; a record or a file used more recently stays, whatever the limits say. It covers the
            time from an object's put to its record's commit.
    """

    unused_for: float | None = None
    budget: int | None = None
    grace: float = 3600.0

    def __post_init__(self) -> None:
        for name in ("unused_for", "budget", "grace"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise StoreError(f"Retention: {name} is {value!r}; expected a number of at least 0")


@dataclass(frozen=True)
class Use:
    """A record as gc sees it.

    Attributes:
        key: Its key.
        used: Unix seconds of its last use.
        digests: The objects that it refers to.
        past: Keys of the records that it grew from.
    """

    key: str
    used: float
    digests: frozenset[str]
    past: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sweep:
    """What gc removed, or would remove in a dry run.

    Attributes:
        records: Keys.
        objects: Digests.
        leftovers: Number of temporaries of killed writers.
        freed: Bytes of the removed files.
        kept: Bytes of the objects that stay.
    """

    records: tuple[str, ...]
    objects: tuple[str, ...]
    leftovers: int
    freed: int
    kept: int


def expired(
    uses: Iterable[Use], sizes: Mapping[str, int], held: Collection[str], retention: Retention, now: float
) -> tuple[str, ...]:
    """Choose the records that go, oldest use last.

    From the most recently used on, each record is kept, with all that it grew from, while it is recent enough
    and the objects that they add fit the budget; objects that several records share count once. So none stays
    without what it grew from.

    Args:
        uses: All records.
        sizes: Bytes by digest.
        held: Keys that stay whatever the limits say; they count in the budget.
        retention: The limits.
        now: Unix seconds.
    """
    known = {use.key: use for use in uses}
    kept: set[str] = set()
    marked: set[str] = set()
    total = 0
    order = sorted(known.values(), key=lambda use: (use.key not in held, -use.used, use.key))
    for use in order:
        path = list(_path(use, known, kept))
        digests = frozenset[str]().union(*(each.digests for each in path)) - marked
        added = sum(sizes.get(digest, 0) for digest in digests)
        age = now - use.used
        old = retention.unused_for is not None and age > retention.unused_for
        large = added > 0 and retention.budget is not None and total + added > retention.budget
        if use.key in held or age <= retention.grace or not (old or large):
            kept.update(each.key for each in path)
            marked |= digests
            total += added
    return tuple(use.key for use in order if use.key not in kept)


def _path(use: Use, known: Mapping[str, Use], kept: Collection[str]) -> Iterator[Use]:
    """Yield a record and what it grew from, down to what is kept already."""
    seen: set[str] = set()  # a stranger's records may grow from each other
    pending = [use.key]
    while pending:
        key = pending.pop()
        if key in known and key not in kept and key not in seen:
            seen.add(key)
            yield known[key]
            pending += known[key].past


def gc(
    store: Store,
    retention: Retention | None = None,
    *,
    past_of: Past = lambda record: (),
    dry_run: bool = False,
    now: float | None = None,
) -> Sweep:
    """Remove the records beyond the limits, then the objects to which no record refers.

    Pinned keys and keys under a live claim stay, and so does all that a record that stays grew from. Safe
    beside running writers: rows go before objects, objects go under the lock in which `Store.commit` makes
    sure that its objects are there, and young ones stay.

    Args:
        store: What to collect.
        retention: The limits.
        past_of: Names the keys that a record grew from, where it cannot be made again without them.
        dry_run: Whether to change nothing.
        now: Unix seconds; the system's clock when omitted.

    Raises:
        StoreError: The store is read-only (a dry run works) or cannot be written.
    """
    retention = retention or Retention()
    now = time.time() if now is None else now
    before = now - retention.grace
    files = tuple(store.objects.files())
    sizes = {file.digest: file.size for file in files if file.digest is not None}
    if dry_run:
        gone = _expired(store, sizes, retention, past_of, now)
        return _report(gone, [f for f in _unmarked(store, files, gone) if f.modified < before], sizes)
    store.require_writable()
    with store.ledger.transaction() as connection:
        gone = _expired(store, sizes, retention, past_of, now)
        connection.executemany("DELETE FROM records WHERE key = ?", ((key,) for key in gone))
        connection.execute(_FORGET_BUNDLES)
    # A power cut must not bring a row back whose objects are gone.
    store.ledger.sync()
    swept: list[StoredFile] = []
    for start in range(0, len(files), _SWEPT):
        with store.ledger.transaction():
            swept += store.objects.remove(_unmarked(store, files[start : start + _SWEPT]), before)
    return _report(gone, swept, sizes)


def sweep(store: Store, digests: Iterable[str]) -> int:
    """Remove those of some objects to which no record refers; return the bytes freed.

    For objects whose only writer is the caller: unlike gc it gives young ones no grace.

    Raises:
        StoreError: The store cannot be written.
    """
    with store.ledger.transaction():
        found = store.objects.find(set(digests) - _marked(store))
        return sum(file.size for file in store.objects.remove(found, math.inf))


def _expired(
    store: Store, sizes: Mapping[str, int], retention: Retention, past_of: Past, now: float
) -> tuple[str, ...]:
    if retention.unused_for is None and retention.budget is None:
        return ()
    held = store.pins.all() | store.claims.live(now).keys()
    pasts = {record.key: tuple(past_of(record)) for record in store.scan()}
    return expired(_uses(store, pasts), sizes, held, retention, now)


def _uses(store: Store, pasts: Mapping[str, tuple[str, ...]] | None = None) -> list[Use]:
    rows = store.ledger.read("SELECT key, used, refs FROM records")
    return [Use(key, used, _digests(refs), (pasts or {}).get(key, ())) for key, used, refs in rows]


def _digests(refs: str) -> frozenset[str]:
    try:
        return frozenset(json.loads(refs).values())
    except (ValueError, TypeError, AttributeError, RecursionError):
        # A row that cannot be read counts as missing, and so it marks nothing.
        return frozenset()


def _unmarked(store: Store, files: Iterable[StoredFile], gone: Collection[str] = ()) -> list[StoredFile]:
    marked = _marked(store, frozenset(gone))
    return [file for file in files if file.leftover or (file.digest and file.digest not in marked)]


def _marked(store: Store, without: Collection[str] = frozenset()) -> set[str]:
    """Return the objects that some records need, and the bundles that have a copy of one of them."""
    marked = {digest for use in _uses(store) if use.key not in without for digest in use.digests}
    return marked | {digest for key, digest in store.ledger.read(_BUNDLED) if key not in without}


def _report(gone: tuple[str, ...], swept: Sequence[StoredFile], sizes: Mapping[str, int]) -> Sweep:
    objects = tuple(sorted(file.digest for file in swept if file.digest is not None))
    return Sweep(
        records=gone,
        objects=objects,
        leftovers=sum(file.leftover for file in swept),
        freed=sum(file.size for file in swept),
        kept=sum(sizes.values()) - sum(sizes[digest] for digest in objects),
    )

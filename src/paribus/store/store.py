"""The store: an action cache over a content-addressed store."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, final

from paribus.errors import StoreError
from paribus.store.bundles import unbundle
from paribus.store.claims import Claims
from paribus.store.layout import objects_of, open_ledger
from paribus.store.ledger import Ledger
from paribus.store.objects import Buffer, Objects, name_of
from paribus.store.pins import Pins
from paribus.store.record import COLUMNS, Record, decode, encode, is_whole, without_numbers
from paribus.store.remote import address_of, folder_of

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM records"
_SELECT_KEYS = f"{_SELECT} WHERE key IN"
_PLACES = "SELECT family, key, bundle FROM records INDEXED BY family_of"
_STATUS = "SELECT key, status FROM records INDEXED BY status_of"
# Ids only grow, so that this is at least the number of rows, and costs nothing.
_NEWEST = "SELECT COALESCE(MAX(id), 0) FROM records"
_MANY = 1000
# Rows that are decoded together; few enough that a reader of some does not pay for all.
_BATCH = 512
# Of a bundle from which fewer records are wanted, their rows are read.
_FEW = 16
_INSERT = f"REPLACE INTO records ({', '.join(COLUMNS)}, used) VALUES ({', '.join('?' * len(COLUMNS))}, ?)"


@final
class Store:
    """Records by key and objects by content, shared by threads and processes.

    A pickled store says where things are. On a machine that has not its folder, objects can be put and read,
    where they lie at an address that is the same there.

    Attributes:
        path: The absolute path of its folder, where the ledger is.
        claims: Who computes which key now.
        pins: Keys that gc never takes.
        ledger: The database below; for this room only.
        objects: The objects below; for this room only.

    >>> import tempfile
    >>> store = Store.open(tempfile.mkdtemp())
    >>> digest = store.put(b"weights")
    >>> store.commit(Record("0" * 32, "segment", "done", "{}", {"loss": 0.5}, {"state": digest}, None))
    >>> store.records(["0" * 32])["0" * 32].body
    {'loss': 0.5}
    >>> store.get(digest)
    b'weights'
    """

    def __init__(self, path: Path, ledger: Ledger, objects: Objects) -> None:
        self.path = path
        self.ledger = ledger
        self.objects = objects
        self.claims = Claims(ledger)
        self.pins = Pins(ledger)
        self._required = False

    @classmethod
    def open(cls, path: Path | str, objects: Path | str | None = None) -> Store:
        """Open the store at a folder, and make it when absent.

        Args:
            path: Its folder. An address, such as ``"s3://bucket/runs"``, is one of the objects; the ledger is
                then in a folder here that is named after it: ``.paribus-s3-bucket-runs``.
            objects: Where a new store puts its objects: an address that fsspec knows, or a folder; by default
                in its own folder. The store keeps it in mind.

        Raises:
            StoreError: The path is a file or another program's folder, cannot be made, or is newer; the
                objects are elsewhere, or cannot be put there.
        """
        address = address_of(path)
        if address is not None:
            path, objects = folder_of(address), objects or address
        place = Path(path).expanduser().resolve()
        if objects is not None:
            objects = address_of(objects) or Path(objects).expanduser().resolve().as_uri()
        ledger = open_ledger(place, objects=objects)
        return cls(place, ledger, objects_of(place))

    def __reduce__(self) -> tuple[object, ...]:
        return Store, (self.path, self.ledger, self.objects)

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    @property
    def writable(self) -> bool:
        """Whether results can be committed."""
        return self.ledger.writable

    def require_writable(self) -> None:
        """Raise StoreError, before any training, when the store is read-only, or its objects out of reach."""
        self.ledger.require_writable()
        if not self._required:
            self.objects.place.require()
            self._required = True

    def records(self, keys: Iterable[str]) -> dict[str, Record]:
        """Read the records of those keys that are there; an altered row counts as absent, with a warning."""
        return dict(self._decoded(self._rows(_SELECT, "key", keys, 0)))

    def relatives(self, families: Iterable[str], *, numbers: bool = True) -> dict[str, Record]:
        """Read the records of some families, by key; an altered row counts as absent, with a warning.

        Without `numbers`, of what metrics recorded only the layout is kept: the numbers of many records may
        not fit into memory.

        Where `compact` has put many of them into a bundle, that is read, and not their rows.
        """
        digests: dict[int | None, str] = dict(self.ledger.read("SELECT id, digest FROM bundles"))
        if numbers and not digests:  # all are rows: where each is need not be asked
            return dict(self._decoded(self._rows(_SELECT, "family", families, COLUMNS.index("family"))))
        wanted: dict[int | None, list[str]] = {}
        for _, key, bundle in self._rows(_PLACES, "family", families, 0):
            wanted.setdefault(bundle, []).append(key)
        found: dict[str, Record] = {}
        rows: list[str] = []
        for bundle, keys in wanted.items():
            is_read = bundle in digests and len(keys) >= _FEW
            copies = self._copies(digests[bundle], numbers) if is_read else {}
            for key in keys:
                if key in copies:
                    found[key] = copies[key]
                else:
                    rows.append(key)
        # Not in one pass, where all at once are too many.
        left = self._rows(_SELECT, "key", rows, 0) if numbers else self.ledger.read_in(_SELECT_KEYS, rows)
        return found | dict(self._decoded(left, numbers=numbers))

    def scan(self) -> Iterator[Record]:
        """Read every record; an altered row, or one that is no record, is left out, with a warning."""
        return (record for _, record in self._decoded(self.ledger.read(_SELECT), whole=True))

    def _copies(self, digest: str, numbers: bool) -> dict[str, Record]:
        """Read a bundle; a damaged one is told, and has no copies."""
        try:
            return {record.key: record for record in unbundle(self.get(digest), numbers=numbers)}
        except (StoreError, ValueError) as error:
            # One that `compact` has replaced since is no damage.
            if self.ledger.read("SELECT id FROM bundles WHERE digest = ?", (digest,)):
                warnings.warn(
                    f"{error}; the rows of its records are read, until `paribus compact` bundles them anew",
                    stacklevel=4,
                )
            return {}

    def _decoded(
        self, rows: Iterable[tuple[Any, ...]], *, whole: bool = False, numbers: bool = True
    ) -> Iterator[tuple[str, Record]]:
        left = iter(rows)
        while some := list(islice(left, _BATCH)):
            for row, record in zip(some, decode(some), strict=True):
                if record is None or (whole and not is_whole(record)):
                    warnings.warn(
                        f"Store: record {row[0]} was altered on disk; it counts as missing", stacklevel=4
                    )
                else:
                    yield record.key, record if numbers else without_numbers(record)

    def statuses(self, keys: Iterable[str]) -> dict[str, str]:
        """Read the statuses of those keys that are there: the cheapest test of existence."""
        return dict(self._rows(_STATUS, "key", keys, 0))

    def _rows(self, select: str, column: str, values: Iterable[str], place: int) -> Iterable[tuple[Any, ...]]:
        """Select the rows that have one of some values in a column, which is at a place in the rows."""
        wanted = set(values)
        if len(wanted) < _MANY or 4 * len(wanted) < self.ledger.read(_NEWEST)[0][0]:
            return self.ledger.read_in(f"{select} WHERE {column} IN", wanted)
        # For a good part of the ledger, one pass over it beats as many descents into an index.
        return (row for row in self.ledger.read(select) if row[place] in wanted)

    def commit(self, record: Record) -> None:
        """Write a record; it replaces an earlier one of that key.

        Raises:
            StoreError: The store cannot be written, or an object that the record refers to is not in it.
        """
        self.commit_all([record])

    def commit_all(self, records: Sequence[Record]) -> None:
        """Write records in one transaction: all or none; each replaces an earlier one of its key.

        Raises:
            StoreError: The store cannot be written, or an object that a record refers to is not in it.
        """
        now = time.time()
        rows = [(*encode(r if r.created else replace(r, created=now)), now) for r in records]
        referred = {
            digest: (record.key, name) for record in records for name, digest in record.references.items()
        }
        with self.ledger.transaction() as connection:
            # Inside the lock that gc holds too: no row ever refers to an object that gc has taken.
            there = self.sizes(referred)
            for digest, (key, name) in referred.items():
                if digest not in there:
                    raise StoreError(
                        f"Record {key}: its object {name!r} ({digest}) is not stored; put it first"
                    )
            connection.executemany(_INSERT, rows)

    def touch(self, keys: Iterable[str]) -> None:
        """Note that these records were used now; gc takes the least recently used first."""
        now = time.time()
        with self.ledger.transaction() as connection:
            connection.executemany("UPDATE records SET used = ? WHERE key = ?", ((now, key) for key in keys))

    def forget(self, keys: Iterable[str], name: str) -> None:
        """Take one reference out of some records; the object itself stays until it is swept.

        Raises:
            StoreError: The store cannot be written.
        """
        found = self.records(keys).values()
        with self.ledger.transaction() as connection:
            for record in found:
                kept = {each: digest for each, digest in record.references.items() if each != name}
                connection.execute(_INSERT, (*encode(replace(record, references=kept)), time.time()))

    def discard(self, key: str) -> None:
        """Remove a record, if it is there; its objects stay until the next gc."""
        self.ledger.write("DELETE FROM records WHERE key = ?", (key,))

    def put(self, payload: Buffer) -> str:
        """Keep bytes as an immutable object; return its digest, 32 hex digits.

        Raises:
            StoreError: The store cannot be written; nothing is left behind.
        """
        self.require_writable()
        return self.objects.put(payload)

    def get(self, digest: str) -> bytes:
        """Read an object and verify its bytes.

        Raises:
            CorruptObjectError: It is missing or was altered.
        """
        return self.objects.get(digest)

    def close(self) -> None:
        """Close this process's connections; a later call opens them again."""
        self.ledger.close()

    def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """Return the bytes of those objects that are there, without reading them."""
        return {file.name[-32:]: file.size for file in self.objects.find(digests)}

    def path_of(self, digest: str) -> Path:
        """Name the file of an object in the store's own folder, whether or not it exists."""
        return Path(str(self.objects.place), name_of(digest))

"""A row of the ledger, and its form on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias, final

import xxhash

from paribus.errors import StoreError
from paribus.store.columns import Columns, pack, read_columns

Row: TypeAlias = tuple[Any, ...]
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

COLUMNS = (
    "key",
    "kind",
    "family",
    "status",
    "manifest",
    "body",
    "refs",
    "environment",
    "layout",
    "created",
    "numbers",
    "checksum",
)
NO_COLUMNS = pack({})
# Without the search for blanks around it, which costs as much as a small document.
parse = json.JSONDecoder().raw_decode
UNREAD = ("manifest", "body", "references", "environment")
_FIRST_UNREAD = COLUMNS.index("manifest")

_MEND = "give None, booleans, numbers, strings, lists and dicts of them"
_DIGEST = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Record:
    """What the ledger knows of one key.

    Attributes:
        key: 32 hex digits.
        kind: What the key names, such as "segment".
        status: "done", "diverged" or "failed".
        manifest: Canonical JSON text of the whole configuration; a hit compares it.
        body: Results that are no columns: seconds, a traceback. Non-finite numbers are allowed.
        references: Name to digest of an object.
        environment: Library versions, host, CPU capability; recorded, never in the key.
        created: Unix seconds; 0 means that the store fills it at the commit.
        family: A name under which related records are found together.
        columns: What metrics recorded.
    """

    key: str
    kind: str
    status: str
    manifest: str
    body: Json
    references: Mapping[str, str]
    environment: Json
    created: float = 0.0
    family: str = ""
    columns: Columns = NO_COLUMNS

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Read a part of a row at the first look: most readers of many records look at few parts."""
            if name not in UNREAD:
                raise AttributeError(f"Record has no {name!r}")
            try:
                value = self.__dict__[name] = self._written(name)
            except (TypeError, ValueError, RecursionError) as error:
                raise StoreError(
                    f"Record {self.key}: its {name} cannot be read ({error}), though its checksum fits; "
                    "it is not of Paribus: import what is sound into a new store"
                ) from error
            return value


def is_digest(text: str) -> bool:
    """Tell whether `text` is 32 lower-case hex digits, and so safe as a file name.

    >>> is_digest("0" * 32), is_digest("../../etc/passwd")
    (True, False)
    """
    return _DIGEST.fullmatch(text) is not None


def encode(record: Record) -> tuple[object, ...]:
    """Write a record as the ledger's row, in the order of `COLUMNS`.

    Raises:
        StoreError: The key or a digest is not 32 hex digits, or a part is no JSON.
    """
    for name, digest in {"key": record.key, **record.references}.items():
        if not is_digest(digest):
            raise StoreError(
                f"Record {record.key!r}: {name!r} is {digest!r}; expected 32 lower-case hex digits"
            )
    texts = (
        record.key,
        record.kind,
        record.family,
        record.status,
        record.manifest,
        _dump(record.key, "body", record.body),
        _dump(record.key, "references", dict(record.references)),
        _dump(record.key, "environment", record.environment),
        record.columns.layout.text,
    )
    numbers = record.columns.numbers
    return (*texts, record.created, numbers, checksum(texts, record.created, numbers))


def decode(rows: Sequence[Row]) -> list[Record | None]:
    """Read rows, which are best given many at once; None in place of each that was altered on disk."""
    parts = _Parts(rows)
    return [_verified(row, partial(parts.read, place)) for place, row in enumerate(rows)]


def _verified(row: Row, written: Callable[[str], Any]) -> Record | None:
    *texts, created, numbers, found = row
    try:
        if found != checksum(texts, created, numbers):
            return None
        columns = read_columns(texts[-1], numbers)
    except (TypeError, ValueError):
        return None
    key, kind, family, status, *_ = texts
    return unread(key, kind, status, family, created, columns, written)


def unread(
    key: str,
    kind: str,
    status: str,
    family: str,
    created: float,
    columns: Columns,
    written: Callable[[str], Any],
) -> Record:
    """Make a record whose parts of `UNREAD` are read, each by its name, when they are looked at."""
    record = object.__new__(Record)
    record.__dict__.update(
        key=key,
        kind=kind,
        status=status,
        family=family,
        created=created,
        columns=columns,
        _written=written,
    )
    return record


def without_numbers(record: Record) -> Record:
    """Leave out what metrics recorded, but for its layout."""
    columns, written = Columns(record.columns.layout, b""), vars(record)["_written"]
    return unread(record.key, record.kind, record.status, record.family, record.created, columns, written)


def is_whole(record: Record) -> bool:
    """Tell whether every part can be read: a checksum is no signature, and a stranger's row may hold none."""
    try:
        return all(hasattr(record, name) for name in UNREAD)
    except StoreError:
        return False


@final
class _Parts:
    """The parts of some rows that few readers look at, by `UNREAD`: parsed for all rows at the first look."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self._parsed: dict[str, list[Any] | None] = {}

    def read(self, place: int, name: str) -> Any:
        """Read one part of a row."""
        column = _FIRST_UNREAD + UNREAD.index(name)
        text = self._rows[place][column]
        match name:
            case "manifest":
                return text
            case "environment":
                return _shared(text)
        if name not in self._parsed:
            self._parsed[name] = _parse_all([row[column] for row in self._rows])
        parsed = self._parsed[name]
        return parse(text)[0] if parsed is None else parsed[place]


def _parse_all(texts: Sequence[str]) -> list[Any] | None:
    """Parse JSON texts at once, at half the cost; None where one of them is no JSON."""
    with suppress(TypeError, ValueError, RecursionError):
        found: list[Any] = json.loads(f"[{','.join(texts)}]")
        return found if len(found) == len(texts) else None
    return None


# Few environments, many records.
@lru_cache(maxsize=64)
def _shared(text: str) -> Any:
    return json.loads(text)


def checksum(texts: Sequence[str], created: float, numbers: bytes | memoryview) -> str:
    """Hash a row. SQLite keeps no checksums: a flipped bit in a metric would be read as a result."""
    text = "\0".join((*texts, repr(created))).encode("utf-8", "replace")
    return xxhash.xxh3_64_hexdigest(text + numbers)


def _dump(key: str, name: str, value: object) -> str:
    try:
        return json.dumps(value, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise StoreError(f"Record {key}: its {name} is no JSON ({error}); {_MEND}") from error

"""Export and import: a selection of records with their objects, as one file."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paribus.errors import StoreError
from paribus.store.columns import read_columns
from paribus.store.migration import split
from paribus.store.record import Record, is_digest
from paribus.store.store import Store

if TYPE_CHECKING:
    from zipfile import ZipFile

VERSION = 2
_FORMAT = "format.json"
_RECORDS = "records.jsonl"
_OBJECTS = "objects/"


@dataclass(frozen=True)
class Imported:
    """What an import added: keys of new records, keys that the store had already, number of objects read."""

    added: tuple[str, ...]
    present: tuple[str, ...]
    objects: int


def export(store: Store, keys: Iterable[str], file: Path | str) -> int:
    """Write records and their objects as one uncompressed zip; return its size in bytes.

    Equal selections give equal bytes.

    Raises:
        StoreError: A key has no record, an object is missing or altered, or the file cannot be written.
    """
    wanted = sorted(set(keys))
    records = store.records(wanted)
    if missing := [key for key in wanted if key not in records]:
        raise StoreError(
            f"Export: {len(missing)} of {len(wanted)} keys have no record, such as {missing[0]}; run them"
        )
    target = Path(file)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        _write(store, [records[key] for key in wanted], temporary)
        temporary.replace(target)
        return target.stat().st_size
    except StoreError:
        raise
    except OSError as error:
        why = error.strerror or error
        raise StoreError(f"Export: {target} cannot be written: {why}; choose another file") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def import_(store: Store, file: Path | str) -> Imported:
    """Read an exported file into a store.

    Records that the store has stay as they are, except failed ones. Nothing is unpickled or extracted:
    members are read by checked names, and each object must match its digest.

    Raises:
        StoreError: The file is no export, was altered, or holds members that do not belong there.
    """
    store.require_writable()
    with _opened(Path(file)) as archive:
        _check_members(archive, file)
        records = [_record(line, file) for line in archive.read(_RECORDS).splitlines()]
        objects = [name for name in archive.namelist() if name.startswith(_OBJECTS)]
        for name in objects:
            digest = name.rpartition("/")[2]
            if store.put(archive.read(name)) != digest:
                raise StoreError(f"Import: object {digest} of {file} was altered; export it again")
    had = store.statuses(record.key for record in records)
    present = {key for key, status in had.items() if status != "failed"}
    new = [record for record in records if record.key not in present]
    for record in new:
        store.commit(record)
    return Imported(tuple(record.key for record in new), tuple(sorted(present)), len(objects))


def _write(store: Store, records: list[Record], temporary: Path) -> None:
    from zipfile import ZIP_STORED, ZipFile, ZipInfo

    lines = [json.dumps(_document(record)) for record in records]
    digests = sorted({digest for record in records for digest in record.references.values()})
    with open(temporary, "xb") as target:
        with ZipFile(target, "w", ZIP_STORED) as archive:
            # ZipInfo's fixed date, not the clock's, keeps equal exports equal.
            archive.writestr(ZipInfo(_FORMAT), json.dumps({"format": "paribus-export", "version": VERSION}))
            archive.writestr(ZipInfo(_RECORDS), "\n".join(lines))
            for digest in digests:
                archive.writestr(ZipInfo(f"{_OBJECTS}{digest[:2]}/{digest}"), store.get(digest))
        target.flush()
        os.fsync(target.fileno())


@contextmanager
def _opened(file: Path) -> Iterator[ZipFile]:
    from zipfile import BadZipFile, ZipFile

    try:
        with ZipFile(file) as archive:
            yield archive
    except StoreError:
        raise
    except (BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise StoreError(f"Import: {file} is no sound export ({error}); export it again") from error
    except OSError as error:
        why = error.strerror or error
        raise StoreError(f"Import: {file} cannot be read: {why}; check the path") from error


def _check_members(archive: ZipFile, file: Path | str) -> None:
    seen: set[str] = set()
    for member in archive.infolist():
        name = member.filename
        # Compressed members could be far larger than the file: an export has none.
        plain = member.compress_type == 0 and member.file_size == member.compress_size
        if not (plain and (_is_object(name) or name in (_FORMAT, _RECORDS)) and name not in seen):
            raise StoreError(f"Import: {file} holds {name!r}, which no export does; nothing was imported")
        seen.add(name)
    if not {_FORMAT, _RECORDS} <= seen:
        raise StoreError(f"Import: {file} has no {_FORMAT} or no {_RECORDS}; it is no export of Paribus")
    version = _version(archive.read(_FORMAT))
    if version not in range(1, VERSION + 1):
        raise StoreError(
            f"Import: {file} has format {version!r}, and this Paribus knows formats up to {VERSION}; "
            "upgrade Paribus"
        )


def _is_object(member: str) -> bool:
    digest = member[-32:]
    return is_digest(digest) and member == f"{_OBJECTS}{digest[:2]}/{digest}"


def _version(text: bytes) -> object:
    try:
        return json.loads(text)["version"]
    except (ValueError, KeyError, TypeError):
        return None


def _document(record: Record) -> dict[str, Any]:
    numbers = base64.b64encode(record.columns.numbers).decode("ascii")
    parts = {field.name: getattr(record, field.name) for field in fields(record)}
    return parts | {"columns": {"layout": record.columns.layout.text, "numbers": numbers}}


def _record(line: bytes, file: Path | str) -> Record:
    try:
        document = json.loads(line)
        if "columns" in document:
            found = document["columns"]
            columns = read_columns(found["layout"], base64.b64decode(found["numbers"], validate=True))
        else:
            document["body"], columns = split(document.get("body"))
        record = Record(**{**document, "columns": columns})
        texts = (record.key, record.kind, record.status, record.manifest, record.family)
        if not all(
            isinstance(text, str) for text in (*texts, *record.references, *record.references.values())
        ):
            raise TypeError("a text is expected")
        if not isinstance(record.created, float):
            raise TypeError("created is no float")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise StoreError(
            f"Import: {file} holds a line that is no record ({error}); export it again"
        ) from error
    return record

"""The folder of a store: what lies in it, and whether this Paribus can open it."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from paribus.errors import StoreError
from paribus.store import schema
from paribus.store.filesystem import is_network_filesystem, mounts_text, write_whole
from paribus.store.ledger import NAME, Ledger

FORMAT = "format.json"
OBJECTS = "objects"


def open_ledger(path: Path, steps: Sequence[schema.Step] = schema.STEPS) -> Ledger:
    """Open, make or migrate the store at an absolute path; return its ledger.

    Raises:
        StoreError: The path is a file or another program's folder, cannot be made, is read-only and empty or
            of an older version, or was written by a newer Paribus.
    """
    version = _version(path)
    if version is not None and version > len(steps):
        raise _too_new(path, version, len(steps))
    if version is None:
        _make_folders(path)
    elif not (path / NAME).exists():
        raise StoreError(f"Store: {path} has lost its {NAME}; restore it, or remove {FORMAT} to begin anew")
    writable = all(os.access(part, os.W_OK) for part in (path, path / OBJECTS, path / NAME) if part.exists())
    shared = is_network_filesystem(mounts_text(), path)
    if shared and writable:
        warnings.warn(
            f"Store: {path} lies on a network file system; it works with one machine at a time. "
            "For several, give each its own store and join them with `paribus export` and `import`.",
            stacklevel=3,
        )
    ledger = Ledger(path / NAME, writable=writable, shared=shared)
    if version != len(steps):
        _migrate(path, ledger, steps)
    return ledger


def _version(path: Path) -> int | None:
    """Read the version; None when there is no store yet."""
    try:
        text = (path / FORMAT).read_text()
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise _is_file(path) from error
    except OSError as error:
        raise StoreError(f"Store: {path} cannot be read: {error.strerror}; check its permissions") from error
    try:
        return int(json.loads(text)["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"Store: {path / FORMAT} holds {text[:40]!r}; expected {_format_text(1)!r}; restore that file"
        ) from error


def _make_folders(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        known = (OBJECTS, FORMAT, NAME, ".")
        strangers = [name for name in sorted(os.listdir(path)) if not name.startswith(known)]
        if strangers:
            raise StoreError(
                f"Store: {path} is no store, and holds {strangers[0]!r}; give store= a new or empty folder"
            )
        (path / OBJECTS).mkdir(exist_ok=True)
    except StoreError:
        raise
    except FileExistsError as error:
        raise _is_file(path) from error
    except OSError as error:
        raise StoreError(
            f"Store: {path} cannot be made: {error.strerror}; give store= a folder that you may write"
        ) from error


def _migrate(path: Path, ledger: Ledger, steps: Sequence[schema.Step]) -> None:
    # The ledger's version moves in one transaction with its steps, format.json after it: a crash
    # between the two is mended by the next opening, which finds no step left to take.
    with ledger.transaction() as connection:
        version = schema.migrate(connection, steps)
    if version > len(steps):
        raise _too_new(path, version, len(steps))
    try:
        write_whole(path / FORMAT, _format_text(version).encode())
    except OSError as error:
        raise StoreError(
            f"Store: {path / FORMAT} could not be written: {error.strerror}; free space, and open it again"
        ) from error


def _is_file(path: Path) -> StoreError:
    file = next((part for part in (path, *path.parents) if part.is_file()), path)
    return StoreError(f"Store: {file} is a file; expected a folder, such as 'runs'")


def _format_text(version: int) -> str:
    return json.dumps({"format": "paribus-store", "version": version}) + "\n"


def _too_new(path: Path, version: int, newest: int) -> StoreError:
    return StoreError(
        f"Store: {path} has format {version}, and this Paribus knows formats up to {newest}; "
        "upgrade Paribus, or give store= another folder"
    )

"""The folder of a store: what lies in it, and whether this Paribus can open it."""

from __future__ import annotations

import json
import os
import secrets
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from paribus.errors import StoreError
from paribus.store import schema
from paribus.store.filesystem import is_network_filesystem, mounts_text, write_whole
from paribus.store.folder import Folder
from paribus.store.ledger import NAME, Ledger
from paribus.store.objects import Objects, Place
from paribus.store.remote import Remote

FORMAT = "format.json"
OBJECTS = "objects"


@final
@dataclass(frozen=True)
class Format:
    """What a store says of itself.

    Attributes:
        version: How many steps its ledger has taken.
        objects: The address of its objects; ``None``: they are in its folder.
        mark: Says at that address whose they are.
    """

    version: int
    objects: str | None = None
    mark: str | None = None

    @classmethod
    def read(cls, path: Path) -> Format | None:
        """Read what the store in a folder says; ``None`` where there is none yet.

        Raises:
            StoreError: It cannot be read.
        """
        try:
            text = (path / FORMAT).read_text()
        except FileNotFoundError:
            return None
        except NotADirectoryError as error:
            raise _is_file(path) from error
        except OSError as error:
            raise StoreError(
                f"Store: {path} cannot be read: {error.strerror}; check its permissions"
            ) from error
        try:
            told = json.loads(text)
            return cls(int(told["version"]), told.get("objects"), told.get("mark"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"Store: {path / FORMAT} holds {text[:40]!r}; expected {cls(1).text!r}; restore that file"
            ) from error

    @property
    def text(self) -> str:
        """What is in the file."""
        place = {} if self.objects is None else {"objects": self.objects, "mark": self.mark}
        return json.dumps({"format": "paribus-store", "version": self.version} | place) + "\n"

    def place(self, path: Path) -> Place:
        """Say where the objects of the store in a folder are."""
        return Remote(self.objects, str(self.mark)) if self.objects else Folder(path / OBJECTS)


def objects_of(path: Path) -> Objects:
    """Find the objects of the store that is in a folder."""
    found = Format.read(path)
    assert found is not None
    return Objects(found.place(path))


def open_ledger(
    path: Path, steps: Sequence[schema.Step] = schema.STEPS, objects: str | None = None
) -> Ledger:
    """Open, make or migrate the store at an absolute path; return its ledger.

    Args:
        path: The store's folder.
        steps: What leads from each version to the next.
        objects: The address at which a new store is to have its objects, or that a store is to have.

    Raises:
        StoreError: The path is a file or another program's folder, cannot be made, is read-only and empty or
            of an older version, was written by a newer Paribus, or has its objects elsewhere.
    """
    found = Format.read(path)
    if found is None:
        wanted = Format(len(steps), objects, objects and secrets.token_hex(16))
        _make_folders(path, wanted)
    elif found.version > len(steps):
        raise _too_new(path, found.version, len(steps))
    elif objects not in (None, found.objects):
        raise StoreError(
            f"Store: {path} has its objects at {found.place(path)}, and objects={objects!r}; leave it out, "
            "or give another folder and carry the results there by `paribus export` and `import`"
        )
    elif not (path / NAME).exists():
        raise StoreError(f"Store: {path} has lost its {NAME}; restore it, or remove {FORMAT} to begin anew")
    else:
        wanted = replace(found, version=len(steps))
    writable = all(os.access(part, os.W_OK) for part in (path, path / OBJECTS, path / NAME) if part.exists())
    shared = is_network_filesystem(mounts_text(), path)
    if shared and writable:
        warnings.warn(
            f"Store: {path} lies on a network file system; it works with one machine at a time. "
            "For several, give each its own store and join them with `paribus export` and `import`.",
            stacklevel=3,
        )
    ledger = Ledger(path / NAME, writable=writable, shared=shared)
    if found != wanted:
        _migrate(path, ledger, steps, wanted)
    return ledger


def _make_folders(path: Path, wanted: Format) -> None:
    place = wanted.place(path)
    try:
        if isinstance(place, Remote):
            place.try_out()
        path.mkdir(parents=True, exist_ok=True)
        known = (OBJECTS, FORMAT, NAME, ".")
        strangers = [name for name in sorted(os.listdir(path)) if not name.startswith(known)]
        if strangers:
            raise StoreError(
                f"Store: {path} is no store, and holds {strangers[0]!r}; give store= a new or empty folder"
            )
        if isinstance(place, Folder):
            place.root.mkdir(exist_ok=True)
    except StoreError:
        raise
    except FileExistsError as error:
        raise _is_file(path) from error
    except OSError as error:
        raise StoreError(
            f"Store: {path} cannot be made: {error.strerror}; give store= a folder that you may write"
        ) from error


def _migrate(path: Path, ledger: Ledger, steps: Sequence[schema.Step], wanted: Format) -> None:
    # The ledger's version moves in one transaction with its steps, format.json after it: a crash
    # between the two is mended by the next opening, which finds no step left to take.
    with ledger.transaction() as connection:
        version = schema.migrate(connection, steps)
    if version > len(steps):
        raise _too_new(path, version, len(steps))
    try:
        with ledger.transaction():  # of several that make a store at once, one says where its objects are
            found = Format.read(path)
            if found is None or found.version < wanted.version:
                write_whole(path / FORMAT, wanted.text.encode())
    except OSError as error:
        raise StoreError(
            f"Store: {path / FORMAT} could not be written: {error.strerror}; free space, and open it again"
        ) from error


def _is_file(path: Path) -> StoreError:
    file = next((part for part in (path, *path.parents) if part.is_file()), path)
    return StoreError(f"Store: {file} is a file; expected a folder, such as 'runs'")


def _too_new(path: Path, version: int, newest: int) -> StoreError:
    return StoreError(
        f"Store: {path} has format {version}, and this Paribus knows formats up to {newest}; "
        "upgrade Paribus, or give store= another folder"
    )

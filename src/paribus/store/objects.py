"""Immutable objects, named by their content."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

import xxhash

from paribus.errors import CorruptObjectError, StoreError
from paribus.store.filesystem import write_whole
from paribus.store.record import is_digest

# Python 3.12 has collections.abc.Buffer; these are what 3.11 can name.
Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True)
class StoredFile:
    """A file below `objects/`: its path, bytes, and Unix seconds of the last put."""

    path: Path
    size: int
    modified: float

    @property
    def digest(self) -> str | None:
        """The object's digest; None for a temporary or a stranger's file."""
        name = self.path.name
        return name if is_digest(name) and self.path.parent.name == name[:2] else None

    @property
    def leftover(self) -> bool:
        """Whether this is a temporary: a put in progress, or one that was killed."""
        return self.path.name.startswith(".")


@final
class Objects:
    """The folder `objects/ab/<32 hex>`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path_of(self, digest: str) -> Path:
        """Name the file of a digest, whether or not it exists.

        Raises:
            StoreError: `digest` is not 32 lower-case hex digits.
        """
        if not is_digest(digest):
            raise StoreError(f"Store: {digest!r} is no digest; expected 32 lower-case hex digits")
        return self.root / digest[:2] / digest

    def put(self, payload: Buffer) -> str:
        """Write an object once; return its digest.

        Raises:
            StoreError: The disk is full or not writable; nothing is left behind.
        """
        view = memoryview(payload).cast("B")
        digest = xxhash.xxh3_128_hexdigest(view)
        path = self.path_of(digest)
        try:
            if not _refresh(path):
                path.parent.mkdir(exist_ok=True)
                write_whole(path, view)
        except OSError as error:
            raise StoreError(
                f"Store: {path} ({view.nbytes:,} bytes) could not be written: {error.strerror or error}; "
                "free space or make the store writable, and run again"
            ) from error
        return digest

    def get(self, digest: str) -> bytes:
        """Read an object and verify it.

        Raises:
            CorruptObjectError: It is missing, cannot be read, or its bytes were altered.
        """
        path = self.path_of(digest)
        try:
            payload = path.read_bytes()
        except OSError as error:
            raise CorruptObjectError(
                f"Store: object {path} cannot be read: {error.strerror or error}; compute it again"
            ) from error
        if xxhash.xxh3_128_hexdigest(payload) != digest:
            raise CorruptObjectError(f"Store: {path} was altered ({len(payload):,} bytes); compute it again")
        return payload

    def holds(self, digest: str) -> bool:
        """Tell whether the object's file exists, without reading it."""
        return self.path_of(digest).is_file()

    def remove(self, file: StoredFile, before: float) -> bool:
        """Delete a file that no put has touched since `before` (Unix seconds); tell whether it went."""
        try:
            if file.path.stat().st_mtime >= before:
                return False
            file.path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreError(
                f"Store: {file.path} cannot be removed: {error.strerror}; check its folder"
            ) from error
        return True

    def files(self) -> Iterator[StoredFile]:
        """Iterate over all files below the folder, leftovers of killed writers too."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                with suppress(FileNotFoundError):
                    status = path.stat()
                    yield StoredFile(path, status.st_size, status.st_mtime)


def _refresh(path: Path) -> bool:
    # An identical object is not written again, but made young, so that a gc at this moment leaves it.
    try:
        os.utime(path)
        return bool(xxhash.xxh3_128_hexdigest(path.read_bytes()) == path.name)
    except (FileNotFoundError, PermissionError):
        return False

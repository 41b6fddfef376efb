"""Immutable objects, named by their content."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import final

import xxhash

from paribus.errors import CorruptObjectError, StoreError
from paribus.store.record import is_digest

# Python 3.12 has collections.abc.Buffer; these are what 3.11 can name.
Buffer = bytes | bytearray | memoryview


@final
@dataclass(frozen=True)
class StoredFile:
    """A file among the objects: its name there, bytes, and Unix seconds of the last put."""

    name: str
    size: int
    modified: float

    @property
    def digest(self) -> str | None:
        """The object's digest; None for a temporary or a stranger's file."""
        digest = PurePosixPath(self.name).name
        return digest if is_digest(digest) and self.name == f"{digest[:2]}/{digest}" else None

    @property
    def leftover(self) -> bool:
        """Whether this is a temporary: a put in progress, or one that was killed."""
        return PurePosixPath(self.name).name.startswith(".")


class Place(ABC):
    """Where objects lie: files by name, such as ``"ab/abcd…"``. It travels to other processes.

    As text, it says where that is.
    """

    @abstractmethod
    def require(self) -> None:
        """See whether this process reaches the place, and may write where the ledger may be written.

        Raises:
            StoreError: It does not, or somebody else's objects are there.
        """

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Read a file.

        Raises:
            OSError: It is not there, or is damaged.
            StoreError: The place cannot be reached: nothing is known of the file.
        """

    @abstractmethod
    def write(self, name: str, payload: memoryview) -> None:
        """Write a file, whole or not at all, and make it young.

        Raises:
            OSError: It could not be written; nothing is left behind.
            StoreError: The place cannot be reached.
        """

    @abstractmethod
    def find(self, names: Sequence[str]) -> list[StoredFile]:
        """Return those of some files that are there."""

    @abstractmethod
    def remove(self, names: Sequence[str], before: float) -> list[str]:
        """Delete those of some files that nobody has written since `before` (Unix seconds); return them.

        Raises:
            OSError: One of them cannot be deleted.
        """

    @abstractmethod
    def files(self) -> Iterator[StoredFile]:
        """Iterate over all files, leftovers of killed writers too."""


@final
@dataclass(frozen=True)
class Objects:
    """Bytes under the digest of their content: `ab/<32 hex>`, wherever that is."""

    place: Place

    def put(self, payload: Buffer) -> str:
        """Write an object; return its digest.

        Raises:
            StoreError: The place is full or not writable; nothing is left behind.
        """
        view = memoryview(payload).cast("B")
        digest = xxhash.xxh3_128_hexdigest(view)
        try:
            self.place.write(name_of(digest), view)
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(
                f"Store: {self.place}/{name_of(digest)} ({view.nbytes:,} bytes) could not be written: "
                f"{error.strerror or error}; free space or make the store writable, and run again"
            ) from error
        return digest

    def get(self, digest: str) -> bytes:
        """Read an object and verify it.

        Raises:
            CorruptObjectError: It is missing, cannot be read, or its bytes were altered.
            StoreError: Its place cannot be reached.
        """
        name = name_of(digest)
        try:
            payload = self.place.read(name)
        except StoreError:
            raise
        except OSError as error:
            raise CorruptObjectError(
                f"Store: object {self.place}/{name} cannot be read: {error.strerror or error}; "
                "compute it again"
            ) from error
        if xxhash.xxh3_128_hexdigest(payload) != digest:
            raise CorruptObjectError(
                f"Store: {self.place}/{name} was altered ({len(payload):,} bytes); compute it again"
            )
        return payload

    def find(self, digests: Iterable[str]) -> list[StoredFile]:
        """Return the files of those objects that are there, without reading them."""
        return self.place.find([name_of(digest) for digest in digests])

    def holds(self, digest: str) -> bool:
        """Tell whether an object is there, without reading it."""
        return bool(self.find([digest]))

    def remove(self, files: Iterable[StoredFile], before: float) -> list[StoredFile]:
        """Delete those of some files that no put has touched since `before` (Unix seconds); return them.

        Raises:
            StoreError: One of them cannot be deleted.
        """
        known = {file.name: file for file in files}
        try:
            return [known[name] for name in self.place.remove(list(known), before)]
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(
                f"Store: a file of {self.place} cannot be removed: {error.strerror or error}; check its "
                "permissions"
            ) from error

    def files(self) -> Iterator[StoredFile]:
        """Iterate over all files, leftovers of killed writers too."""
        return self.place.files()


def name_of(digest: str) -> str:
    """Name the file of an object, whether or not it exists.

    Raises:
        StoreError: `digest` is not 32 lower-case hex digits.
    """
    if not is_digest(digest):
        raise StoreError(f"Store: {digest!r} is no digest; expected 32 lower-case hex digits")
    return f"{digest[:2]}/{digest}"

"""Objects in a folder of this machine, or of a file system that is mounted on it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

import xxhash

from paribus.store.filesystem import write_whole
from paribus.store.objects import Place, StoredFile


@final
@dataclass(frozen=True)
class Folder(Place):
    """Files below a folder. Whether it can be written is known with the ledger beside it."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def require(self) -> None:
        """Find nothing to see."""

    def read(self, name: str) -> bytes:
        """Read a file."""
        return Path(self.root, name).read_bytes()

    def write(self, name: str, payload: memoryview) -> None:
        """Write a file by a temporary that is renamed; one that is there, and sound, is made young."""
        path = Path(self.root, name)
        if _refresh(path):
            return
        try:
            write_whole(path, payload)
        except FileNotFoundError:  # of 256 folders most are there
            path.parent.mkdir(exist_ok=True)
            write_whole(path, payload)

    def find(self, names: Sequence[str]) -> list[StoredFile]:
        """Return those of some files that are there."""
        found = []
        for name in names:
            with suppress(FileNotFoundError, NotADirectoryError):
                found.append(self._stored(name))
        return found

    def remove(self, names: Sequence[str], before: float) -> list[str]:
        """Delete those of some files that are old."""
        gone = []
        for name in names:
            with suppress(FileNotFoundError):
                if self._stored(name).modified < before:
                    Path(self.root, name).unlink()
                    gone.append(name)
        return gone

    def files(self) -> Iterator[StoredFile]:
        """Iterate over all files."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                with suppress(FileNotFoundError):
                    yield self._stored(Path(folder, name).relative_to(self.root).as_posix())

    def _stored(self, name: str) -> StoredFile:
        status = os.stat(os.path.join(self.root, name))
        return StoredFile(name, status.st_size, status.st_mtime)


def _refresh(path: Path) -> bool:
    # An identical object is not written again, but made young, so that a gc at this moment leaves it.
    try:
        os.utime(path)
        return bool(xxhash.xxh3_128_hexdigest(path.read_bytes()) == path.name)
    except (FileNotFoundError, PermissionError):
        return False

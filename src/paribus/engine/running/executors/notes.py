"""How workers tell how far they are: a small file each, overwritten in place, read when the driver looks."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_NOTE = struct.Struct("<32sqd")
_ENDING = ".note"


def write_note(folder: Path, key: str, step: int, loss: float) -> None:
    """Note how far this process is with a task; where it cannot be written, nobody knows, and no more."""
    with suppress(OSError):
        (folder / f"{os.getpid()}{_ENDING}").write_bytes(_NOTE.pack(key.encode(), step, loss))


def read_notes(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Yield task, step and loss of each process; a note that is just being written is left out."""
    for path in folder.glob(f"*{_ENDING}"):
        note = path.read_bytes()
        if len(note) == _NOTE.size:
            key, step, loss = _NOTE.unpack(note)
            yield key.decode(), step, loss

"""Files by their content: a place is no identity, and neither is a date."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xxhash import xxh3_128

from paribus.identity.grammar import mapping, reference, sequence, string, unordered
from paribus.identity.graph import Form, leaf
from paribus.identity.objects import NoIdentityError

if TYPE_CHECKING:
    from paribus.identity.walk import Walk

_PIECE = 2**22
_TICK = 2_000_000_000  # ns; within it a second change may leave the times of the first
_State = tuple[int, int, int, int, int]
_known: dict[str, tuple[_State, bytes]] = {}


@dataclass(frozen=True, slots=True)
class File:
    """A file, or a folder with all that it holds, that counts by content and not by place.

    >>> File("data/train.csv").path
    'data/train.csv'
    """

    path: str | Path


def file_form(walk: Walk, file: File) -> Form:
    """Describe a file by its content, a folder by the names and contents of its files."""
    return leaf("file", ("content", content(file, os.fspath(file.path))))


def content(value: object, path: str) -> bytes:
    """Write the content of a file or a folder.

    Raises:
        NoIdentityError: there is nothing at the path.
    """
    if os.path.isdir(path):
        inside = sorted(
            str(item.relative_to(path).as_posix()) for item in Path(path).rglob("*") if item.is_file()
        )
        return mapping((string(name), _digest(os.path.join(path, name))) for name in inside)
    try:
        return _digest(path)
    except OSError as error:
        raise NoIdentityError(value, f"{path!r} cannot be read ({error.strerror})") from error


def _digest(path: str) -> bytes:
    """Hash a file, from memory where nothing of its state moved; the time of change cannot be set back."""
    path = os.path.abspath(path)
    told = os.stat(path)
    state = told.st_size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino, told.st_dev
    known = _known.get(path)
    settled = time.time_ns() - max(told.st_mtime_ns, told.st_ctime_ns) > _TICK
    if known is not None and known[0] == state:
        return known[1]
    hasher = xxh3_128()
    with open(path, "rb", buffering=0) as stream:
        buffer = memoryview(bytearray(_PIECE))
        while length := stream.readinto(buffer):
            hasher.update(buffer[:length])
    form = reference(hasher.digest())
    if settled:
        _known[path] = state, form
    return form


def path_form(walk: Walk, value: object) -> bytes | None:
    """Describe what a dataset holds by the files that it names, each with its name from their common root.

    None where it names no file.
    """
    paths = list(_paths(value))
    if not paths:
        return None
    root = os.path.dirname(paths[0]) if len(set(paths)) == 1 else os.path.commonpath(paths)
    return leaf("files", ("items", _with_files(walk, value, root)))


def _paths(value: object) -> Iterator[str]:
    if isinstance(value, str | Path):
        if _exists(value):
            yield os.path.abspath(value)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _paths(item)
    elif isinstance(value, dict):
        for item in (*value.keys(), *value.values()):
            yield from _paths(item)


def names_a_file(value: object) -> bool:
    """Say whether this is a path to something, or a tuple that begins with one."""
    return next(_paths(value), None) is not None


def _exists(value: str | Path) -> bool:
    """Say whether this names a file; a word without a separator is a word."""
    if isinstance(value, Path):
        return value.exists()
    return os.sep in value and len(value) < 4096 and "\0" not in value and os.path.exists(value)


def _with_files(walk: Walk, value: object, root: str) -> bytes:
    if isinstance(value, str | Path) and _exists(value):
        path = os.path.abspath(value)
        name = Path(os.path.relpath(path, root)).as_posix()
        return leaf("file", ("name", string(name)), ("content", content(value, path)))
    if isinstance(value, list | tuple):
        return sequence(
            b"l" if isinstance(value, list) else b"t", [_with_files(walk, item, root) for item in value]
        )
    if isinstance(value, dict):
        return mapping(
            (_with_files(walk, key, root), _with_files(walk, item, root)) for key, item in value.items()
        )
    if isinstance(value, set | frozenset):
        return unordered(b"S", [_with_files(walk, item, root) for item in value])
    return walk.key(value)

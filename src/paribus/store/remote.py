"""Objects at an address: on any file system that fsspec knows, such as a bucket that all machines reach."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, final

from paribus.errors import StoreError
from paribus.store.objects import Place, StoredFile

_Found = TypeVar("_Found")

_MARK = "format.json"
_OBJECTS = "objects"
# Where a put is whole or not at all, and folders need not be made; elsewhere a temporary is renamed.
_ATOMIC = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "tos", "memory"})
# What file systems call the time of the last write; of those that have none, nothing is ever old.
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")
# Requests that wait for the network at the same time.
_REQUESTS = 16
# A `Path` has made one slash of two. A single letter is a drive.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]+):/+(?=[^/]|$)")


def address_of(path: Path | str) -> str | None:
    """Return the address that is written where a path may be; None for a path.

    >>> address_of(Path("s3://bucket/runs")), address_of("runs")
    ('s3://bucket/runs', None)
    """
    found = _ADDRESS.match(str(path))
    if found is None:
        return None
    slashes = ":///" if found[1] in ("file", "local") else "://"
    return f"{found[1]}{slashes}{str(path)[found.end() :].rstrip('/')}"


def folder_of(address: str) -> Path:
    """Name the folder, in the working directory, for the ledger of a store that is known by its address.

    >>> folder_of("s3://bucket/runs").name
    '.paribus-s3-bucket-runs'
    """
    return Path(f".paribus-{re.sub(r'[^A-Za-z0-9._]+', '-', address)}")


@final
@dataclass(frozen=True)
class Remote(Place):
    """Files below an address.

    A file says whose objects are there: two ledgers would take each other's for garbage.

    Attributes:
        address: Such as ``"s3://bucket/runs"``; the objects are below it, in ``objects/``.
        mark: What only this store's ledger has.
    """

    address: str
    mark: str

    def __str__(self) -> str:
        return f"{self.address}/{_OBJECTS}"

    def __reduce__(self) -> tuple[object, ...]:
        return _joined, (self.address, self.mark)

    def try_out(self) -> None:
        """See, before there is a ledger, whether objects can be put here, and are nobody's.

        Raises:
            StoreError: They cannot, or are somebody's.
        """
        with self._reached("used") as (system, root):
            self._check_ours(system, root)
            name = f"{_OBJECTS}/.{secrets.token_hex(8)}"
            _put(system, f"{root}/{name}", b"")
            system.rm_file(f"{root}/{name}")

    def require(self) -> None:
        """Write whose objects are here: where there are none, they will be ours."""
        with self._reached("used") as (system, root):
            self._check_ours(system, root)
            _put(system, f"{root}/{_MARK}", json.dumps({"format": "paribus-objects", "store": self.mark}))

    def join(self) -> None:
        """See whether this process, to which the place has travelled, finds the same.

        Raises:
            StoreError: It does not.
        """
        with self._reached("used") as (system, root):
            if self._marked(system, root) != self.mark:
                raise StoreError(
                    f"Store: {self.address} is not the same here as where the experiment is: its objects are "
                    "not there; give objects= an address that all machines and processes reach"
                )

    def read(self, name: str) -> bytes:
        """Read a file."""
        with self._reached("read") as (system, root):
            return bytes(system.cat_file(f"{root}/{_OBJECTS}/{name}"))

    def write(self, name: str, payload: memoryview) -> None:
        """Write a file, whether or not it is there: what is written anew is young."""
        with self._reached("written") as (system, root):
            _put(system, f"{root}/{_OBJECTS}/{name}", bytes(payload))

    def find(self, names: Sequence[str]) -> list[StoredFile]:
        """Return those of some files that are there."""
        with self._reached("read") as (system, root):
            return [f for f in _each(system, lambda name: _find(system, root, name), names) if f is not None]

    def remove(self, names: Sequence[str], before: float) -> list[str]:
        """Delete those of some files that are old."""
        with self._reached("written") as (system, root):

            def removed(name: str) -> bool:
                file = _find(system, root, name)
                if file is None or file.modified >= before:
                    return False
                with suppress(FileNotFoundError):  # somebody was quicker
                    system.rm_file(f"{root}/{_OBJECTS}/{name}")
                    return True
                return False

            return [n for n, gone in zip(names, _each(system, removed, names), strict=True) if gone]

    def files(self) -> Iterator[StoredFile]:
        """Iterate over all files."""
        with self._reached("listed") as (system, root):
            system.invalidate_cache()
            top = f"{root}/{_OBJECTS}/"
            try:
                found: Mapping[str, Any] = system.find(top, detail=True)
            except FileNotFoundError:  # nothing was ever put
                return
            for path, told in found.items():
                yield StoredFile(path[len(top) :], told["size"], _modified(system, path, told))

    @contextmanager
    def _reached(self, done: str) -> Iterator[tuple[Any, str]]:
        """Give the file system, and the address as it has it; let its errors say what could not be done."""
        try:
            from fsspec.core import url_to_fs

            if "::" in self.address:
                raise StoreError(f"Store: {self.address} is several addresses; expected one")
            # fsspec keeps one for each process: connections do not outlive forks.
            system, root = url_to_fs(self.address)
            yield system, root.rstrip("/")
        except StoreError:
            raise
        except Exception as error:  # each file system has classes of its own
            if isinstance(error, FileNotFoundError) and done == "read":
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(error)) from error
            why = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise StoreError(
                f"Store: {self.address} could not be {done}: {why}; see whether it is an address that fsspec "
                "knows, such as 's3://bucket/runs', and you may read and write there"
            ) from error

    def _marked(self, system: Any, root: str) -> object:
        """Read whose objects are here; ``None``: nobody's."""
        system.invalidate_cache()
        try:
            text = system.cat_file(f"{root}/{_MARK}")
        except FileNotFoundError:
            return None
        try:
            return json.loads(text)["store"]
        except (ValueError, KeyError, TypeError):
            return text

    def _check_ours(self, system: Any, root: str) -> None:
        marked = self._marked(system, root)
        if marked != self.mark and (marked is not None or next(self.files(), None) is not None):
            raise StoreError(
                f"Store: at {self.address} are the objects of another store; give objects= an address of its "
                "own, and join the two with `paribus export` and `import`"
            )


def _joined(address: str, mark: str) -> Remote:
    place = Remote(address, mark)
    place.join()
    return place


def _put(system: Any, path: str, payload: bytes | str) -> None:
    """Write a file, whole or not at all."""
    payload = payload.encode() if isinstance(payload, str) else payload
    protocols = {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
    if protocols <= _ATOMIC:
        system.pipe_file(path, payload)
        return
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name.lstrip('.')}.{secrets.token_hex(4)}"
    try:
        system.makedirs(folder, exist_ok=True)
        system.pipe_file(temporary, payload)
        system.mv(temporary, path)
    except BaseException:
        with suppress(Exception):
            system.rm_file(temporary)
        raise


def _find(system: Any, root: str, name: str) -> StoredFile | None:
    path = f"{root}/{_OBJECTS}/{name}"
    system.invalidate_cache()  # others write, too
    try:
        told = system.info(path)
    except FileNotFoundError:
        return None
    return StoredFile(name, told["size"], _modified(system, path, told)) if told["type"] == "file" else None


def _modified(system: Any, path: str, told: Mapping[str, Any]) -> float:
    """Return when a file was written, in Unix seconds."""
    when = next((told[name] for name in _TIMES if told.get(name)), None)
    try:
        when = system.modified(path) if when is None else when
    except NotImplementedError:
        return math.inf
    when = datetime.fromisoformat(when) if isinstance(when, str) else when
    return when.timestamp() if isinstance(when, datetime) else float(when)


def _each(system: Any, ask: Callable[[str], _Found], names: Sequence[str]) -> list[_Found]:
    """Ask for each name; for several at a time where that waits for the network."""
    if len(names) == 1 or not system.async_impl:
        return [ask(name) for name in names]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_REQUESTS, thread_name_prefix="paribus-objects") as threads:
        return list(threads.map(ask, names))

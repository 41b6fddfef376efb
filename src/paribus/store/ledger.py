"""The embedded database: connections, transactions, and their errors."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from paribus.errors import StoreError

BUSY_SECONDS = 60.0
NAME = "ledger.sqlite"

_MENDS = {
    "SQLITE_FULL": "free disk space and run again; what was committed is kept",
    "SQLITE_IOERR": "see whether the disk is full, failing or over its quota; what was committed is kept",
    "SQLITE_BUSY": f"another process held it for over {BUSY_SECONDS:.0f} s; end that process and run again",
    "SQLITE_NOTADB": "the file is no ledger; move the store away, or import an export of it",
    "SQLITE_CORRUPT": "the file is damaged; move the store away, or import an export of it",
    "SQLITE_CANTOPEN": "if it lies in a read-only folder, copy the store to a writable one and open the copy",
    "SQLITE_READONLY": "make the store writable, or copy it",
}


@final
class Ledger:
    """One SQLite file; a connection for each process and thread that uses it.

    In WAL mode a commit is safe against a killed process at once, and against a power cut after the next
    checkpoint (`synchronous=NORMAL`): a power cut may undo the last rows, which are computed again, and
    never leaves a half row. With `shared=True` (a network file system) it is a rollback journal, synced
    at each commit, for WAL's shared memory does not cross machines.
    """

    def __init__(self, path: Path, *, writable: bool, shared: bool) -> None:
        self.path = path
        self.writable = writable
        self._shared = shared
        # A forked child finds its parent's connections here and neither uses nor closes them;
        # a thread's number is given again after its end, and its connection with it.
        self._connections: dict[tuple[int, int], sqlite3.Connection] = {}

    def read(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one query; return its rows.

        Raises:
            StoreError: The ledger cannot be read.
        """
        try:
            connection = self._connection()
            try:
                return connection.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                if "decode" not in str(error):
                    raise
                # A flipped bit in a text: read it all the same, for its record's checksum finds it.
                connection.text_factory = _decode
                return connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._failure("read", error) from error

    def read_in(self, sql: str, keys: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        """Run a query that ends in `IN` over many keys; iterate over its rows."""
        # In order, so that neighbours in the index are read together.
        ordered = sorted(keys)
        for start in range(0, len(ordered), 500):
            part = ordered[start : start + 500]
            yield from self.read(f"{sql} ({','.join('?' * len(part))})", part)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the one write lock; commit at the end, or undo all on an exception.

        Raises:
            StoreError: The store is read-only, its disk full, or another process holds the lock too long.
        """
        self.require_writable()
        try:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # SQLite itself has rolled back after a full disk.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._failure("written", error) from error

    def write(self, sql: str, values: Sequence[object] = ()) -> int:
        """Run one statement in its own transaction; return the number of rows that it changed."""
        with self.transaction() as connection:
            return connection.execute(sql, values).rowcount

    def sync(self) -> None:
        """Make all commits so far safe against a power cut."""
        self.read("PRAGMA wal_checkpoint")

    def compact(self) -> None:
        """Give the space of removed rows back to the disk."""
        self.require_writable()
        try:
            self._connection().execute("VACUUM")
            self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise self._failure("compacted", error) from error

    def require_writable(self) -> None:
        """Raise StoreError when the store is read-only."""
        if not self.writable:
            raise StoreError(
                f"Store: {self.path.parent} is read-only; make it writable, or give store= a copy of it"
            )

    def close(self) -> None:
        """Close this process's connections."""
        for process, thread in list(self._connections):
            if process == os.getpid():
                self._connections.pop((process, thread)).close()

    def __reduce__(self) -> tuple[object, ...]:
        return _closed, (self.path, self.writable, self._shared)

    def __del__(self) -> None:
        # Python 3.13 warns of a connection that is collected open.
        self.close()

    def _connection(self) -> sqlite3.Connection:
        here = (os.getpid(), threading.get_ident())
        connection = self._connections.get(here)
        if connection is None:
            connection = self._connections[here] = self._connect()
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._address(), uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA cache_size = -65536")
            # A stranger's ledger may hold triggers and views.
            connection.execute("PRAGMA trusted_schema = OFF")
            if self.writable:
                _set_journal(connection, "delete" if self._shared else "wal")
                connection.execute(f"PRAGMA synchronous = {'FULL' if self._shared else 'NORMAL'}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _address(self) -> str:
        if self.writable:
            return f"{self.path.as_uri()}?mode=rwc"
        # Without a log there is nobody writing, and SQLite could not make the log's shared memory here.
        log = self.path.with_name(self.path.name + "-wal")
        quiet = not log.exists() or log.stat().st_size == 0
        return f"{self.path.as_uri()}?mode=ro{'&immutable=1' if quiet else ''}"

    def _failure(self, done: str, error: sqlite3.Error) -> StoreError:
        name = getattr(error, "sqlite_errorname", "")
        mend = next((mend for code, mend in _MENDS.items() if name.startswith(code)), "run `paribus verify`")
        return StoreError(f"Store: {self.path} could not be {done}: {error}; {mend}")


def _closed(path: Path, writable: bool, shared: bool) -> Ledger:
    return Ledger(path, writable=writable, shared=shared)


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _set_journal(connection: sqlite3.Connection, mode: str) -> None:
    # SQLite does not wait here by itself, although several processes may open a new store at once.
    deadline = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != mode:
        try:
            connection.execute(f"PRAGMA journal_mode = {mode}")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)

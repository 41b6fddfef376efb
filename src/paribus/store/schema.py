"""The ledger's tables, and the steps that lead from each version to the next."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from paribus.store.migration import add_bundles, lists_to_columns

Step = Callable[[sqlite3.Connection], object]


def create_tables(connection: sqlite3.Connection) -> None:
    """Version 0 (nothing) to 1."""
    for statement in _TABLES:
        connection.execute(statement)


# STEPS[n] leads from version n to n + 1; a store's newest version is their number. Append, never edit.
STEPS: tuple[Step, ...] = (create_tables, lists_to_columns, add_bundles)

# `status_of` covers statuses(): a plan over 100,000 keys reads no manifest page.
_TABLES = (
    """
    CREATE TABLE records (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        family TEXT NOT NULL,
        status TEXT NOT NULL,
        created REAL NOT NULL,
        used REAL NOT NULL,
        checksum TEXT NOT NULL,
        refs TEXT NOT NULL,
        environment TEXT NOT NULL,
        manifest TEXT NOT NULL,
        body TEXT NOT NULL
    )
    """,
    "CREATE INDEX status_of ON records (key, status)",
    "CREATE INDEX family_of ON records (family)",
    """
    CREATE TABLE claims (
        key TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        beat REAL NOT NULL,
        lease REAL NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE TABLE pins (key TEXT PRIMARY KEY) WITHOUT ROWID",
)


def version_of(connection: sqlite3.Connection) -> int:
    """Read how many steps this ledger has taken."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, steps: Sequence[Step] = STEPS) -> int:
    """Take the steps that the ledger lacks, all or none; return its version then.

    The connection must be inside an immediate transaction: of several processes that open an old
    store at once, one takes the steps, and the others find them taken.
    """
    version = version_of(connection)
    for step in steps[version:]:
        step(connection)
    newest = max(version, len(steps))
    connection.execute(f"PRAGMA user_version = {newest}")
    return newest

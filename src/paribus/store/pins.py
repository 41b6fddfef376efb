"""Pins: keys that gc never takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from paribus.store.ledger import Ledger


@final
class Pins:
    """A set of keys; a pinned key need not have a record yet."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def add(self, keys: Iterable[str]) -> None:
        """Pin keys."""
        self._each("INSERT OR IGNORE INTO pins (key) VALUES (?)", keys)

    def remove(self, keys: Iterable[str]) -> None:
        """Unpin keys; those that are not pinned are passed over."""
        self._each("DELETE FROM pins WHERE key = ?", keys)

    def all(self) -> frozenset[str]:
        """Read the pinned keys."""
        return frozenset(key for (key,) in self._ledger.read("SELECT key FROM pins"))

    def _each(self, sql: str, keys: Iterable[str]) -> None:
        with self._ledger.transaction() as connection:
            connection.executemany(sql, ((key,) for key in keys))

"""Claims: who computes which key now."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import final

from paribus.store.ledger import Ledger

_ACQUIRE = """
    INSERT INTO claims (key, owner, beat, lease) VALUES (?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, beat = excluded.beat, lease = excluded.lease
    WHERE owner = excluded.owner OR abs(excluded.beat - beat) >= lease
"""
_RELEASE = "DELETE FROM claims WHERE key = ? AND owner = ?"


@final
class Claims:
    """Leases on keys, kept alive by a heartbeat.

    A claim is live while its last heartbeat lies less than a lease away from now, *on either side*: a clock
    that is set back makes heartbeats of the future, and without the second side a dead owner's claim would
    bar others for as long. A claim saves work and guards no result: two owners of one key (a clock moved by
    more than a lease, a process stopped for longer) commit equal records.

    An owner is any text that no other process has, such as host, process number and a random part. `now` is
    in Unix seconds, and the system's clock when omitted.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def acquire(self, key: str, owner: str, lease_seconds: float, now: float | None = None) -> bool:
        """Claim a key that is free, dead or the owner's own; tell whether the owner has it."""
        return key in self.acquire_all([key], owner, lease_seconds, now)

    def acquire_all(
        self, keys: Iterable[str], owner: str, lease_seconds: float, now: float | None = None
    ) -> set[str]:
        """Claim keys in one transaction; return those that the owner has then."""
        beat = _clock(now)
        with self._ledger.transaction() as connection:
            return {
                key
                for key in keys
                if connection.execute(_ACQUIRE, (key, owner, beat, lease_seconds)).rowcount == 1
            }

    def renew(self, key: str, owner: str, lease_seconds: float, now: float | None = None) -> bool:
        """Give a heartbeat; False when the claim was stolen or released meanwhile."""
        sql = "UPDATE claims SET beat = ?, lease = ? WHERE key = ? AND owner = ?"
        return self._ledger.write(sql, (_clock(now), lease_seconds, key, owner)) == 1

    def release(self, key: str, owner: str) -> bool:
        """Give a claim back; False when it was not the owner's any more."""
        return self._ledger.write(_RELEASE, (key, owner)) == 1

    def release_all(self, keys: Iterable[str], owner: str) -> None:
        """Give claims back in one transaction."""
        with self._ledger.transaction() as connection:
            connection.executemany(_RELEASE, [(key, owner) for key in keys])

    def live(self, now: float | None = None) -> dict[str, str]:
        """Read the live claims: key to owner."""
        return dict(
            self._ledger.read("SELECT key, owner FROM claims WHERE abs(? - beat) < lease", (_clock(now),))
        )


def _clock(now: float | None) -> float:
    return time.time() if now is None else now

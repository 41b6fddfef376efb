"""One driver's claims on segments, so that drivers that share a store train each segment once."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import final

from paribus.errors import StoreError
from paribus.store import Store

POLL_SECONDS = 0.2
_LEASE_SECONDS = 30.0
# The owners in this process that are at work; a restarted container has its old one's process number.
_at_work: set[str] = set()


@final
class Claimant:
    """Claims keys for this process and keeps the claims alive with a heartbeat while the block runs."""

    def __init__(self, store: Store, lease: float = _LEASE_SECONDS) -> None:
        self._claims = store.claims
        self._lease = lease
        self._owner = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(4)}"
        self._held: set[str] = set()
        self._contested: set[str] = set()
        self._stopped = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="paribus-heartbeat", daemon=True)

    def __enter__(self) -> Claimant:
        _at_work.add(self._owner)
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        _at_work.discard(self._owner)
        self._heart.join()
        # Where the store cannot be written, the error that ended the run is the one to tell.
        with suppress(StoreError):
            self.give_all_back(list(self._held))

    def take(self, key: str) -> bool:
        """Claim a key; tell whether it is this driver's. The claims of dead processes are taken over."""
        return key in self.take_all([key])

    def take_all(self, keys: Iterable[str]) -> set[str]:
        """Claim keys, all at once; return those that are this driver's."""
        wanted = set(keys)
        taken = self._acquire(wanted)
        if refused := wanted - taken:
            self._contested |= refused
            owners = self._claims.live()
            dead = {key for key in refused if key in owners and _is_dead(owners[key])}
            for key in dead:
                self._claims.release(key, owners[key])
            taken |= self._acquire(dead)
        self._held |= taken
        return taken

    def contested(self, key: str) -> bool:
        """Tell whether somebody else had a claim on a key, and may have left progress behind."""
        return key in self._contested

    def give_back(self, key: str) -> None:
        """Give a claim back."""
        self.give_all_back([key])

    def give_all_back(self, keys: Iterable[str]) -> None:
        """Give back those of some keys that this driver has."""
        held = self._held.intersection(keys)
        self._held -= held
        if held:
            self._claims.release_all(held, self._owner)

    def _acquire(self, keys: set[str]) -> set[str]:
        return self._claims.acquire_all(keys, self._owner, self._lease) if keys else set()

    def _beat(self) -> None:
        while not self._stopped.wait(self._lease / 3):
            # A claim saves work and guards no result: without it, two may train the same.
            with suppress(StoreError):
                for key in list(self._held):
                    self._claims.renew(key, self._owner, self._lease)


def _is_dead(owner: str) -> bool:
    """Tell whether an owner was a process of this host that has ended, or in this one, and is done."""
    host, process, _ = owner.rsplit(" ", 2)
    if host != socket.gethostname():
        return False
    if int(process) == os.getpid():
        return owner not in _at_work
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _is_zombie(int(process))


def _is_zombie(process: int) -> bool:
    """Tell whether a process has ended and its parent has not asked for its status; known on Linux only."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(errors="replace")
    except OSError:
        return False
    # The name before the state is in parentheses, and may hold some.
    return status.rpartition(")")[2].split()[0] in ("Z", "X")

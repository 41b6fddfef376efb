"""The records of a store in the order of their creation: found by index or key, and joined into paths."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

from paribus.commands.units import counted
from paribus.engine.learners.keys import trunk_of
from paribus.errors import StoreError
from paribus.store import Record, Store

_SHOWN = 8
_NAMED = 5


@final
@dataclass(frozen=True)
class Entry:
    """A record in the catalogue.

    Attributes:
        index: Its place in the order of creation.
        record: The record.
        document: Its manifest, parsed.
        state_bytes: Size of its final state; ``None`` where there is none.
    """

    index: int
    record: Record
    document: Any
    state_bytes: int | None

    @property
    def key(self) -> str:
        """The record's key."""
        return self.record.key

    @property
    def body(self) -> Any:
        """The record's results."""
        return self.record.body

    @property
    def steps(self) -> int:
        """Steps that were trained for this record alone."""
        return int(self.body["step"] - self.body["start"])


@final
@dataclass(frozen=True)
class Sharing:
    """What sharing pasts saved.

    Attributes:
        ends: States from which nothing stored goes on.
        trained: Steps of all stored segments, each counted once.
        alone: The same steps, each counted once for every end that has it in its past.
    """

    ends: int
    trained: int
    alone: int


@final
@dataclass(frozen=True)
class Catalogue:
    """All segments of a store; values of two learners are none.

    Attributes:
        entries: By age, the oldest first.
    """

    entries: tuple[Entry, ...]

    @classmethod
    def read(cls, store: Store) -> Catalogue:
        """Read every record of a segment.

        Raises:
            StoreError: The store cannot be read.
        """
        segments = (record for record in store.scan() if record.kind == "segment")
        records = sorted(segments, key=lambda record: (record.created, record.key))
        return cls(
            tuple(
                Entry(index, record, json.loads(record.manifest), _state_bytes(store, record))
                for index, record in enumerate(records)
            )
        )

    def find(self, name: str) -> Entry:
        """Return the record that an index or the beginning of a key names.

        Raises:
            StoreError: No record has that name, or several have it.
        """
        if name.isdecimal() and int(name) < len(self.entries):
            return self.entries[int(name)]
        found = [entry for entry in self.entries if entry.key.startswith(name.lower())] if name else []
        if len(found) == 1:
            return found[0]
        if found:
            raise StoreError(f"{name!r} begins {len(found)} keys ({_listed(found)}); give more digits")
        count = counted(len(self.entries), "record")
        near = self._near(name)
        mend = f"near it are {_listed(near)}" if near else "`paribus ls` lists them"
        raise StoreError(f"{name!r} is neither an index nor the beginning of a key of the {count}; {mend}")

    def path(self, entry: Entry) -> list[Entry]:
        """Return the stored segments of an entry's past and itself, the first step first."""
        path = [entry]
        while (parent := self._parents[path[-1].key]) is not None:
            path.append(self._by_key[parent])
        return path[::-1]

    def is_end(self, entry: Entry) -> bool:
        """Tell whether no stored state goes on from this one."""
        return entry.key not in self._trunks

    def sharing(self) -> Sharing:
        """Count the steps that are stored, and what they would be if every end had been trained alone."""
        reached = [entry for entry in self.entries if entry.record.status != "failed"]
        ends = [entry for entry in reached if self.is_end(entry)]
        uses = Counter(segment.key for end in ends for segment in self.path(end))
        return Sharing(
            ends=len(ends),
            trained=sum(entry.steps for entry in reached),
            alone=sum(entry.steps * uses[entry.key] for entry in reached),
        )

    @cached_property
    def _by_key(self) -> dict[str, Entry]:
        return {entry.key: entry for entry in self.entries}

    @cached_property
    def _parents(self) -> dict[str, str | None]:
        return {entry.key: self._parent(entry) for entry in self.entries}

    @cached_property
    def _trunks(self) -> frozenset[str]:
        reached = (entry for entry in self.entries if entry.record.status != "failed")
        return frozenset(parent for e in reached if (parent := self._parents[e.key]) is not None)

    def _parent(self, entry: Entry) -> str | None:
        trunk = self._by_key.get(trunk_of(entry.record) or "")
        return None if trunk is None or trunk.record.status == "failed" else trunk.key

    def _near(self, name: str) -> list[Entry]:
        alike = [entry for entry in self.entries if _common(entry.key, name) > len(name) // 2]
        return sorted(alike, key=lambda entry: (-_common(entry.key, name), entry.index))


def _common(key: str, name: str) -> int:
    """Count the digits that two keys share, by place."""
    return sum(a == b for a, b in zip(key, name.lower(), strict=False))


def _state_bytes(store: Store, record: Record) -> int | None:
    digest = record.references.get("state")
    return None if digest is None else store.sizes([digest]).get(digest)


def _listed(entries: list[Entry]) -> str:
    names = [entry.key[:_SHOWN] for entry in entries[:_NAMED]]
    return ", ".join(names) + (", …" if len(entries) > _NAMED else "")

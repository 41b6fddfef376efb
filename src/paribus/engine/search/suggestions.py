"""The ledger of suggestions: what a sampler suggested after it was told certain results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import xxhash

from paribus.store import Record, Store

_TAG = b"paribus-suggestion-1"


@final
@dataclass(frozen=True)
class Asked:
    """A trial was asked for, and this was suggested, as `Study.encoded` writes it."""

    suggestion: Any


@final
@dataclass(frozen=True)
class Told:
    """A result was told.

    Attributes:
        number: Of the trial.
        status: ``"done"``, ``"pruned"``, ``"diverged"`` or ``"failed"``.
        values: One for each metric, where it is done.
        course: Steps and values of the metric before it was pruned.
    """

    number: int
    status: str
    values: tuple[float, ...] = ()
    course: tuple[tuple[int, float], ...] = ()


Event = Asked | Told


@final
class Suggestions:
    """Suggestions by what was asked and told before them.

    Args:
        store: Where they are kept.
        identity: Of sampler, seed, directions, lag and spaces.
        words: The same for people.
    """

    def __init__(self, store: Store, identity: bytes, words: str) -> None:
        self._store = store
        self._identity = identity
        self._words = words
        self._family = xxhash.xxh3_128_hexdigest(_TAG + identity)
        self._found: dict[str, Any] = {}
        self.reload()

    def reload(self) -> None:
        """Read what the store holds of this study, in one query."""
        records = self._store.relatives([self._family])
        self._found = {key: record.body for key, record in records.items() if self._is_own(record)}

    @property
    def kept(self) -> list[str]:
        """The keys of the suggestions that are there."""
        return list(self._found)

    def start(self) -> Past:
        """Return the past in which nothing was asked."""
        return Past(self._identity)

    def get(self, key: str) -> Any:
        """Return the suggestion under a key; ``None`` where there is none."""
        return self._found.get(key)

    def put(self, key: str, number: int, suggestion: Any) -> None:
        """Keep a suggestion.

        Raises:
            StoreError: The store cannot be written.
        """
        manifest = json.dumps({"search": self._words, "trial": number}, sort_keys=True)
        self._store.commit(
            Record(key, "suggestion", "done", manifest, suggestion, {}, None, family=self._family)
        )
        self._found[key] = suggestion

    def _is_own(self, record: Record) -> bool:
        return record.kind == "suggestion" and json.loads(record.manifest)["search"] == self._words


@final
class Past:
    """All that a study asked and told, in order, and the key of what it would be suggested next."""

    def __init__(self, identity: bytes) -> None:
        self.events: list[Event] = []
        self._hash = xxhash.xxh3_128(_TAG + identity)

    @property
    def key(self) -> str:
        """Key of the next suggestion (32 hex digits): the search, and everything before."""
        return self._hash.hexdigest()

    def append(self, event: Event) -> None:
        """Go on."""
        self.events.append(event)
        self._hash.update(_written(event))


def _written(event: Event) -> bytes:
    parts: Sequence[Any]
    match event:
        case Asked(suggestion):
            parts = ("asked", suggestion)
        case Told(number, status, values, course):
            parts = ("told", number, status, values, course)
    return json.dumps(parts, sort_keys=True).encode()

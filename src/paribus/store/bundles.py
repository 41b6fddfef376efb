"""Bundles: copies of many records in one object, which is read at once where rows are read one by one.

A row that is written later is in no bundle; a bundle that is lost or damaged costs the reading of its rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from itertools import accumulate, pairwise, repeat
from typing import Any, final

from paribus.store.columns import NUMBER_BYTES, Columns, read_layout
from paribus.store.record import Record, encode, unread

_MARK = b"paribus-bundle-1"
_LENGTH_BYTES = 8
_TEXTS = ("keys", "kinds", "statuses", "families")


def bundle(records: Sequence[Record]) -> bytes:
    """Write records as one payload: a head, then their JSON, all manifests, and all numbers."""
    keys, kinds, families, statuses, manifests, bodies, references, environments, layouts, *_ = zip(
        *map(encode, records), strict=True
    )
    written = [str(text).encode() for text in manifests]
    # Beside the head, as in it all their quotes would be escaped.
    documents = b",".join([str(text).encode() for text in (*bodies, *references)])
    head = {
        **dict(zip(_TEXTS, (keys, kinds, statuses, families), strict=True)),
        "created": [record.created for record in records],
        "environments": _once_each(environments),
        "layouts": _once_each(layouts),
        "documents": len(documents),
        "manifests": [len(text) for text in written],
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    numbers = (record.columns.numbers for record in records)
    return b"".join([_MARK, len(text).to_bytes(_LENGTH_BYTES, "little"), text, documents, *written, *numbers])


def unbundle(payload: bytes, *, numbers: bool = True) -> list[Record]:
    """Read the records of a bundle; their parts stay in the payload until they are looked at.

    Args:
        payload: What `bundle` wrote.
        numbers: Whether to read them; without, the payload's numbers are not held in memory.

    Raises:
        ValueError: It is no bundle.
    """
    try:
        begin = len(_MARK) + _LENGTH_BYTES
        end = begin + int.from_bytes(payload[len(_MARK) : begin], "little")
        head = json.loads(payload[begin:end])
        layouts = _spread(list(map(read_layout, head["layouts"][0])), head["layouts"][1])
        manifests = list(accumulate(head["manifests"], initial=end + head["documents"]))
        places = list(accumulate([NUMBER_BYTES * each.size for each in layouts], initial=manifests[-1]))
        if not payload.startswith(_MARK) or places[-1] != len(payload):
            raise ValueError("it is not as long as its head says")
        environments = _spread(list(map(json.loads, head["environments"][0])), head["environments"][1])
        view = memoryview(payload)
        spans = pairwise(places) if numbers else repeat((0, 0))
        columns = map(Columns, layouts, (view[start:stop] for start, stop in spans), places)
        kept = payload if numbers else payload[: manifests[-1]]
        parts = _Parts(kept, range(end, manifests[0]), manifests, environments)
        named = (head[name] for name in (*_TEXTS, "created"))
        return list(map(unread, *named, columns, parts.readers(len(layouts))))
    except (TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(f"{error!r} in a bundle") from error


@final
class _Parts:
    """Where in a payload the parts of records are that few look at: cut out for all at the first look."""

    def __init__(
        self, payload: bytes, documents: range, manifests: Sequence[int], environments: Sequence[Any]
    ) -> None:
        self._payload = payload
        self._documents = documents
        self._manifests = manifests
        self._environments = environments

    def readers(self, count: int) -> Iterable[Callable[[str], Any]]:
        """Return what reads a part of each record by its name."""
        return map(partial, repeat(self.read, count), range(count))

    def read(self, place: int, name: str) -> Any:
        """Read one part of a record."""
        match name:
            case "manifest":
                return self._payload[self._manifests[place] : self._manifests[place + 1]].decode()
            case "environment":
                return self._environments[place]
            case "body":
                return self._json[place]
            case _:
                return self._json[len(self._environments) + place]

    @cached_property
    def _json(self) -> list[Any]:
        documents = self._payload[self._documents.start : self._documents.stop].decode()
        found: list[Any] = json.loads(f"[{documents}]")
        if len(found) != 2 * len(self._environments):
            raise ValueError("a bundle with other documents than its records")
        return found


def _spread(different: Sequence[Any], places: Iterable[int]) -> list[Any]:
    return [different[place] for place in places]


def _once_each(texts: Iterable[object]) -> tuple[list[object], list[int]]:
    """List different texts, and the place of each in that list: most records share theirs."""
    places: dict[object, int] = {}
    numbered = [places.setdefault(text, len(places)) for text in texts]
    return list(places), numbered

"""The key of a state, and those of the states before it, from its manifest alone. Pure, quick to import."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import xxhash

from paribus.store import Record

_STATE_TAG = b"paribus-state-1"
_DIGEST = 16


def state_key(family: bytes, step: int, events: bytes) -> str:
    """Return the key (32 hex digits) of the state at a step.

    Args:
        family: Digest of what all states of the trajectory have in common.
        step: Optimizer steps taken.
        events: The timeline as the steps before ``step`` see it, event after event.
    """
    return xxhash.xxh3_128_hexdigest(_STATE_TAG + family + step.to_bytes(8, "big") + events)


def event_bytes(digest: bytes, start: int, stop: int) -> bytes:
    """Write a timed intervention: the digest of its change, and its span."""
    return digest + start.to_bytes(8, "big", signed=True) + stop.to_bytes(8, "big", signed=True)


def earlier_key(document: Mapping[str, Any], step: int) -> str:
    """Return the key of the state that a stored state had as its past.

    Args:
        document: The manifest of the stored state, parsed.
        step: A step up to the manifest's own.
    """
    family = bytes.fromhex(document["family"])
    events = (bytes.fromhex(event["bytes"]) for event in document["timeline"])
    past = b"".join(_cut(event, step) for event in events if _mark(event, 0) < step)
    return state_key(family, step, past)


def trunk_of(record: Record) -> str | None:
    """Return the key of the state that a record grew from; ``None`` where no step was trained for it."""
    body: Any = record.body
    if record.kind != "segment" or body["start"] == body["stop"]:
        return None
    return earlier_key(json.loads(record.manifest), body["start"])


def past_of(record: Record) -> list[str]:
    """Return the keys of the states that a record grew from: its trunk, and what it reads of others."""
    body: Any = record.body
    reads = body.get("reads", []) if record.kind == "segment" else []
    trunk = trunk_of(record)
    return [*([] if trunk is None else [trunk]), *reads]


def _cut(event: bytes, step: int) -> bytes:
    return event_bytes(event[:_DIGEST], _mark(event, 0), min(_mark(event, 1), max(step, 0)))


def _mark(event: bytes, place: int) -> int:
    begin = _DIGEST + 8 * place
    return int.from_bytes(event[begin : begin + 8], "big", signed=True)

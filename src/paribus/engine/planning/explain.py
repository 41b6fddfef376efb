"""Why a learner is not cached: the nearest stored one, and the difference in words. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

from paribus import markup
from paribus.engine.learners.configuration import FINGERPRINTED
from paribus.identity.difference import difference

Parts = Mapping[str, Mapping[str, str]]


@final
@dataclass(frozen=True)
class Explanation:
    """The stored state that is nearest to a learner.

    Attributes:
        key: Key of the learner.
        nearest: Key of the stored state; equal to ``key`` where the learner itself is stored; ``None`` where
            the store is empty.
        differences: One sentence for each difference, what is stored first.
    """

    key: str
    nearest: str | None
    differences: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.nearest is None:
            return f"{self.key}: the store is empty"
        if self.nearest == self.key:
            return f"{self.key}: stored"
        told = "\n".join(f"  {sentence}" for sentence in self.differences)
        return f"{self.key} is not stored; the nearest is {self.nearest}, and differs:\n{told}"

    def _repr_html_(self) -> str:
        head, *_ = str(self).split("\n")
        return markup.titled(head, markup.bullets(self.differences))


def explain(
    key: str,
    manifest: str,
    parts: Parts,
    stored: Iterable[tuple[str, str]],
    parts_of: Callable[[str], Parts],
) -> Explanation:
    """Find the nearest stored state and say what differs.

    Args:
        key: Key of the learner.
        manifest: Its manifest.
        parts: Of its fingerprints, by component.
        stored: Key and manifest of each stored state.
        parts_of: Reads the parts of a stored state's fingerprints.
    """
    wanted = json.loads(manifest)
    ranked = sorted((_distance(wanted, json.loads(text)), other, text) for other, text in stored)
    if not ranked:
        return Explanation(key, None)
    _, nearest, text = ranked[0]
    if nearest == key:
        return Explanation(key, key)
    return Explanation(key, nearest, tuple(_differences(json.loads(text), wanted, parts_of(nearest), parts)))


def _distance(wanted: Any, other: Any) -> tuple[int, int, int]:
    own, found = wanted["components"], other["components"]
    components = sum(
        found.get(name, {}).get("digest") != own.get(name, {}).get("digest") for name in own | found
    )
    mine, theirs = ({event["bytes"] for event in document["timeline"]} for document in (wanted, other))
    return components + len(mine ^ theirs), components, abs(wanted["step"] - other["step"])


def _differences(old: Any, new: Any, old_parts: Parts, new_parts: Parts) -> list[str]:
    gone = "train" in old["components"] and "train" not in new["components"]
    sentences = ["code: without train="] if gone else []
    before_of = _EXACT | old["components"]
    for name, part in (_EXACT | new["components"]).items():
        before = before_of.get(name)
        if before is not None and before["digest"] == part["digest"]:
            continue
        if name in FINGERPRINTED:
            kind, of = ("data", "") if name == "data" else ("code", _CALLED.get(name, name))
            told = difference(old_parts.get(name, {}), new_parts.get(name, {}), of)
            sentences += [f"{kind}: {sentence}" for sentence in told or [f"{of or 'it'} changed"]]
        else:
            sentences += _settings(name, before["value"] if before else {}, part["value"])
    sentences += _events(old["timeline"], new["timeline"])
    if old["step"] != new["step"]:
        sentences.append(f"step: {old['step']} → {new['step']}")
    return sentences


_CALLED = {"code": "depends_on"}
_EXACT = {"tier": {"digest": "", "value": {"exact": True}}}  # where no tier is written


def _settings(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Tell the entries that differ, those with the same change together; of another kind, what both have."""
    entries = [
        n
        for n in dict.fromkeys([*old, *new])
        if old.get("kind") == new.get("kind") or {n} <= old.keys() & new
    ]
    changes: dict[str, list[str]] = {}
    for entry in (n for n in entries if old.get(n) != new.get(n)):
        changes.setdefault(f"{_told(old.get(entry))} → {_told(new.get(entry))}", []).append(entry)
    return [f"{name}: {', '.join(entries)} {change}" for change, entries in changes.items()]


def _events(old: list[Any], new: list[Any]) -> list[str]:
    before, after = ({event["bytes"]: event["value"] for event in events} for events in (old, new))
    gone = [f"timeline: without {_told(value)}" for digest, value in before.items() if digest not in after]
    return gone + [
        f"timeline: with {_told(value)}" for digest, value in after.items() if digest not in before
    ]


def _told(value: Any) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    given = ", ".join(f"{name}={entry}" for name, entry in value.items() if name != "kind")
    return f"{value.get('kind', '')}({given})"

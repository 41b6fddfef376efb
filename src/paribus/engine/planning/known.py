"""What a store holds of some trajectories: the records, found by the state that is asked for. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

from paribus.engine.learners.keys import earlier_key
from paribus.store import Record


@final
@dataclass(frozen=True, slots=True)
class Stored:
    """What the store knows of a state.

    Attributes:
        status: ``done``, ``diverged`` or ``failed``.
        step: The step reached.
        recorded: For each metric digest, the steps at which it was recorded; one object where records
            recorded the same.
        state: Digest of the state object; ``None`` where there is none.
    """

    status: str
    step: int
    recorded: Mapping[str, frozenset[int]] = field(default_factory=dict)
    state: str | None = None


@final
class Known:
    """Records of trajectories.

    Attributes:
        records: By key.
    """

    def __init__(self, records: Mapping[str, Record]) -> None:
        self.records = records
        self._documents: dict[str, Any] = {}
        self._passed: dict[tuple[bytes, int], dict[str, Record]] = {}

    def __bool__(self) -> bool:
        return bool(self.records)

    def record(self, key: str, family: bytes, step: int) -> Record | None:
        """Return the record of a state, or of a segment that passed through it and recorded there.

        Args:
            key: Key of the state.
            family: Family of its trajectory.
            step: Its step.
        """
        return self.records.get(key) or self._passing(key, family, step)

    def stored(self, key: str, family: bytes, step: int) -> Stored | None:
        """Summarise what is known of a state; one that was only passed through has no state object."""
        own = self.records.get(key)
        if own is not None:
            body: Any = own.body
            return Stored(own.status, body["step"], own.columns.layout.steps, own.references.get("state"))
        passing = self._passing(key, family, step)
        return None if passing is None else Stored("done", step, passing.columns.layout.steps)

    def stops(self, family: bytes) -> Sequence[int]:
        """List the steps at which a state of a family is recorded."""
        return [_body(record)["stop"] for record in self._families.get(family.hex(), ())]

    @cached_property
    def states(self) -> dict[str, str]:
        """The digest of each stored state by its key."""
        records = self.records.items()
        return {key: record.references["state"] for key, record in records if "state" in record.references}

    def _passing(self, key: str, family: bytes, step: int) -> Record | None:
        relatives = self._families.get(family.hex())
        if relatives is None:
            return None
        if (family, step) not in self._passed:
            passed = (record for record in relatives if _passes(record, step))
            self._passed[family, step] = {self._key_at(record, step): record for record in passed}
        return self._passed[family, step].get(key)

    def _key_at(self, record: Record, step: int) -> str:
        if record.key not in self._documents:
            self._documents[record.key] = json.loads(record.manifest)
        return earlier_key(self._documents[record.key], step)

    @cached_property
    def _families(self) -> dict[str, list[Record]]:
        families: dict[str, list[Record]] = {}
        for record in self.records.values():
            if record.status != "failed":
                families.setdefault(record.family, []).append(record)
        return families


def _passes(record: Record, step: int) -> bool:
    layout = record.columns.layout
    return step < _body(record)["stop"] and any(step in steps for steps in layout.steps.values())


def _body(record: Record) -> Any:
    return record.body

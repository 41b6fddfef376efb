"""Between outcomes and the store's records: what is written for a segment, and what is read back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from paribus.engine.building.work import Outcome, Task
from paribus.engine.learners.configuration import FINGERPRINTED, Configuration, identity_of
from paribus.engine.planning.segments import Segment
from paribus.engine.training.environment import environment
from paribus.errors import StoreError
from paribus.store import Record, Store, pack, unpack


def read_families(
    store: Store, configurations: Iterable[Configuration], *, numbers: bool = True
) -> dict[str, Record]:
    """Read every record of the trajectories that some configurations belong to, by key."""
    families = dict.fromkeys(configuration.family.hex() for configuration in configurations)
    return store.relatives(families, numbers=numbers)


def check_hits(segments: Sequence[Segment], records: Mapping[str, Record]) -> None:
    """Compare the whole configuration of each hit, not only its hash.

    Raises:
        StoreError: A record has the key of another configuration.
    """
    for segment in segments:
        record = records.get(segment.key)
        if record is None:
            continue
        wanted = segment.configuration.manifest(segment.stop)
        if record.manifest != wanted and identity_of(record.manifest) != identity_of(wanted):
            raise StoreError(
                f"Store: the record {segment.key} belongs to another configuration of equal key; "
                "use another store for this experiment"
            )


def put_parts(store: Store, configuration: Configuration) -> dict[str, str]:
    """Put the words behind a configuration's fingerprints into the store; return their digests by name."""
    return {
        name: store.put(json.dumps(dict(found.parts), sort_keys=True).encode())
        for name, found in configuration.fingerprints().items()
    }


def read_parts(store: Store, record: Record) -> dict[str, dict[str, str]]:
    """Read the words behind a record's fingerprints, by component."""
    return {
        name: json.loads(store.get(record.references[name]))
        for name in FINGERPRINTED
        if name in record.references
    }


def record_of(
    task: Task,
    outcome: Outcome,
    digests: Mapping[str, str],
    parts: Mapping[str, str],
    earlier: Record | None,
) -> Record:
    """Write an outcome as the store's record; metrics that an earlier record of the key has are kept.

    Args:
        task: What was trained.
        outcome: What became of it.
        digests: The digest of each metric by name, in hex.
        parts: Digests of the words behind the fingerprints, by component.
        earlier: The store's present record of the key.
    """
    metrics: dict[str, Any] = {}
    start, seconds, created, reads = task.start, outcome.seconds, 0.0, list(task.reads)
    references = {**parts, **({} if outcome.state is None else {"state": outcome.state})}
    if earlier is not None and earlier.status != "failed":
        earlier_body: Any = earlier.body
        if outcome.status == "failed":  # in a replay for a new metric: the run itself stays what it was
            told = {"error": outcome.error, "traceback": outcome.traceback}
            return replace(earlier, body={**earlier_body, **told})
        if task.start == task.stop:  # evaluated, not trained: the segment itself stays what it was
            start, seconds = earlier_body["start"], earlier_body["seconds"]
            reads = earlier_body.get("reads", [])
        created = earlier.created
        metrics.update(unpack(earlier.columns))
        references = {**earlier.references, **references}
    for name, rows in outcome.rows.items():
        digest = digests.get(name, name)  # what a training function reports has no code of its own
        metrics[digest] = merged(metrics.get(digest), {"name": name, **rows})
    body: Any = {
        "start": start,
        "stop": task.stop,
        "step": outcome.step,
        "finite": outcome.finite,
        "seconds": seconds,
        "error": outcome.error,
        "traceback": outcome.traceback,
        **({"reads": reads} if reads else {}),
    }
    return Record(
        key=task.key,
        kind="segment",
        status=outcome.status,
        manifest=task.configuration.manifest(task.stop),
        body=body,
        references=references,
        environment=dict(environment()),
        created=created,
        family=task.configuration.family.hex(),
        columns=pack(metrics),
    )


def merged(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> Mapping[str, Any]:
    """Unite two recordings of one metric, by step; equal steps have equal values."""
    if old is None:
        return new
    rows = {step: row for recording in (old, new) for step, row in rows_of(recording)}
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    steps = sorted(rows)
    return {
        "name": new["name"],
        "steps": steps,
        "values": {name: [rows[step].get(name) for step in steps] for name in names},
    }


def rows_of(recording: Mapping[str, Any]) -> Iterable[tuple[int, dict[str, Any]]]:
    """Yield a recording's steps, each with its values by name."""
    for place, step in enumerate(recording["steps"]):
        yield step, {name: column[place] for name, column in recording["values"].items()}

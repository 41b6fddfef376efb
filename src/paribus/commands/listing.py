"""Commands that look into a store: ls, show, why, stats."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import typer

from paribus.commands import wording
from paribus.commands.catalogue import Catalogue, Entry
from paribus.commands.options import DEFAULT_STORE, JsonOption, KeyArgument, StoreOption, existing
from paribus.commands.printing import print_json, print_lines, print_pairs, print_table
from paribus.commands.units import counted, duration, size
from paribus.store import Record, Store, stats, unpack

Status = Literal["done", "diverged", "failed"]
_SHOWN = 8
_HEAD = ("index", "key", "status", "part", "step", "optimizer", "batch", "seeds", "timeline", "age", "size")


def ls(
    store: StoreOption = DEFAULT_STORE,
    status: Annotated[Status | None, typer.Option(help="Only those of a status.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many, the youngest.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List what is stored, the youngest first.

    An end is a state from which nothing stored goes on; a trunk is one that others grew from.
    """
    catalogue = Catalogue.read(existing(store))
    found = [e for e in reversed(catalogue.entries) if status is None or e.record.status == status]
    shown = found[:limit]
    if as_json:
        print_json([_row(catalogue, entry) for entry in shown])
        return
    now = time.time()
    print_table(_HEAD, [_cells(_row(catalogue, entry), now) for entry in shown])
    if len(shown) < len(found):
        print_lines([f"… and {len(found) - len(shown)} older"])


def show(key: KeyArgument, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Show one record in full.

    Its configuration, metrics, objects and environment, and the traceback if it failed.
    """
    opened = existing(store)
    catalogue = Catalogue.read(opened)
    entry = catalogue.find(key)
    pinned = entry.key in opened.pins.all()
    metrics = _metrics(catalogue.path(entry))
    if as_json:
        print_json(_row(catalogue, entry) | {"pinned": pinned, "metrics": metrics} | _details(entry))
        return
    part = "end" if catalogue.is_end(entry) else "trunk"
    print_pairs(
        entry.key,
        {
            "status": entry.record.status,
            "steps": f"{entry.body['start']} to {entry.body['step']}",
            "part": f"{part}, {'pinned' if pinned else 'not pinned'}",
            "path": " → ".join(segment.key[:_SHOWN] for segment in catalogue.path(entry)),
            "created": f"{datetime.fromtimestamp(entry.record.created):%Y-%m-%d %H:%M:%S}",
            "trained": f"{entry.body['seconds']:.2f} s",
        },
    )
    print_pairs("configuration", wording.configuration(entry.document))
    if metrics:
        print_pairs("metrics on its path", {name: _told(metric) for name, metric in metrics.items()})
    print_pairs("objects", dict(entry.record.references))
    print_pairs("environment", _texts(entry.record.environment))
    if entry.body["traceback"]:
        print_lines(["traceback", entry.body["traceback"].rstrip()])


def why(key: KeyArgument, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Tell what differs from the nearest state.

    The nearest one is looked for on other trajectories: neither in the record's past nor in its future.
    """
    from paribus.engine.planning.explain import explain

    opened = existing(store)
    catalogue = Catalogue.read(opened)
    entry = catalogue.find(key)
    others = {other.key: other for other in _elsewhere(catalogue, entry)}
    found = explain(
        entry.key,
        entry.record.manifest,
        _parts(opened, entry.record),
        ((other.key, other.record.manifest) for other in others.values()),
        lambda other: _parts(opened, others[other].record),
    )
    if as_json:
        print_json({"key": found.key, "nearest": found.nearest, "differences": found.differences})
    elif found.nearest is None:
        print_lines([f"{_named(entry)}: no other trajectory is stored"])
    else:
        print_lines(
            [
                f"{_named(entry)}: the nearest other is {_named(others[found.nearest])}, and differs:",
                *(f"  {sentence}" for sentence in found.differences or ["in nothing that can be told"]),
            ]
        )


def show_stats(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Count records, bytes, and steps saved.

    Steps saved: each end alone would have trained its whole stored past again. Runs that were answered from
    the cache leave no trace in a store, and are not in this number.
    """
    opened = existing(store)
    counts, sharing = stats(opened), Catalogue.read(opened).sharing()
    if as_json:
        print_json({**vars(counts), **vars(sharing), "saved": sharing.alone - sharing.trained})
        return
    listed = ", ".join(f"{count:,} {status}" for status, count in counts.records.items())
    print_pairs(
        str(opened.path),
        {
            "records": f"{listed or 'none'}; {counts.bundled:,} in bundles",
            "objects": f"{counts.objects:,} in {size(counts.object_bytes)}",
            "ledger": size(counts.ledger_bytes),
            "pins": f"{counts.pins:,}",
            "claims": f"{counts.claims:,} live",
            "steps": f"{sharing.trained:,} stored; {sharing.alone:,} if each of the {sharing.ends:,} ends "
            f"had been trained alone: {sharing.alone - sharing.trained:,} saved by sharing their past",
        },
    )


def _row(catalogue: Catalogue, entry: Entry) -> dict[str, Any]:
    return {
        "index": entry.index,
        "key": entry.key,
        "status": entry.record.status,
        "part": "end" if catalogue.is_end(entry) else "trunk",
        "step": entry.body["step"],
        "optimizer": wording.optimizer(entry.document),
        "batch_size": wording.batch_size(entry.document),
        "seeds": wording.seeds(entry.document),
        "timeline": wording.timeline(entry.document),
        "created": entry.record.created,
        "state_bytes": entry.state_bytes,
    }


def _cells(row: Mapping[str, Any], now: float) -> list[str]:
    told = {
        "key": row["key"][:_SHOWN],
        "created": duration(now - row["created"]),
        "state_bytes": size(row["state_bytes"]),
    }
    return [str(value) for value in (row | told).values()]  # type: ignore[operator]


def _details(entry: Entry) -> dict[str, Any]:
    return {
        "start": entry.body["start"],
        "seconds": entry.body["seconds"],
        "configuration": entry.document,
        "references": dict(entry.record.references),
        "environment": entry.record.environment,
        "traceback": entry.body["traceback"],
    }


def _metrics(path: list[Entry]) -> dict[str, dict[str, Any]]:
    """Gather, for each value by name, at how many steps of a path it is recorded, and its last value."""
    rows: dict[str, dict[int, Any]] = {}
    for entry in path:
        for recording in unpack(entry.record.columns).values():
            for name, column in recording["values"].items():
                at = zip(recording["steps"], column, strict=True)
                rows.setdefault(name, {}).update((step, value) for step, value in at if value is not None)
    return {
        name: {"steps": len(values), "last_step": max(values), "last": values[max(values)]}
        for name, values in sorted(rows.items())
        if values
    }


def _told(metric: Mapping[str, Any]) -> str:
    last = metric["last"]
    value = f"{last:.6g}" if isinstance(last, int | float) else f"{len(last)} numbers"
    return f"{value} at step {metric['last_step']} ({counted(metric['steps'], 'step')})"


def _elsewhere(catalogue: Catalogue, entry: Entry) -> list[Entry]:
    """Return the reached states that are neither in an entry's past nor in its future."""
    past = {segment.key for segment in catalogue.path(entry)}
    return [
        other
        for other in catalogue.entries
        if other.record.status != "failed"
        and other.key not in past
        and all(segment.key != entry.key for segment in catalogue.path(other))
    ]


def _parts(store: Store, record: Record) -> dict[str, dict[str, str]]:
    """Read the words behind a record's fingerprints, by component."""
    from paribus.engine.learners.configuration import FINGERPRINTED

    named = (name for name in FINGERPRINTED if name in record.references)
    return {name: json.loads(store.get(record.references[name])) for name in named}


def _named(entry: Entry) -> str:
    return f"{entry.key[:_SHOWN]} ({entry.record.status}, step {entry.body['step']})"


def _texts(value: Any) -> dict[str, str]:
    return {name: str(entry) for name, entry in value.items()} if isinstance(value, Mapping) else {}

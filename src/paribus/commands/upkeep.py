"""Commands that keep a store sound and small: verify, gc, pin, unpin, compact."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from paribus.commands.catalogue import Catalogue
from paribus.commands.options import DEFAULT_STORE, JsonOption, KeysArgument, StoreOption, existing
from paribus.commands.printing import print_json, print_lines
from paribus.commands.units import counted, parse_duration, parse_size, size
from paribus.engine.learners.keys import past_of
from paribus.errors import ConfigurationError
from paribus.store import Retention, Store, Sweep, Verification, compact, gc, verify

if TYPE_CHECKING:
    from paribus.engine.running.reexecution import Reexecution


def verify_store(
    store: StoreOption = DEFAULT_STORE,
    reexecute: Annotated[int, typer.Option(min=0, help="Train so many cached learners again.")] = 0,
    experiment: Annotated[str | None, typer.Option(help="FILE.py:NAME or module:NAME of theirs.")] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of learners.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Check that the store is sound.

    Recomputes every checksum and follows every reference. With --reexecute and --experiment, it also trains
    cached learners again, writes nothing, and compares their final states with the stored ones, to the bit.
    Exits with 1 where something is damaged or differs.
    """
    if reexecute and experiment is None:
        raise ConfigurationError("verify: --reexecute trains learners again; give --experiment FILE.py:NAME")
    opened = existing(store)
    report = verify(opened)
    again = _reexecuted(opened, experiment, reexecute, seed) if reexecute and experiment else []
    if as_json:
        learners = [asdict(each) | {"same": each.same} for each in again]
        print_json(asdict(report) | {"sound": report.sound, "reexecuted": learners})
    else:
        print_lines([*_verdict(report), *_comparison(again)])
    if not report.sound or not all(each.same for each in again):
        raise typer.Exit(1)


def collect(
    store: StoreOption = DEFAULT_STORE,
    unused_for: Annotated[str | None, typer.Option(help="Remove records unused for so long: 30d.")] = None,
    budget: Annotated[str | None, typer.Option(help="Keep the objects within a size: 10GB.")] = None,
    grace: Annotated[str, typer.Option(help="Never remove what is younger.")] = "1h",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what is not needed.

    Objects that no record needs go; with --unused-for or --budget, the least recently used records go too.
    Pinned records and those under a live claim stay, whatever the limits, and what a record grew from stays
    as long as it does.
    """
    retention = Retention(
        None if unused_for is None else parse_duration(unused_for),
        None if budget is None else parse_size(budget),
        parse_duration(grace),
    )
    sweep = gc(existing(store), retention, past_of=past_of, dry_run=dry_run)
    if as_json:
        print_json(asdict(sweep) | {"dry_run": dry_run})
    else:
        print_lines(_swept(sweep, dry_run))


def pin(keys: KeysArgument, store: StoreOption = DEFAULT_STORE) -> None:
    """Keep records from gc.

    With them stay the segments that they grew from.
    """
    opened = existing(store)
    found = with_past(Catalogue.read(opened), keys)
    opened.pins.add(found)
    print_lines([f"pinned {counted(len(found), 'record')}"])


def unpin(keys: KeysArgument, store: StoreOption = DEFAULT_STORE) -> None:
    """Let gc have records again.

    With them go the segments that they grew from, but for those from which other pinned records grew.
    """
    opened = existing(store)
    catalogue = Catalogue.read(opened)
    named = set(with_past(catalogue, keys))
    others = [entry.key for entry in catalogue.entries if entry.key in opened.pins.all() - named]
    freed = named - set(with_past(catalogue, others))
    opened.pins.remove(freed)
    stay = len(named - freed)
    why = f"; {counted(stay, 'record')} below other pinned ones stay pinned" if stay else ""
    print_lines([f"unpinned {counted(len(freed), 'record')}{why}"])


def compact_store(store: StoreOption = DEFAULT_STORE) -> None:
    """Make reading many learners quick.

    Copies their records into bundles, which frames read at once, and gives the ledger's free space back.
    """
    done = compact(existing(store))
    bundles = f"{counted(done.bundles, 'bundle')}: {size(done.bundle_bytes)}"
    print_lines(
        [
            f"ledger: {size(done.before)} before, {size(done.after)} now",
            f"{counted(done.records, 'record')} in {bundles}",
        ]
    )


def with_past(catalogue: Catalogue, names: list[str]) -> list[str]:
    """Return the keys of some records and of all segments that they grew from.

    Raises:
        StoreError: A name is of no record.
    """
    return list(dict.fromkeys(s.key for name in names for s in catalogue.path(catalogue.find(name))))


def _reexecuted(store: Store, place: str, count: int, seed: int) -> list[Reexecution]:
    from paribus.commands.loading import load_experiment
    from paribus.engine.running.reexecution import reexecute

    experiment = load_experiment(place)
    configurations = [cell.configuration for cell in experiment.cells]
    records = store.records(configuration.key() for configuration in configurations)
    again = reexecute(configurations, records, experiment.work, count, seed)
    if not again:
        raise ConfigurationError(
            f"verify: none of the {len(configurations)} learners of {place}, as it is now, is cached in "
            f"{store.path}; name their store with --store, or run the experiment"
        )
    return again


def _verdict(report: Verification) -> list[str]:
    head = f"{counted(report.records, 'record')}, {counted(report.objects, 'object')} in {size(report.size)}"
    lines = [f"{head}: {'sound' if report.sound else 'damaged'}"]
    lines += [f"  ledger: {complaint}" for complaint in report.damage]
    lines += [f"  record {key} was altered" for key in report.altered_records]
    lines += [f"  object {digest} was altered" for digest in report.altered_objects]
    lines += [
        f"  bundle {digest} was altered; `paribus compact` makes it anew" for digest in report.altered_bundles
    ]
    lines += [f"  record {key} lacks its {name}, object {digest}" for key, name, digest in report.dangling]
    if report.unreferenced or report.leftovers:
        objects, files = counted(report.unreferenced, "object"), counted(report.leftovers, "temporary file")
        lines.append(f"  no record needs {objects} and {files}; `paribus gc` takes them")
    return lines


def _comparison(again: list[Reexecution]) -> list[str]:
    if not again:
        return []
    same = sum(each.same for each in again)
    differing = [f"  {each}" for each in again if not each.same]
    return [f"{counted(len(again), 'learner')} trained again: {same} equal to the bit", *differing]


def _swept(sweep: Sweep, dry_run: bool) -> list[str]:
    would = "would be freed" if dry_run else "freed"
    objects = counted(len(sweep.objects), "object")
    if sweep.leftovers:
        objects += f", {counted(sweep.leftovers, 'temporary file')}"
    head = f"{counted(len(sweep.records), 'record')}, {objects}: {size(sweep.freed)} {would}"
    return [f"{head}, {size(sweep.kept)} stay", *(f"  {key}" for key in sweep.records)]

"""Commands that carry results between stores: export and import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paribus.commands.catalogue import Catalogue
from paribus.commands.options import DEFAULT_STORE, StoreOption, existing
from paribus.commands.printing import print_lines
from paribus.commands.units import counted, size
from paribus.commands.upkeep import with_past
from paribus.errors import ConfigurationError
from paribus.store import Store, export, import_

_File = Annotated[Path, typer.Argument(metavar="FILE")]


def export_records(
    file: _File,
    keys: Annotated[list[str] | None, typer.Argument(metavar="[KEY…]", help="Indices or keys.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All records.")] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write records as one file for another machine.

    With them go the segments that they grew from, whose metrics are theirs too.
    """
    if bool(keys) == every:
        raise ConfigurationError("export: name the keys to export, or give --all; exactly one of the two")
    opened = existing(store)
    chosen = (
        [record.key for record in opened.scan()] if every else with_past(Catalogue.read(opened), keys or [])
    )
    written = export(opened, chosen, file)
    print_lines([f"{file}: {counted(len(chosen), 'record')}, {size(written)}"])


def import_records(file: _File, store: StoreOption = DEFAULT_STORE) -> None:
    """Read an exported file into a store.

    The store is made when absent; records that it has stay as they are, except failed ones.
    """
    read = import_(Store.open(store), file)
    print_lines([f"{counted(len(read.added), 'record')} added, {len(read.present):,} were there"])

"""Options that all commands have, and the store that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paribus.errors import StoreError
from paribus.store import Store
from paribus.store.layout import FORMAT
from paribus.store.remote import address_of, folder_of

StoreOption = Annotated[
    Path,
    typer.Option("--store", help="The store's folder.", envvar="PARIBUS_STORE", show_default=".paribus"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY_OR_INDEX", help="An index, or a key's beginning.")]
KeysArgument = Annotated[list[str], typer.Argument(metavar="KEY…", help="Indices, or beginnings of keys.")]
DEFAULT_STORE = Path(".paribus")


def existing(folder: Path) -> Store:
    """Open a store that is there; one is never made by looking for it.

    Raises:
        StoreError: There is none, or it cannot be opened.
    """
    address = address_of(folder)
    place = folder.expanduser() if address is None else folder_of(address)
    if not (place / FORMAT).exists():
        raise StoreError(f"{place} holds no store; name a store's folder with --store or $PARIBUS_STORE")
    return Store.open(place)

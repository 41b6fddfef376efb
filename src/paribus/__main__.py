"""The command line: what a store holds, and whether it is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from paribus.errors import ParibusError
from paribus.store import Store, stats, verify

app = typer.Typer(help="Paribus: what a store holds, and whether it is sound.", no_args_is_help=True)
_Folder = Annotated[Path, typer.Argument(help="The store's folder.", envvar="PARIBUS_STORE")]
_DEFAULT = Path(".paribus")


@app.command("stats")
def show_stats(store: _Folder = _DEFAULT) -> None:
    """Count records and bytes."""
    found = stats(_existing(store))
    for status, count in sorted(found.records.items()):
        typer.echo(f"{count:>10,} {status}")
    typer.echo(f"{found.objects:>10,} objects, {found.object_bytes:,} bytes")


@app.command("show")
def show_record(key: str, store: _Folder = _DEFAULT) -> None:
    """Show one record: its configuration, status and references."""
    record = _existing(store).records([key]).get(key)
    if record is None:
        raise typer.BadParameter(f"{key} is no key of the store; expected 32 hex digits of a learner's key")
    body: Any = record.body
    typer.echo(f"{record.key} {record.status}, step {body['step']}, {body['seconds']:.2f} s")
    typer.echo(record.manifest)
    typer.echo(body["traceback"] or "".join(f"{name} {ref}\n" for name, ref in record.references.items()))


@app.command("verify")
def verify_store(store: _Folder = _DEFAULT) -> None:
    """Check every record and object; exit with 1 where one is damaged."""
    report = verify(_existing(store))
    typer.echo(str(report))
    if not report.sound:
        raise typer.Exit(1)


def _existing(folder: Path) -> Store:
    if not folder.exists():
        raise typer.BadParameter(f"{folder} does not exist; name the folder of a store")
    return Store.open(folder)


def main() -> None:
    """Run the command line; an error of Paribus is one sentence and exit code 1."""
    try:
        app()
    except ParibusError as error:
        typer.secho(str(error), err=True, fg="red")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()

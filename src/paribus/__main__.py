"""The command line: what a store holds, whether it is sound, and what of it should stay."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

import typer

from paribus.commands import bench, exchange, listing, upkeep, watch
from paribus.errors import ParibusError

app = typer.Typer(
    help="Paribus: what a store holds, whether it is sound, and what of it should stay.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("ls")(listing.ls)
app.command("show")(listing.show)
app.command("why")(listing.why)
app.command("stats")(listing.show_stats)
app.command("watch")(watch.watch)
app.command("verify")(upkeep.verify_store)
app.command("gc")(upkeep.collect)
app.command("pin")(upkeep.pin)
app.command("unpin")(upkeep.unpin)
app.command("compact")(upkeep.compact_store)
app.command("export")(exchange.export_records)
app.command("import")(exchange.import_records)
app.command("bench")(bench.bench)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; an error of Paribus is one sentence and exit code 1.

    Args:
        arguments: Those after the program's name; ``None``: the process's own.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            app(arguments, prog_name="paribus")
        except ParibusError as error:
            typer.secho(str(error), err=True, fg="red")
            raise SystemExit(1) from None


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(message, file=sys.stderr)


if __name__ == "__main__":
    main()

"""The command that measures what Paribus costs on one's own machine: bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paribus.commands.options import JsonOption
from paribus.commands.printing import print_json, print_lines
from paribus.errors import ConfigurationError

_PICTURES = (".png", ".svg", ".pdf")


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer repetitions.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Draw a picture into this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what Paribus costs on this machine.

    Each figure is a ratio to the same work by hand, both sides in turn, in this one run: a learner's steps, a
    fork, a second run, a frame, a plan. It takes a minute or two, and less with --quick.
    """
    if picture is not None and (picture.suffix not in _PICTURES or not picture.parent.is_dir()):
        raise ConfigurationError(
            f"bench: {picture} cannot be drawn; name a file in a folder that is there, with the ending "
            f"{', '.join(_PICTURES)}"
        )
    from rich.console import Console

    from paribus.bench.ratios import BENCHMARK
    from paribus.bench.table import as_json as described
    from paribus.bench.table import for_terminal, tally

    results = {BENCHMARK.name: BENCHMARK.measure(**BENCHMARK.sizes["quick" if quick else "full"])}
    if picture is not None:
        from paribus.bench.picture import draw

        draw(results, picture)
    if as_json:
        print_json(described(results))
    else:
        Console().print(for_terminal(results))
        print_lines([tally(results)])

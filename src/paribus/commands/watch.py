"""The command that looks on: watch."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from paribus.commands.options import DEFAULT_STORE, existing
from paribus.commands.printing import print_lines
from paribus.commands.units import counted, duration
from paribus.engine.showing.standing import Standing
from paribus.engine.showing.views import notices
from paribus.store import Store
from paribus.store.statistics import counts, last_written

_TERMINAL_SECONDS, _LOG_SECONDS, _MOMENT_SECONDS = 1.0, 10.0, 0.3


def watch(
    store: Annotated[
        Path, typer.Argument(help="The store's folder.", envvar="PARIBUS_STORE", show_default=".paribus")
    ] = DEFAULT_STORE,
    once: Annotated[bool, typer.Option("--once", help="Look once.")] = False,
    every: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds between two looks; 1 on a terminal, else 10.")
    ] = None,
) -> None:
    """Show the runs that go on in a store, until nothing is claimed any more.

    One line per run: learners, steps, rate, time left, the learner that is trained now and its loss. Runs in
    other processes, and on other machines that share the store, are shown all the same.
    """
    opened = existing(store)
    terminal = sys.stdout.isatty() and not once
    seconds = every or (_TERMINAL_SECONDS if terminal else _LOG_SECONDS)
    with _screen(terminal) as show:
        while True:
            claims = _claims(opened)
            show(_told(opened, claims, notices(opened.path), time.time()))
            if once or not claims:
                return
            time.sleep(seconds)


def _claims(store: Store) -> dict[str, str]:
    """Read who claims what; a run claims nothing for the moment between two segments."""
    claims = store.claims.live()
    if not claims:
        time.sleep(_MOMENT_SECONDS)
        claims = store.claims.live()
    return claims


def _told(store: Store, claims: Mapping[str, str], known: Mapping[str, Standing], now: float) -> list[str]:
    """Tell what a store holds, and how far each run is that claims something in it."""
    written = last_written(store)
    listed = ", ".join(f"{count:,} {status}" for status, count in counts(store).items())
    youngest = "" if written is None else f", the last {duration(now - written)} ago"
    claimed = Counter(owner.rsplit(" ", 1)[0] for owner in claims.values())
    lines = [
        f"{store.path}: {listed or 'no'} records{youngest}; {counted(len(claims), 'segment')} claimed",
    ]
    for owner, count in sorted(claimed.items()):
        # A run that has not said how far it is may be of an older version, or about to begin.
        lines.append(f"  {owner}: {known.get(owner, counted(count, 'segment') + ' claimed')}")
    return lines


@contextmanager
def _screen(terminal: bool) -> Iterator[Callable[[Sequence[str]], None]]:
    """Give what shows lines: over the ones before on a terminal, below them elsewhere."""
    if not terminal:
        yield print_lines
        return
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False) as live:
        yield lambda lines: live.update(
            Text("\n".join(lines), overflow="ellipsis", no_wrap=True), refresh=True
        )

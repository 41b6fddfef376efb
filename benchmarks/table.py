"""Figures as a table for the terminal, for the documentation, and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from benchmarks.measure import Benchmark, Figure

_BEGIN, _END = "<!-- figures -->", "<!-- end of figures -->"
_HEADINGS = ("what", "reached", "by CPU time", "target", "", "sides")
Results = Mapping[str, Sequence[Figure]]


def for_terminal(results: Results) -> Table:
    """Make one table of all benchmarks."""
    table = Table(title="Paribus, measured")
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading in ("what", "", "sides") else "right")
    for name, figures in results.items():
        table.add_section()
        for figure in figures:
            style = "bold red" if figure.met is False else None
            table.add_row(f"{name}: {figure.what}", *_cells(figure), style=style)
    return table


def as_json(results: Results) -> dict[str, Any]:
    """Describe figures and machine."""
    figures = {name: [asdict(f) | {"met": f.met} for f in given] for name, given in results.items()}
    return {"machine": machine(), "figures": figures}


def write_page(page: Path, benchmarks: Sequence[Benchmark], results: Results) -> None:
    """Put the figures between the page's two marks; the text around them stays."""
    before, rest = page.read_text().split(_BEGIN)
    after = rest.split(_END)[1]
    lines = [", ".join(f"{name} {value}" for name, value in machine().items()) + "."]
    lines += ["", _tally(results)]
    for benchmark in benchmarks:
        if benchmark.name in results:
            lines += ["", f"### {benchmark.name}", "", benchmark.description, ""]
            lines += ["| " + " | ".join(_HEADINGS) + " |", "| --- | ---: | ---: | ---: | --- | --- |"]
            lines += ["| " + " | ".join((f.what, *_cells(f))) + " |" for f in results[benchmark.name]]
    page.write_text(before + "\n".join([_BEGIN, "", *lines, "", _END]) + after)


def machine() -> dict[str, str]:
    """Say what the figures were taken on, without naming it."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": str(os.cpu_count()),
        "CPU capability": torch.backends.cpu.get_cpu_capability(),
        "load": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "polars", "joblib", "paribus")},
    }


def _tally(results: Results) -> str:
    judged = [figure for figures in results.values() for figure in figures if figure.met is not None]
    missed = [figure.what for figure in judged if not figure.met]
    told = f"{len(judged) - len(missed)} of {len(judged)} targets met."
    return told + (f" Missed: {'; '.join(missed)}." if missed else "")


def _cells(figure: Figure) -> tuple[str, str, str, str, str]:
    bound = "≥" if figure.better == "more" else "≤"
    return (
        f"{figure.reached:.3g} {figure.unit}",
        "" if figure.cpu is None else f"{figure.cpu:.3g} {figure.unit}",
        "" if figure.target is None else f"{bound} {figure.target:g} {figure.unit}",
        {True: "met", False: "missed", None: ""}[figure.met],
        figure.detail,
    )

"""Figures as one table for the terminal, and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from rich.table import Table

from paribus.bench.measure import Figure

HEADINGS = ("what", "reached", "by CPU time", "target", "", "sides")
Results = Mapping[str, Sequence[Figure]]
_PACKAGES = ("torch", "numpy", "polars", "paribus")
_PEERS = ("joblib", "ray", "optuna", "exca", "signac")


def for_terminal(results: Results) -> Table:
    """Make one table of all benchmarks."""
    table = Table(title="Paribus, measured")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in ("what", "", "sides") else "right")
    for name, figures in results.items():
        table.add_section()
        if not figures:
            table.add_row(f"{name}: skipped: this machine lacks what is measured")
        for figure in figures:
            style = "bold red" if figure.met is False else None
            table.add_row(f"{name}: {figure.what}", *cells(figure), style=style)
    return table


def as_json(results: Results) -> dict[str, Any]:
    """Describe figures and machine."""
    figures = {name: [asdict(f) | {"met": f.met} for f in given] for name, given in results.items()}
    return {"machine": machine(), "figures": figures}


def machine() -> dict[str, str]:
    """Say what the figures were taken on, without naming it."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": str(os.cpu_count()),
        "CPU capability": torch.backends.cpu.get_cpu_capability(),
        **({"GPU": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        "load": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        **dict(_versions((*_PACKAGES, *_PEERS))),
    }


def tally(results: Results) -> str:
    """Count the targets that were met, and name those that were missed."""
    judged = [figure for figures in results.values() for figure in figures if figure.met is not None]
    missed = [figure.what for figure in judged if not figure.met]
    told = f"{len(judged) - len(missed)} of {len(judged)} targets met."
    return told + (f" Missed: {'; '.join(missed)}." if missed else "")


def cells(figure: Figure) -> tuple[str, str, str, str, str]:
    """Write a figure as the cells of its row, but for the first."""
    bound = "≥" if figure.better == "more" else "≤"
    return (
        f"{figure.reached:.3g} {figure.unit}",
        "" if figure.cpu is None else f"{figure.cpu:.3g} {figure.unit}",
        "" if figure.target is None else f"{bound} {figure.target:g} {figure.unit}",
        {True: "met", False: "missed", None: ""}[figure.met],
        figure.detail,
    )


def _versions(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        try:
            yield name, version(name)
        except PackageNotFoundError:  # a peer that is not installed is not measured
            continue

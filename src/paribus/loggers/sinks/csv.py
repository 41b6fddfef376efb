"""Two CSV files: one row per learner, and one per learner, step and value."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from paribus.loggers.sinks.base import LearnerRun, Sink
from paribus.loggers.values import Value


@final
@dataclass(frozen=True)
class CSV(Sink):
    """``learners.csv`` (run, key, status, hyperparameters) and ``metrics.csv`` (run, step, name, value).

    Equal runs give equal bytes. Vectors are JSON; numbers have all their digits.

    Attributes:
        where: The folder.
    """

    where: str | Path

    def write(self, runs: Sequence[LearnerRun]) -> None:
        """Write both files anew."""
        names = list(dict.fromkeys(name for run in runs for name in run.hyperparameters))
        learners = ([r.name, r.key, r.status, *(r.hyperparameters.get(n) for n in names)] for r in runs)
        values = (
            [run.name, step, name, _text(value)]
            for run in runs
            for step, row in run.rows
            for name, value in row.items()
        )
        folder = Path(self.where)
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "learners.csv", ["run", "key", "status", *names], learners)
        _write(folder / "metrics.csv", ["run", "step", "name", "value"], values)


def _text(value: Value) -> str:
    return json.dumps(value) if isinstance(value, list) else repr(value)


def _write(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text.getvalue(), encoding="utf-8")
    partial.replace(path)

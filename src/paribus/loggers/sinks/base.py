"""What every sink takes: learners with their hyperparameters and what they recorded."""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from paribus.errors import ConfigurationError, suggest
from paribus.loggers.values import Value

if TYPE_CHECKING:
    import polars as pl

Plain = None | bool | int | float | str
_COORDINATES = {"learner", "key", "status", "step", "epoch"}
_SHOWN = 16


@final
@dataclass(frozen=True)
class LearnerRun:
    """One learner as other programs know it: a run.

    Attributes:
        name: The beginning of its key: one name wherever and whenever it is written. Of learners that share
            a key, the later ones have a number too.
        key: Its key, 32 hex digits.
        status: ``done``, ``diverged``, ``failed`` or ``missing``.
        hyperparameters: Its levels by column name, and its whole configuration by dotted names.
        rows: Each recorded step with its values by name.
    """

    name: str
    key: str
    status: str
    hyperparameters: Mapping[str, Plain]
    rows: tuple[tuple[int, Mapping[str, Value]], ...]

    @property
    def scalars(self) -> list[tuple[int, dict[str, float]]]:
        """The values that are single numbers, by step; steps without one are left out."""
        rows = ((step, {n: v for n, v in row.items() if isinstance(v, float)}) for step, row in self.rows)
        return [(step, row) for step, row in rows if row]


class Sink(ABC):
    """A place that runs are written to. Runs that are there already are completed, and never doubled."""

    @abstractmethod
    def write(self, runs: Sequence[LearnerRun]) -> None:
        """Write runs with their hyperparameters, and their values by step.

        Raises:
            ConfigurationError: The package that the sink writes with is not installed.
        """


def choose_sink(sink: str | Sink, where: str | Path, options: Mapping[str, Any]) -> Sink:
    """Read ``to(sink, where, **options)``.

    Raises:
        ConfigurationError: The name is unknown.
    """
    if isinstance(sink, Sink):
        return sink
    from paribus.loggers import sinks

    known = {"csv": sinks.CSV, "tensorboard": sinks.TensorBoard, "mlflow": sinks.MLflow, "wandb": sinks.WandB}
    if sink not in known:
        raise ConfigurationError(f"to: {sink!r} is no sink {suggest(str(sink), known)}")
    made: Sink = known[sink](where, **options)
    return made


def learner_runs(
    frame: pl.DataFrame, levels: Sequence[str], documents: Sequence[Mapping[str, Any]]
) -> list[LearnerRun]:
    """Cut a tidy frame into runs.

    Args:
        frame: One row per learner and recorded step: ``learner``, ``key``, ``status``, levels, ``step``,
            ``epoch``, metrics.
        levels: The columns that are levels.
        documents: For each learner, its whole configuration, as metrics see it in ``learner.config``.
    """
    metrics = [name for name in frame.columns if name not in _COORDINATES and name not in levels]
    runs: dict[str, LearnerRun] = {}
    for (index,), rows in frame.group_by("learner", maintain_order=True):
        first = rows.row(0, named=True)
        given = {name: first[name] for name in levels if first[name] is not None}
        recorded = rows.drop_nulls("step").select("step", *metrics).iter_rows(named=True)
        name = _free(first["key"][:_SHOWN], runs)
        runs[name] = LearnerRun(
            name,
            first["key"],
            first["status"],
            {**_configured(documents[int(index)]), **given},
            tuple((row.pop("step"), {n: v for n, v in row.items() if v is not None}) for row in recorded),
        )
    return list(runs.values())


def _free(name: str, taken: Collection[str]) -> str:
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(each for each in names if each not in taken)


def _configured(document: Mapping[str, Any]) -> dict[str, Plain]:
    components = {name: part["value"] for name, part in document["components"].items()}
    return flat({**components, "timeline": [event["value"] for event in document["timeline"]]})


def flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Plain]:
    """Name each plain value of a nested document by its path; lists become JSON.

    >>> flat({"optimizer": {"lr": 0.1, "betas": [0.9, 0.999]}})
    {'optimizer.lr': 0.1, 'optimizer.betas': '[0.9, 0.999]'}
    """
    values: dict[str, Plain] = {}
    for name, value in document.items():
        if isinstance(value, Mapping):
            values.update(flat(value, f"{prefix}{name}."))
        else:
            plain = value is None or isinstance(value, bool | int | float | str)
            values[f"{prefix}{name}"] = value if plain else json.dumps(value)
    return values


def histograms(row: Mapping[str, Value]) -> dict[str, tuple[list[float], list[float]]]:
    """Return the counts and edges of the histograms in a row, by name."""
    found = {}
    for name, counts in row.items():
        stem = name.removesuffix("/counts")
        edges = row.get(f"{stem}/edges")
        if stem != name and isinstance(counts, list) and isinstance(edges, list):
            found[stem] = counts, edges
    return found


def required(module: str, sink: str) -> Any:
    """Import what a sink writes with.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{sink}: {error.name} is not installed; run pip install 'paribus[sinks]', or write with CSV"
        ) from error

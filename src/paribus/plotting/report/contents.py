"""What a report tells, before it is a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import polars as pl

from paribus.analysis import Factor, Table
from paribus.engine.results.frames import History
from paribus.plotting.figure import Figure
from paribus.plotting.report.provenance import Provenance


@final
@dataclass(frozen=True, eq=False)
class Part:
    """What is told of one metric.

    Attributes:
        metric: Its name.
        tables: By the name of the analysis; ``compare`` is the one whose verdicts are told.
        figures: What is drawn of it.
        refused: Why the design does not allow other tables.
    """

    metric: str
    tables: Mapping[str, Table]
    figures: Sequence[Figure] = ()
    refused: Sequence[str] = ()


@final
@dataclass(frozen=True, eq=False)
class Report:
    """Everything that a report tells.

    Attributes:
        question: What was asked, in the user's words; empty where nothing was.
        factors: The factors of the grid.
        results: One row per learner.
        histories: How each learner ended.
        parts: One for each metric that is judged.
        curves: Metrics over training.
        pairs: Metrics of two learners.
        provenance: Where the numbers come from.
        labels: Names to print in place of columns' names, and of metrics.
    """

    question: str
    factors: Sequence[Factor]
    results: pl.DataFrame
    histories: Sequence[History]
    parts: Sequence[Part]
    curves: Sequence[Figure]
    provenance: Provenance
    pairs: Sequence[Figure] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

"""From a store of many learners to polars, and to a table of effects."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from paribus import Experiment, Logger, analysis, register_metric
from paribus.bench.measure import Benchmark, Figure, Timing, middle, side_by_side
from paribus.datasets import blobs
from paribus.engine.building.work import Outcome
from paribus.engine.learners.collection import collection_paused
from paribus.engine.planning.known import Known
from paribus.engine.results.gathering import gathered
from paribus.engine.training.journal import Journal
from paribus.engine.training.ledger import read_families, record_of
from paribus.interventions import InitWeights, SetOptimizer
from paribus.models import MLP
from paribus.store import compact
from paribus.store.record import COLUMNS, encode

_COLUMNS = 6


def measure(learners: int, rows: int, repetitions: int) -> list[Figure]:
    """Fill a store, read it, compact it, and read it again; the file system's cache is warm."""
    with tempfile.TemporaryDirectory() as folder:
        exp = wide_experiment(folder, learners, rows)
        fill(exp, {"six": [f"six/{index}" for index in range(_COLUMNS)]})
        sides: dict[str, Callable[[], object]] = {"reading": _reader(exp), "frame": exp.frame}
        sides |= {"results": exp.results, "compare": lambda: exp.compare("six/0", better="higher")}
        evidence = exp.evidence()
        assert evidence.metrics
        alone = {"alone": lambda: evidence.table(analysis.compare, "six/0", better="higher")}
        before = _timed(sides | alone, repetitions)
        compact(exp.store)
        after = _timed({"reading": sides["reading"], "frame": exp.frame, "lazy": _lazily(exp)}, repetitions)
        exp.store.close()
    of = f"{learners:,} learners × {rows} rows × {_COLUMNS} columns"
    return [
        _figure(f"reading {of} into polars", before["reading"], 0.3),
        _figure("the same, compacted", after["reading"], 0.1),
        _figure(f"exp.frame() of {learners:,} learners, its plan included", before["frame"], 0.5),
        _figure("the same, compacted", after["frame"], 0.5),
        _figure("exp.scan() of them, compacted: one column of one seed in a hundred", after["lazy"]),
        _figure("exp.results() of them", before["results"]),
        _figure("exp.compare() of them, from the store on", before["compare"], 0.5),
        _figure("the same table from the frame in memory", before["alone"], 0.5),
    ]


def _figure(what: str, reached: Timing, target: float | None = None) -> Figure:
    return Figure(what, reached.wall, "s", target, cpu=reached.cpu)


def _timed(sides: dict[str, Callable[[], object]], repetitions: int) -> dict[str, Timing]:
    prepared = {name: (lambda side=side: side) for name, side in sides.items()}
    return {name: middle(times) for name, times in side_by_side(prepared, repetitions).items()}


def _reader(exp: Experiment) -> Callable[[], object]:
    """Return what reads the records of all learners and gathers what is theirs; the plan is made before."""
    session = exp._session
    plan, _ = session.plan()

    @collection_paused()  # as the experiment does
    def read() -> object:
        known = Known(read_families(exp.store, session.configurations))
        return gathered(session.configurations, plan, known, session.digests)

    return read


def _lazily(exp: Experiment) -> Callable[[], object]:
    some = pl.col("InitWeights.seed") % 100 == 0
    return lambda: exp.scan().filter(some).select("learner", "step", "six/0").collect()


class Six(Logger):
    """Six numbers at every step; none is ever computed here."""

    @register_metric(every=1)
    def six(self, learner: Any) -> dict[str, float]:
        """Six numbers."""
        return {f"{index}": float(index) for index in range(_COLUMNS)}


def wide_experiment(store: str | Path, learners: int, rows: int = 50) -> Experiment:
    """Make a grid of momenta and seeds, of which each learner records six numbers in some rows."""
    momenta = 2
    return Experiment(
        MLP(inputs=2, hidden=(8,), outputs=3),
        blobs(),
        [
            InitWeights.make_variations(seed=range(max(1, learners // momenta))),
            SetOptimizer.make_variations(momentum=tuple(0.9 / (i + 1) for i in range(momenta))),
        ],
        steps=rows - 1,
        store=store,
        logger=Six(defaults=False),
    )


def fill(exp: Experiment, columns: Mapping[str, Sequence[str]]) -> None:
    """Write the rows of all learners without training: how they came is not what is measured.

    Args:
        exp: The experiment, of which the store holds nothing.
        columns: The columns that each metric gives.
    """
    tasks = exp.plan().tasks()
    journal = Journal.open(exp.store, exp.work, tasks, 60.0)
    state = exp.store.put(b"state")
    now = time.time()
    rows = []
    for number, task in enumerate(tasks):
        recorded = {name: _rows(number, task.due.get(name, ()), given) for name, given in columns.items()}
        outcome = Outcome(task.key, "done", task.stop, recorded, state=state)
        record = record_of(task, outcome, journal.digests, journal.parts, None)
        rows.append((*encode(replace(record, created=now)), now))
    places = ", ".join("?" * (len(COLUMNS) + 1))
    with exp.store.ledger.transaction() as connection:
        connection.executemany(f"INSERT INTO records ({', '.join(COLUMNS)}, used) VALUES ({places})", rows)


def _rows(number: int, steps: Sequence[int], columns: Sequence[str]) -> dict[str, Any]:
    values = {name: [number + index + step / 100 for step in steps] for index, name in enumerate(columns)}
    return {"steps": list(steps), "values": values}


BENCHMARK = Benchmark(
    "frames",
    "A store of learners with six numbers in each of their rows: records read, verified and gathered into "
    "one polars frame; then the whole of exp.frame(), exp.results() and exp.compare(), the plan and "
    "the comparison of every configuration with the stored one included.",
    {
        "full": {"learners": 10_000, "rows": 50, "repetitions": 7},
        "quick": {"learners": 10_000, "rows": 50, "repetitions": 3},
        "tiny": {"learners": 6, "rows": 3, "repetitions": 1},
    },
    measure,
)

"""Metrics of two learners at one step, computed from their states after both exist."""

from __future__ import annotations

import json
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, final

import polars as pl
import torch
import xxhash

from paribus.engine.building.model import torch_dtype
from paribus.engine.building.preparation import prepared
from paribus.engine.building.work import Work
from paribus.engine.learners.designs import Cell, Level, treatment_of
from paribus.engine.planning.plan import horizon_of
from paribus.engine.running.claiming import POLL_SECONDS, Claimant
from paribus.engine.running.termination import terminated_in_order
from paribus.engine.training.checkpoint import Checkpoint, Replayer
from paribus.engine.training.environment import environment
from paribus.engine.training.observed import Observed, observed_splits
from paribus.engine.training.segment import numerics
from paribus.errors import ExecutionError, MetricError, StoreError, suggest
from paribus.loggers import Metric
from paribus.store import Record, Store

_TAG = b"paribus-pair-1"
CONTROL = "control"
_PAIR_SCHEMA = {
    "metric": pl.String,
    "learner": pl.Int64,
    "other": pl.Int64,
    "step": pl.Int64,
    "name": pl.String,
    "value": pl.Float64,
}


@final
@dataclass(frozen=True, eq=False)
class Pair:
    """One value to compute: a metric of a learner and another one, at a step.

    Attributes:
        metric: What is computed.
        learner: Index of the learner.
        other: Index of the other one.
        step: Optimizer steps taken by both.
        key: Key of the record: a hash of both states and the metric's code.
    """

    metric: Metric
    learner: int
    other: int
    step: int
    key: str


def list_pairs(cells: Sequence[Cell], metrics: Sequence[Metric]) -> list[Pair]:
    """List every value of the pair metrics, in the order of the learners.

    Raises:
        MetricError: A metric pairs with the control and no factor has one, or with no factor of the grid.
    """
    pairs = []
    for metric in metrics:
        digest = metric.digest
        partners = _controls(cells, metric) if metric.pair == CONTROL else _siblings(cells, metric)
        for learner, other in partners:
            one, two = cells[learner].configuration, cells[other].configuration
            for step in two.visible(one.visible(metric.schedule.steps(horizon_of(one)))):
                if step <= two.total:
                    states = bytes.fromhex(one.key(step) + two.key(step))
                    key = xxhash.xxh3_128_hexdigest(_TAG + digest + states)
                    pairs.append(Pair(metric, learner, other, step, key))
    return pairs


def _controls(cells: Sequence[Cell], metric: Metric) -> list[tuple[int, int]]:
    """Pair each learner with the one whose treatments are at control, and all else equal."""
    controlled = {level.factor for cell in cells for level in cell.levels if level.control}
    if not controlled:
        raise MetricError(
            f"{metric.name}: pair='control', and no factor of the grid has a control; mark one level with "
            "control=True"
        )
    groups: dict[object, list[int]] = {}
    for index, cell in enumerate(cells):
        if all(level.control for level in cell.levels if level.factor in controlled):
            groups.setdefault(_others(cell, controlled), []).append(index)
    found, alone = [], []
    for index, cell in enumerate(cells):
        candidates = groups.get(_others(cell, controlled), [])
        if index in candidates:
            continue
        matching = [c for c in candidates if _seeds(cells[c], controlled) == _seeds(cell, controlled)]
        chosen = matching or candidates
        if len(chosen) == 1:
            found.append((index, chosen[0]))
        else:
            alone.append(index)
    if alone:
        warnings.warn(
            f"{metric.name}: {len(alone)} of {len(cells)} learners, as learner {alone[0]}, get no value: "
            "no control, or several, have their seeds; give the control the seeds of the treatment",
            stacklevel=4,
        )
    return found


def _siblings(cells: Sequence[Cell], metric: Metric) -> list[tuple[int, int]]:
    """Pair learners that differ in nothing but one factor, each two once."""
    factors = dict.fromkeys(level.factor for cell in cells for level in cell.levels)
    if metric.pair not in factors:
        raise MetricError(
            f"{metric.name}: pair={metric.pair!r} is no factor of the grid "
            f"{suggest(str(metric.pair), ['control', *factors])}"
        )
    groups: dict[object, list[int]] = {}
    for index, cell in enumerate(cells):
        groups.setdefault(_others(cell, {metric.pair}), []).append(index)
    return [pair for group in groups.values() for pair in combinations(group, 2)]


def _others(cell: Cell, factors: set[str]) -> str:
    """Return the levels of all other factors, as text that is equal where they are."""
    return repr([_told(level) for level in cell.levels if level.factor not in factors])


def _seeds(cell: Cell, factors: set[str]) -> str:
    seeds = []
    for level in cell.levels:
        if level.factor in factors:
            treatment = treatment_of(level)
            values = level.intervention.parameters()
            seeds.append({name: values[name] for name in level.given if name not in treatment})
    return repr(seeds)


def _told(level: Level) -> tuple[str, object]:
    values = level.intervention.parameters()
    return level.factor, [(name, values[name]) for name in level.given]


@final
@dataclass(frozen=True)
class Computed:
    """What became of pair values.

    Attributes:
        values: How many were computed.
        replayed: How many states were replayed for them, since they were not stored.
        failed: For each value that an exception of the user's code lost, the learner and the error.
    """

    values: int = 0
    replayed: int = 0
    failed: tuple[tuple[int, str], ...] = ()


def compute_pairs(
    pairs: Sequence[Pair], cells: Sequence[Cell], work: Work, store: Store, replayer: Replayer
) -> Computed:
    """Compute and commit pair values; where a run does not reach the step, there is none.

    Args:
        pairs: What the store does not hold yet.
        cells: The learners.
        work: What all learners share.
        store: Where values go.
        replayer: Gives any learner at any step.
    """
    values, failed = 0, []
    ordered = sorted(pairs, key=lambda pair: (pair.other, pair.learner, pair.step))
    with terminated_in_order(), Claimant(store) as claimant:
        for pair in _claimed(ordered, claimant, store):
            try:
                store.commit(_record(pair, cells, _values(pair, cells, work, replayer)))
                values += 1
            except ExecutionError:
                continue
            except StoreError:
                raise
            except Exception as error:  # of the user's metric: told at the end, tried again in the next run
                line = "".join(traceback.format_exception_only(error)).strip()
                failed.append((pair.learner, f"{pair.metric.name} at step {pair.step}: {line}"))
    return Computed(values, replayer.replayed, tuple(failed))


def _claimed(pairs: Sequence[Pair], claimant: Claimant, store: Store) -> Iterator[Pair]:
    """Yield each pair that nobody else computes, claimed meanwhile; wait for those of other drivers."""
    while pairs:
        elsewhere = []
        for pair in pairs:
            if not claimant.take(pair.key):
                elsewhere.append(pair)
                continue
            if not store.statuses([pair.key]):
                yield pair
            claimant.give_back(pair.key)
        if elsewhere:
            time.sleep(POLL_SECONDS)
        pairs = elsewhere


def _values(pair: Pair, cells: Sequence[Cell], work: Work, replayer: Replayer) -> Mapping[str, Any]:
    with numerics(cells[pair.learner].configuration.numerics):
        one, two = (
            _observe(cells[index], replayer.at(cells[index].configuration, pair.step), work)
            for index in (pair.learner, pair.other)
        )
        with torch.no_grad():
            return pair.metric.pair_values(one, two)


def _observe(cell: Cell, found: Checkpoint, work: Work) -> Observed:
    numerics = cell.configuration.numerics
    sources = prepared(work, cell.configuration)
    splits = observed_splits(sources, torch.device(numerics.device), torch_dtype(numerics.dtype))
    model = found.model.eval()
    return Observed(model, found.optimizer, work.objective, cell.configuration, splits, found.step)


def _record(pair: Pair, cells: Sequence[Cell], values: Mapping[str, Any]) -> Record:
    states = [cells[index].configuration.key(pair.step) for index in (pair.learner, pair.other)]
    manifest = json.dumps({"metric": pair.metric.digest.hex(), "states": states}, sort_keys=True)
    body: Any = {"name": pair.metric.name, "step": pair.step, "values": dict(values)}
    return Record(pair.key, "pair", "done", manifest, body, {}, dict(environment()))


def control_rows(
    pairs: Sequence[Pair], records: Mapping[str, Record]
) -> dict[int, dict[int, dict[str, Any]]]:
    """Gather what is known of learners and their controls, by learner and step."""
    rows: dict[int, dict[int, dict[str, Any]]] = {}
    for pair in pairs:
        if pair.metric.pair == CONTROL and pair.key in records:
            body: Any = records[pair.key].body
            rows.setdefault(pair.learner, {}).setdefault(pair.step, {}).update(body["values"])
    return rows


def pair_frame(pairs: Sequence[Pair], records: Mapping[str, Record]) -> pl.DataFrame:
    """Make one row per value: metric, learner, other, step, name, value; vectors have one row per entry."""
    rows = []
    for pair in pairs:
        body: Any = records[pair.key].body if pair.key in records else {"values": {}}
        for name, value in body["values"].items():
            values = value if isinstance(value, list) else [value]
            rows += [(pair.metric.name, pair.learner, pair.other, pair.step, name, each) for each in values]
    return pl.DataFrame(rows, schema=_PAIR_SCHEMA, orient="row")

"""From what is stored to frames: column by column, every number with its bits."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from learning_cases import experiment, forked, run
from paribus import Logger, register_metric
from paribus.engine.planning.known import Known
from paribus.interventions import InitWeights, PerturbWeights
from paribus.loggers import Every, Schedule
from paribus.store import unpack

ODD_NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_0ABC))[0]


class Odd(Logger):
    """Values of every kind, each a function of the step alone."""

    @register_metric(every=1)
    def ragged(self, learner: Any) -> list[float]:
        return [float(entry) for entry in range(learner.step % 3)]

    @register_metric(every=1)
    def seldom(self, learner: Any) -> dict[str, Any]:
        return {"even": learner.step, "list": [0.5, math.nan]} if learner.step % 2 == 0 else {}

    @register_metric(every=1)
    def edge(self, learner: Any) -> float:
        return [ODD_NAN, math.inf, -math.inf, -0.0, 5e-324, 0.1, -ODD_NAN][learner.step]

    @register_metric(every=2)
    def nothing(self, learner: Any) -> dict[str, float]:
        return {}


def bits(numbers: list[float]) -> list[bytes]:
    return [struct.pack("<d", number) for number in numbers]


def test_every_kind_of_value_comes_back_as_it_was(folder: Path) -> None:
    exp = experiment(folder, InitWeights.make_variations(seed=range(2)), logger=Odd(defaults=False))
    assert not run(exp).failed
    for frame in (exp.frame().filter(learner=1), exp[1].frame()):
        assert frame["step"].to_list() == list(range(7))
        assert frame["ragged"].to_list() == [list(map(float, range(step % 3))) for step in range(7)]
        assert frame["seldom/even"].to_list() == [0, None, 2, None, 4, None, 6]
        assert [None if row is None else len(row) for row in frame["seldom/list"]] == [2, None] * 3 + [2]
        assert bits(frame["edge"].to_list()) == bits([Odd().edge(At(step)) for step in range(7)])
        assert frame["edge"].null_count() == 0, "NaN is a value"
    assert exp.results().columns[3:] == ["InitWeights.seed", "seldom/even", "edge"]
    assert exp.results()["seldom/even"].to_list() == [6, 6]


class At:
    def __init__(self, step: int) -> None:
        self.step = step


def rows_one_by_one(exp: Any) -> list[dict[str, Any]]:
    """The same frame, as one would read it record by record and value by value."""
    plan, records = exp._session.plan()
    known, digests, rows = Known(records), exp._session.digests, []
    for index, (learner, due) in enumerate(zip(plan.learners, plan.due, strict=True)):
        family, found = exp[index].configuration.family, {}
        states = [(exp[index].configuration.key(0), 0)]
        states += [(plan.segments[place].key, plan.segments[place].stop) for place in learner.path]
        for key, step in states:
            record = known.record(key, family, step)
            recorded = {} if record is None else unpack(record.columns)
            for name, steps in due.items():
                for place, at in enumerate(recorded.get(digests[name], {"steps": []})["steps"]):
                    if at in steps:
                        values = recorded[digests[name]]["values"].items()
                        row = found.setdefault(at, {"learner": index, "step": at})
                        row.update({n: column[place] for n, column in values if column[place] is not None})
        rows += [found[step] for step in sorted(found)]
    return rows


@pytest.mark.parametrize(("schedule", "defaults"), [(Every(1), True), (Every(2), True), (Every(5), False)])
def test_a_frame_is_what_one_reads_value_by_value(folder: Path, schedule: Schedule, defaults: bool) -> None:
    run(experiment(folder, [*forked(), InitWeights.make_variations(seed=range(2))]))
    logger = Odd(schedule=schedule, defaults=defaults)
    exp = experiment(folder, [*forked(), InitWeights.make_variations(seed=range(3))], logger=logger)
    run(exp)
    rows = rows_one_by_one(exp)
    frame = exp.frame()
    names = [name for name in frame.columns if name in {name for row in rows for name in row}]
    assert frame.height == len(rows) > len(exp)
    told = [
        {name: value for name, value in row.items() if value is not None}
        for row in frame.select(names).to_dicts()
    ]
    assert repr([dict(sorted(row.items())) for row in told]) == repr(
        [dict(sorted(row.items())) for row in rows]
    )


def test_learners_without_rows_are_rows_without_a_step(folder: Path) -> None:
    exp = experiment(folder, InitWeights.make_variations(seed=range(2)))
    assert exp.frame().select("learner", "status", "step", "epoch").rows() == [
        (0, "missing", None, None),
        (1, "missing", None, None),
    ]
    run(experiment(folder, InitWeights.make_variations(seed=range(1))))
    assert exp.frame().filter(learner=1)["step"].to_list() == [None]
    assert exp.results()["test/loss"].is_null().to_list() == [False, True]
    assert exp[1].frame().height == 1


def test_a_state_that_was_passed_through_is_known(folder: Path) -> None:
    long = experiment(folder, PerturbWeights(epsilon=0.1, step=2))
    run(long)
    for steps in (3, 5):
        short = experiment(folder, PerturbWeights(epsilon=0.1, step=2), steps=steps)
        configuration = short[0].configuration
        known = Known(short._session.plan()[1])
        found = known.stored(configuration.key(), configuration.family, steps)
        assert (found is not None) is (steps == 3), "the metrics are due at the ends of epochs, of 3 steps"
        assert known.stored("0" * 32, configuration.family, steps) is None
    assert known.stored(long[0].key, long[0].configuration.family, 6).state is not None


def test_levels_are_typed_columns(folder: Path) -> None:
    exp = experiment(folder, InitWeights.make_variations(seed=range(2)))
    assert exp.frame().schema["InitWeights.seed"] == pl.Int64

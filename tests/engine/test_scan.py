"""The lazy frame: the rows of the eager one, whatever is asked of it, read a batch of learners at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from learning_cases import FailsFrom, experiment, forked, run
from paribus import Experiment, Logger, register_metric
from paribus.engine.results import scanning
from paribus.engine.results.scanning import conjuncts
from paribus.interventions import InitWeights, PerturbWeights, SetOptimizer
from paribus.loggers import distance
from paribus.store import Store, compact

SEEDS = 7
COLUMN = pl.col


class Mixed(Logger):
    """A number, a vector, values that some learners alone have, and one of two learners."""

    @register_metric(every=2)
    def norm(self, learner: Any) -> float:
        return float(sum(parameter.norm() for parameter in learner.model.parameters()))

    @register_metric(every=3)
    def some(self, learner: Any) -> Any:
        rate = learner.optimizer.param_groups[0]["lr"]
        return {"list": [1.0, 2.0]} if rate > 0.2 else {"list": 0.5, "small": learner.step}

    @register_metric(on="end", pair="InitWeights")
    def apart(self, learner: Any, other: Any) -> float:
        return distance(learner, other)


@pytest.fixture(scope="module")
def exp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Experiment]:
    """Learners that are done, that failed, and that are missing, in a store of which a part is compacted."""
    folder = tmp_path_factory.mktemp("scan")
    rates = SetOptimizer.make_variations(lr=(0.1, 0.3))

    def made(seeds: int) -> Experiment:
        grid = [InitWeights.make_variations(seed=range(seeds)), rates]
        return experiment(folder, grid, model=FailsFrom, logger=Mixed(defaults=False))

    run(made(SEEDS - 2))
    compact(made(1).store)
    run(made(SEEDS - 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "_LEARNERS", 3)
        patch.setattr("paribus.store.store._FEW", 2)
        yield made(SEEDS)


def test_it_is_the_eager_frame(exp: Experiment) -> None:
    eager = exp.frame()
    assert set(eager["status"]) == {"done", "failed", "missing"}
    assert eager.schema["some/list"] == pl.List(pl.Float64)
    lazy = exp.scan()
    assert lazy.collect_schema() == eager.schema
    assert_frame_equal(lazy.collect(), eager)


CONDITIONS = st.sampled_from(
    [
        COLUMN("learner") > 3,
        COLUMN("status") == "done",
        COLUMN("InitWeights.seed").is_in([0, 3]),
        COLUMN("SetOptimizer.lr") < 0.2,
        COLUMN("step") % 2 == 0,
        COLUMN("step") == 999,
        COLUMN("norm") > 2.0,
        COLUMN("norm").is_null(),
        COLUMN("some/list").list.len() > 1,
        COLUMN("learner") * 2 > COLUMN("step"),
        pl.lit(True),
    ]
)
EXPRESSIONS = st.recursive(
    CONDITIONS,
    lambda part: (
        st.tuples(part, part).map(lambda two: two[0] & two[1])
        | st.tuples(part, part).map(lambda two: two[0] | two[1])
        | part.map(lambda one: ~one)
    ),
    max_leaves=4,
)
COLUMNS = [
    "learner",
    "key",
    "status",
    "InitWeights.seed",
    "SetOptimizer.lr",
    "step",
    "epoch",
    "norm",
    "some/list",
]


@given(
    EXPRESSIONS,
    st.none() | st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=4, unique=True),
    st.none() | st.integers(0, 30),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_same_rows_whatever_is_asked(
    exp: Experiment, condition: pl.Expr, columns: list[str] | None, count: int | None, first: bool
) -> None:
    def asked(frame: Any) -> Any:
        limited = frame if count is None or not first else frame.head(count)
        found = limited.filter(condition)
        found = found if columns is None else found.select(columns)
        return found if count is None or first else found.head(count)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_frame_equal(asked(exp.scan()).collect(), asked(exp.frame()))


@given(EXPRESSIONS)
@settings(max_examples=30, deadline=None)
def test_a_condition_is_what_its_parts_are_together(condition: pl.Expr) -> None:
    frame = pl.DataFrame(
        {"learner": [1, 2, 9], "status": ["done", "x", "done"], "step": [0, 1, 999]}
    ).with_columns(
        pl.lit(0).alias("InitWeights.seed"),
        pl.lit(0.1).alias("SetOptimizer.lr"),
        pl.Series("norm", [1.0, None, 3.0]),
        pl.Series("some/list", [[1.0], [1.0, 2.0], None]),
    )
    assert_frame_equal(frame.filter(*conjuncts(condition)), frame.filter(condition))


def test_only_the_batches_that_are_asked_for_are_read(
    exp: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    relatives = Store.relatives

    def counted(self: Store, families: Any, *, numbers: bool = True) -> Any:
        wanted = set(families)
        found = relatives(self, wanted, numbers=numbers)
        if numbers:
            asked.append(len(wanted))
        else:
            assert not any(len(record.columns.numbers) for record in found.values())
        return found

    monkeypatch.setattr(Store, "relatives", counted)
    lazy = exp.scan()
    assert asked == [], "nothing that was recorded is read before it is collected"
    lazy.collect()
    assert asked == [3, 3, 3, 3, 2]
    asked.clear()
    lazy.filter((COLUMN("InitWeights.seed") == 2) & (COLUMN("norm") > 0)).collect()
    assert asked == [2]
    asked.clear()
    lazy.head(2).collect()
    assert asked == [3]


def test_a_tree_is_scanned_by_its_paths(folder: Path) -> None:
    exp = experiment(folder, forked())
    run(exp)
    assert_frame_equal(exp.scan().collect(), exp.frame())


def test_what_was_not_trained_is_scanned_too(folder: Path) -> None:
    exp = experiment(folder, PerturbWeights.make_variations(epsilon=(0.1, 0.2)))
    assert_frame_equal(exp.scan().collect(), exp.frame())

"""The data as it is prepared for a learner: kept, counted, and scored under shuffled features."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning_cases import POINTS, experiment, run, states
from paribus import permutation_importance
from paribus.datasets import FrameDataset, passengers
from paribus.engine.building import preparation
from paribus.engine.building.preparation import prepared
from paribus.errors import DataError, LevelError, MetricError
from paribus.interventions import AblateFeatures, Classes, FlipLabels, Slices, SubsetSamples
from paribus.models import MLP

TABLE = FrameDataset(passengers(200), label="survived")


def trained_on_passengers(folder: Path, **options: Any) -> Any:
    exp = experiment(folder, dataset=TABLE, model=MLP(len(TABLE.columns), (8,), 2), steps=40, **options)
    run(exp)
    return exp


def test_what_was_prepared_is_kept_and_the_oldest_goes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exp = experiment(folder, FlipLabels.make_variations(rate=(0.1, 0.2, 0.3)))
    first, second, third = (learner.configuration for learner in exp)
    held = prepared(exp.work, first)
    assert prepared(exp.work, first) is held
    assert prepared(exp.work, second) is not held
    monkeypatch.setattr(preparation, "_HELD_BYTES", 1)
    newest = prepared(exp.work, third)
    assert prepared(exp.work, third) is newest
    assert prepared(exp.work, first) is not held


def test_the_base_is_prepared_by_nothing(folder: Path) -> None:
    exp = experiment(folder)
    assert prepared(exp.work, exp[0].configuration) is exp.work.splits


@given(fraction=st.floats(0.01, 1))
def test_the_outline_counts_what_the_data_gives(fraction: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        exp = experiment(Path(folder), SubsetSamples(fraction))
        configuration = exp[0].configuration
        assert configuration.samples == prepared(exp.work, configuration)["train"].samples


def test_what_depends_on_the_labels_is_counted_by_reading_them(folder: Path) -> None:
    exp = experiment(folder, AblateFeatures(Classes(1)), epochs=2)
    left = int((POINTS["train"].tensors[1] != 1).sum())
    assert exp[0].configuration.samples == left
    assert exp[0].configuration.total == 2 * -(-left // 16)
    assert not run(exp).failed


def test_data_of_which_nothing_is_left_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="no training sample is left"):
        experiment(folder, SubsetSamples(indices=()))


def test_the_data_is_in_the_key_as_it_was_given(folder: Path) -> None:
    control, half = (
        each.configuration for each in experiment(folder, SubsetSamples.make_variations(fraction=(1, 0.5)))
    )
    assert control.components["data"].digest == half.components["data"].digest
    assert control.components["preparation"].digest != half.components["preparation"].digest
    assert control.key(0) != half.key(0)


def test_a_column_that_decides_costs_most_where_it_is_shuffled(folder: Path) -> None:
    exp = trained_on_passengers(folder)
    before = states(exp)
    scores = permutation_importance(exp[0], ["sex", "parch", ("sibsp", "parch")], repeats=3)
    means = scores.group_by("feature", maintain_order=True).agg(pl.col("loss_increase").mean())
    assert means["feature"].to_list() == ["sex", "parch", "sibsp, parch"]
    assert means["loss_increase"][0] > 2 * max(means["loss_increase"][1:])
    assert scores.equals(permutation_importance(exp[0], ["sex", "parch", ("sibsp", "parch")], repeats=3))
    base = exp.results()["test/loss"][0]
    assert (scores["loss"] - scores["loss_increase"]).to_list() == pytest.approx([base] * 9)
    assert states(exp) == before, "nothing is trained, and nothing stored"


def test_importance_of_an_ablated_feature_is_zero(folder: Path) -> None:
    exp = experiment(folder, AblateFeatures(Slices(0), "zero"))
    run(exp)
    scores = permutation_importance(exp[0], [Slices(0), Slices(1)], split="train", step=6, repeats=2)
    assert scores["loss_increase"].to_list()[:2] == [0, 0]
    assert all(scores["loss_increase"].to_list()[2:])


def test_importance_of_what_is_not_there_is_refused(folder: Path) -> None:
    exp = trained_on_passengers(folder)
    with pytest.raises(LevelError, match="'sx' is no column of the table"):
        permutation_importance(exp[0], ["sx"])
    with pytest.raises(MetricError, match=r"'tset' is no split .*did you mean 'test'"):
        permutation_importance(exp[0], ["sex"], split="tset")

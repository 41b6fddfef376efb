"""Metrics through the engine: schedules, kinds of values, late and changed metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from learning_cases import experiment, forked, run, states
from paribus import Logger, register_metric
from paribus.interventions import InitWeights, PerturbMomentum, PerturbWeights
from paribus.loggers import Histogram, On


class Kinds(Logger):
    @register_metric
    def scalar(self, learner: Any) -> torch.Tensor:
        return torch.norm(learner.model.fc1.weight)

    @register_metric(every=2)
    def vector(self, learner: Any) -> torch.Tensor:
        return learner.model.fc2.bias

    @register_metric(on="end")
    def parts(self, learner: Any) -> dict[str, Any]:
        return {"a": 1, "b": {"c": torch.tensor(2.0)}}

    @register_metric(at=[0, 5, 99])
    def weights(self, learner: Any) -> Histogram:
        return Histogram.of(learner.model.fc1.weight, bins=4)

    @register_metric(on="intervention")
    def edge(self, learner: Any) -> int:
        return learner.step

    @register_metric(on="epoch")
    def confidence(self, learner: Any, split: str) -> torch.Tensor:
        return learner.predictions(split).outputs.softmax(1).amax(1).mean()

    @register_metric(on="epoch")
    def told(self, learner: Any) -> dict[str, float]:
        assert learner.config["step"] == 6
        return {
            "epoch": learner.epoch,
            "lr": learner.optimizer.param_groups[0]["lr"],
            "n": len(learner.splits["test"]),
        }


def steps_with(frame: pl.DataFrame, column: str) -> list[int]:
    return frame.filter(pl.col(column).is_not_null())["step"].to_list()


def test_metrics_of_all_kinds_are_in_the_frame(folder: Path) -> None:
    exp = experiment(folder, PerturbMomentum(0.5, when=(2, 4)), logger=Kinds())
    assert not run(exp).failed
    frame = exp.frame()
    assert frame["step"].to_list() == [0, 2, 3, 4, 5, 6]
    assert frame["epoch"].to_list() == [step / 3 for step in (0, 2, 3, 4, 5, 6)]
    due = {
        "train/loss": [0, 3, 6],
        "test/accuracy": [0, 3, 6],
        "scalar": [0, 3, 6],
        "vector": [0, 2, 4, 6],
        "parts/a": [6],
        "parts/b/c": [6],
        "weights/counts": [0, 5],
        "edge": [2, 4],
        "train/confidence": [3, 6],
        "told/epoch": [3, 6],
    }
    assert {name: steps_with(frame, name) for name in due} == due
    assert frame["edge"].drop_nulls().to_list() == [2, 4]
    assert frame["told/epoch"].drop_nulls().to_list() == [1, 2]
    assert frame["told/n"].drop_nulls().to_list() == [16, 16]
    assert [len(value) for value in frame["vector"].drop_nulls()] == [3] * 4
    assert sum(frame["weights/counts"][0]) == 32
    assert "parts/a" in exp.results().columns
    assert "vector" not in exp.results().columns


def test_what_is_recorded_is_what_the_checkpoint_is(folder: Path) -> None:
    exp = experiment(folder, forked(), logger=Kinds())
    run(exp)
    for learner in exp:
        norms = dict(
            learner.frame().filter(pl.col("scalar").is_not_null()).select("step", "scalar").iter_rows()
        )
        for step, norm in norms.items():
            assert torch.norm(learner.checkpoint(step).model.fc1.weight).item() == norm


def test_by_default_loss_and_accuracy_at_start_epochs_and_end(folder: Path) -> None:
    exp = experiment(folder, steps=7)
    run(exp)
    assert exp.frame()["step"].to_list() == [0, 3, 6, 7]
    assert {"train/loss", "test/loss", "train/accuracy", "test/accuracy"} <= set(exp.frame().columns)


def test_a_metric_added_later_is_recorded_and_nothing_else_changes(tmp_path: Path) -> None:
    run(experiment(tmp_path / "late", forked()))
    late = experiment(tmp_path / "late", forked(), logger=Kinds())
    assert not run(late).failed
    at_once = experiment(tmp_path / "once", forked(), logger=Kinds())
    run(at_once)
    assert states(late) == states(at_once)
    columns = sorted(at_once.frame().columns)
    assert late.frame().select(columns).equals(at_once.frame().select(columns))
    assert run(late).steps_trained == 0


def test_rows_of_both_loggers_survive(folder: Path) -> None:
    run(experiment(folder, forked(), logger=Logger()))
    run(experiment(folder, forked(), logger=Kinds(defaults=False)))
    for logger in (Logger(), Kinds(defaults=False), Kinds()):
        exp = experiment(folder, forked(), logger=logger)
        assert run(exp).steps_trained == 0
        assert exp.frame().null_count()["step"][0] == 0


def logger_that_multiplies_by(factor: float) -> Logger:
    class Changing(Logger):
        @register_metric(on="end")
        def changing(self, learner: Any) -> float:
            return factor * 2.0

    return Changing()


def test_a_metric_whose_code_changed_is_recorded_again(folder: Path) -> None:
    for factor in (1.0, 3.0, 1.0):
        exp = experiment(folder, logger=logger_that_multiplies_by(factor))
        run(exp)
        assert exp.results()["changing"].to_list() == [2 * factor]
    assert experiment(folder, logger=logger_that_multiplies_by(3.0)).plan().cached == 1


def test_metrics_of_equal_code_and_different_names_are_two(folder: Path) -> None:
    class One(Logger):
        @register_metric(on="end")
        def one(self, learner: Any) -> float:
            return 1.0

    class Two(Logger):
        @register_metric(on="end")
        def one(self, learner: Any) -> float:
            return 1.0

        @register_metric(on="end")
        def two(self, learner: Any) -> float:
            return 1.0

    run(experiment(folder, logger=One()))
    exp = experiment(folder, logger=Two())
    run(exp)
    assert exp.results().select("one", "two").rows() == [(1.0, 1.0)]


def test_a_trunks_metrics_belong_to_every_learner_above_it(folder: Path) -> None:
    exp = experiment(
        folder, PerturbMomentum.make_variations(momentum=(0.5, 0.1), when=(5, 6)), logger=Logger(On("step"))
    )
    run(exp)
    curves = [learner.frame()["train/loss"].to_list() for learner in exp]
    assert [len(curve) for curve in curves] == [7, 7]
    assert curves[0][:6] == curves[1][:6]
    assert curves[0][6] != curves[1][6]


def test_each_learner_has_its_own_due_steps(folder: Path) -> None:
    """The trunk records the edges of all windows; a learner shows its own."""
    windows = PerturbMomentum.make_variations(momentum=0.5, when=((1, 2), (4, 5)))
    exp = experiment(folder, windows, logger=Kinds(defaults=False))
    run(exp)
    assert [steps_with(learner.frame(), "edge") for learner in exp] == [[1, 2], [4, 5]]


def test_levels_are_typed_columns(folder: Path) -> None:
    exp = experiment(
        folder,
        [
            InitWeights.make_variations(seed=range(2)),
            PerturbWeights(epsilon=0.1) + PerturbMomentum(momentum=1, when=(0, 2)),
        ],
    )
    run(exp)
    schema = exp.results().schema
    assert schema["learner"] == schema["InitWeights.seed"] == pl.Int64
    assert schema["PerturbWeights.epsilon"] == schema["PerturbMomentum.momentum"] == pl.Float64
    assert schema["PerturbMomentum.when"] == pl.String
    assert exp.results()["PerturbMomentum.when"].to_list() == [None, "0–2", None, "0–2"]
    assert exp.results()["PerturbWeights.epsilon"].to_list() == [0.1, None, 0.1, None]


@pytest.mark.parametrize(
    ("value", "told"),
    [(None, "return the value"), ("x", "convert it to a number"), (torch.zeros(2, 2), "flatten")],
)
def test_a_metric_that_returns_no_value_is_a_failure_that_says_so(
    value: Any, told: str, folder: Path
) -> None:
    class Wrong(Logger):
        @register_metric(on="end")
        def wrong(self, learner: Any) -> Any:
            return value

    summary = run(experiment(folder, logger=Wrong()))
    assert told in summary.failed[0][1]
    assert "wrong" in summary.failed[0][1]

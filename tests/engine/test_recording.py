"""Metrics through the engine: schedules, kinds of values, late and changed metrics."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from learning_cases import experiment, forked, run, states
from paribus import Logger, register_metric
from paribus.engine.building import data
from paribus.interventions import InitWeights, PerturbMomentum, PerturbWeights
from paribus.loggers import Every, Histogram, On, first_when
from paribus.models import MLP


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


class Broken(Logger):
    @register_metric
    def sound(self, learner: Any) -> float:
        return float(learner.step)

    @register_metric
    def broken(self, learner: Any) -> float:
        return 1 / (learner.step - 3) if os.environ.get(BROKEN) else 2.0


BROKEN = "PARIBUS_TEST_BROKEN"  # not in the code that is fingerprinted: mended or not, the metric is one


def test_an_exception_fails_the_metric_alone_and_is_tried_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = experiment(tmp_path / "sound", forked(), logger=Broken())
    run(sound)
    monkeypatch.setenv(BROKEN, "1")
    exp = experiment(folder, forked(), logger=Broken())
    summary = run(exp)
    assert not summary.failed
    assert summary.broken == (("broken", "at step 3: ZeroDivisionError: division by zero"),)
    assert "metric 'broken' failed at step 3: ZeroDivisionError" in str(summary)
    assert states(exp) == states(sound)
    frame = exp.frame().filter(pl.col("learner") == 0)
    assert steps_with(frame, "broken") == [0, 6]
    assert steps_with(frame, "sound") == [0, 3, 6]
    assert run(exp).broken, "the next run tries again"
    monkeypatch.delenv(BROKEN)
    assert not run(exp).broken
    assert steps_with(exp.frame().filter(pl.col("learner") == 0), "broken") == [0, 3, 6]
    assert run(exp).steps_trained == 0


def test_workers_bring_home_what_failed(folder: Path) -> None:
    class Failing(Logger):
        @register_metric(on="end")
        def failing(self, learner: Any) -> float:
            raise RuntimeError("in a worker")

    summary = run(experiment(folder, logger=Failing()), "local", workers=1)
    assert summary.broken == (("failing", "at step 6: RuntimeError: in a worker"),)
    assert not summary.failed


def test_a_strict_logger_fails_the_learner(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BROKEN, "1")
    exp = experiment(folder, logger=Broken(strict=True))
    summary = run(exp)
    assert "ZeroDivisionError" in summary.failed[0][1]
    assert not summary.broken
    assert "in broken" in exp[0].history.traceback
    monkeypatch.delenv(BROKEN)
    assert experiment(folder, logger=Broken()).plan().cached == 0
    assert not run(exp).failed


def test_strictness_is_in_no_key(folder: Path) -> None:
    run(experiment(folder, logger=Kinds()))
    assert run(experiment(folder, logger=Kinds(strict=True))).steps_trained == 0


@pytest.mark.parametrize("strict", [False, True])
def test_a_metric_that_changes_the_model_fails_the_learner(folder: Path, strict: bool) -> None:
    class Meddling(Logger):
        @register_metric(at=[3])
        def meddling(self, learner: Any) -> float:
            learner.model.fc1.weight.mul_(2)
            raise RuntimeError("after the deed")

    summary = run(experiment(folder, logger=Meddling(strict=strict)))
    assert len(summary.failed) == 1
    assert ("after the deed" if strict else "changed the model") in summary.failed[0][1]


def test_a_metric_that_swaps_parameters_for_equal_ones_fails_the_learner(folder: Path) -> None:
    class Swapping(Logger):
        @register_metric(at=[3])
        def swapping(self, learner: Any) -> float:
            learner.model.fc1.weight = nn.Parameter(learner.model.fc1.weight.clone())  # none trains it
            return 0.0

    summary = run(experiment(folder, logger=Swapping()))
    assert "swapping: the metric changed the model" in summary.failed[0][1]


class Arrival(Logger):
    @register_metric(schedule=first_when(lambda learner: learner.predictions("train").loss < 1.0, Every(1)))
    def arrived(self, learner: Any) -> int:
        return learner.step


def arrivals(exp: Any) -> list[Any]:
    return [learner.frame()["arrived"].drop_nulls().to_list() for learner in exp]


def expected_arrivals(store: Path, **options: Any) -> list[list[float]]:
    exp = experiment(store, forked(), logger=Logger(On("step")), **options)
    run(exp)
    losses = [learner.frame().select("step", "train/loss").rows() for learner in exp]
    return [[float(step) for step, loss in curve if loss < 1.0][:1] for curve in losses]


def test_first_when_is_the_first_step_at_which_the_condition_holds(folder: Path, tmp_path: Path) -> None:
    exp = experiment(folder, forked(), logger=Arrival(defaults=False), steps=9)
    run(exp)
    assert arrivals(exp) == expected_arrivals(tmp_path / "by hand", steps=9)
    assert any(arrivals(exp))
    assert exp.frame().filter(pl.col("step").is_not_null())["arrived"].null_count() == 0
    assert run(exp).steps_trained == 0


@settings(max_examples=5)
@given(cuts=st.sets(st.integers(1, 8), max_size=3), shorter=st.sampled_from([None, 2, 5, 7]))
def test_first_when_is_one_however_a_run_is_cut(cuts: set[int], shorter: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if shorter is not None:
            run(experiment(f"{folder}/cut", forked(), logger=Arrival(defaults=False), steps=shorter))
        exp = experiment(
            f"{folder}/cut",
            forked(),
            logger=Arrival(defaults=False),
            steps=9,
            checkpoints=sorted(cuts) or None,
        )
        run(exp)
        assert arrivals(exp) == expected_arrivals(Path(folder, "by hand"), steps=9)


def test_first_when_added_late_is_the_same(folder: Path, tmp_path: Path) -> None:
    """Some steps are evaluated at stored states, where nothing is known of the others; some are replayed."""
    run(experiment(folder, forked(), steps=9, checkpoints=[2, 5, 8]))
    late = experiment(folder, forked(), logger=Arrival(), steps=9)
    assert not run(late).broken
    assert arrivals(late) == expected_arrivals(tmp_path / "by hand", steps=9)
    assert run(late).steps_trained == 0


def test_there_is_no_first_step_while_one_before_it_is_unknown(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BROKEN, "1")
    exp = experiment(folder, logger=Late(defaults=False))
    assert "at step 2" in run(exp).broken[0][1]
    assert "late" not in exp.frame().columns or arrivals_of(exp, "late") == []
    monkeypatch.delenv(BROKEN)
    run(exp)
    assert arrivals_of(exp, "late") == [2]


def arrivals_of(exp: Any, name: str) -> list[float]:
    return exp.frame()[name].drop_nulls().to_list()


class Late(Logger):
    @register_metric(schedule=first_when(lambda learner: learner.step >= 2, Every(1)))
    def late(self, learner: Any) -> int:
        if os.environ.get(BROKEN) and learner.step == 2:
            raise RuntimeError("not yet")
        return learner.step


def test_the_code_of_a_condition_counts(folder: Path) -> None:
    def logger(bound: int) -> Logger:
        class Waiting(Logger):
            @register_metric(schedule=first_when(lambda learner: learner.step >= bound, Every(1)))
            def waiting(self, learner: Any) -> int:
                return learner.step

        return Waiting(defaults=False)

    for bound in (2, 4, 2):
        exp = experiment(folder, logger=logger(bound))
        run(exp)
        assert arrivals_of(exp, "waiting") == [bound]


class Streams(Logger):
    @register_metric(stream="test")
    def streamed(self, learner: Any, batches: Any) -> dict[str, float]:
        right = samples = loss = 0.0
        for batch in batches:
            assert batch.inputs.shape == (len(batch.targets), 4)
            right += float(batch.correct.sum())
            loss += batch.loss * len(batch.targets)
            samples += len(batch.targets)
        return {"accuracy": right / samples, "loss": loss / samples}


def test_a_streamed_metric_is_computed_batch_by_batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "EVALUATION_BATCH", 5)
    exp = experiment(folder, forked(), logger=Streams())
    assert not run(exp).broken
    frame = exp.frame()
    assert frame["test/streamed/accuracy"].equals(frame["test/accuracy"], check_names=False)
    losses = frame.select(pl.col("test/streamed/loss") - pl.col("test/loss")).to_series()
    assert losses.abs().max() < 1e-6  # type: ignore[operator]


def test_what_a_streamed_metric_draws_does_not_reach_the_model(folder: Path, tmp_path: Path) -> None:
    """Nor the other way round: each has its own generator, however they take turns."""

    class Drawing(Logger):
        @register_metric(stream="test", on="end")
        def drawn(self, learner: Any, batches: Any) -> list[float]:
            return [float(torch.rand(()) * 0 + batch.outputs.sum()) for batch in batches]

    class Silent(Logger):
        @register_metric(stream="test", on="end")
        def drawn(self, learner: Any, batches: Any) -> list[float]:
            return [float(batch.outputs.sum()) for batch in batches]

    values = []
    for name, logger in (("drawing", Drawing()), ("silent", Silent())):
        exp = experiment(tmp_path / name, model=AlwaysDrops(), logger=logger)
        assert not run(exp).broken
        values.append(exp.frame()["test/drawn"].drop_nulls().to_list())
    assert values[0] == values[1]


class AlwaysDrops(nn.Module):
    """Drops at random in evaluation too."""

    def __init__(self) -> None:
        super().__init__()
        self.body = MLP(4, (8,), 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(self.body(inputs), 0.5, training=True)


def test_a_stream_of_no_split_fails_the_metric_with_the_mend(folder: Path) -> None:
    class Misspelt(Logger):
        @register_metric(stream="tets")
        def misspelt(self, learner: Any, batches: Any) -> int:
            return sum(1 for _ in batches)

    summary = run(experiment(folder, logger=Misspelt()))
    assert "'tets' is no split (train, test); did you mean 'test'?" in summary.broken[0][1]


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
    name, error = summary.broken[0]
    assert name == "wrong"
    assert told in error

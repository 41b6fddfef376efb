"""Sinks, each read back with the package that it is for, offline."""

from __future__ import annotations

import csv
import itertools
import json
import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from learning_cases import experiment, forked, run
from paribus import Logger
from paribus.errors import ConfigurationError
from paribus.loggers.sinks import CSV, LearnerRun, MLflow, Sink, TensorBoard, WandB, choose_sink, learner_runs

KEYS = ["a" * 32, "b" * 32]
FRAME = pl.DataFrame(
    {
        "learner": [0, 0, 1],
        "key": [KEYS[0], KEYS[0], KEYS[1]],
        "status": ["done", "done", "failed"],
        "SetOptimizer.momentum": [0.9, 0.9, None],
        "step": [0, 10, None],
        "epoch": [0.0, 1.0, None],
        "test/loss": [2.5, 0.1, None],
        "weights/counts": [[1.0, 3.0], None, None],
        "weights/edges": [[0.0, 1.0, 2.0], None, None],
    },
    schema_overrides={"step": pl.Int64},
)
DOCUMENT = {
    "components": {
        "optimizer": {"digest": "", "value": {"kind": "SGD", "lr": 0.01, "betas": [1, 2], "foreach": None}},
        "model": {"digest": "", "value": "MLP"},
    },
    "timeline": [{"value": {"kind": "PerturbMomentum", "when": [0, 5]}}],
}


def runs(frame: pl.DataFrame = FRAME) -> list[LearnerRun]:
    return learner_runs(frame, ["SetOptimizer.momentum"], [DOCUMENT, DOCUMENT])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_frame_is_cut_into_runs() -> None:
    first, second = runs()
    assert (first.name, first.key, first.status) == (KEYS[0][:16], KEYS[0], "done")
    assert first.hyperparameters == {
        "optimizer.kind": "SGD",
        "optimizer.lr": 0.01,
        "optimizer.betas": "[1, 2]",
        "optimizer.foreach": None,
        "model": "MLP",
        "timeline": '[{"kind": "PerturbMomentum", "when": [0, 5]}]',
        "SetOptimizer.momentum": 0.9,
    }
    assert first.scalars == [(0, {"test/loss": 2.5}), (10, {"test/loss": 0.1})]
    assert first.rows[0][1]["weights/counts"] == [1.0, 3.0]
    assert second.rows == ()
    assert "SetOptimizer.momentum" not in second.hyperparameters


def test_learners_that_share_a_key_are_two_runs() -> None:
    twins = FRAME.with_columns(key=pl.lit(KEYS[0]))
    assert [run.name for run in runs(twins)] == [KEYS[0][:16], f"{KEYS[0][:16]}-2"]


def test_csv_has_every_number_and_equal_bytes(tmp_path: Path) -> None:
    CSV(tmp_path).write(runs())
    before = contents(tmp_path)
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[1] == [KEYS[0][:16], "0", "test/loss", "2.5"]
    assert [KEYS[0][:16], "0", "weights/edges", "[0.0, 1.0, 2.0]"] in rows
    with (tmp_path / "learners.csv").open() as file:
        learners = list(csv.DictReader(file))
    assert [row["status"] for row in learners] == ["done", "failed"]
    assert [row["SetOptimizer.momentum"] for row in learners] == ["0.9", ""]
    CSV(tmp_path).write(runs())
    assert contents(tmp_path) == before
    assert set(before) == {"learners.csv", "metrics.csv"}


def test_tensorboard_reads_back_what_was_written_and_equal_bytes(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    TensorBoard(tmp_path).write(runs())
    before = contents(tmp_path)
    read = EventAccumulator(str(tmp_path / KEYS[0][:16]))
    read.Reload()
    assert [(e.step, e.value) for e in read.Scalars("test/loss")] == [(0, 2.5), (10, pytest.approx(0.1))]
    histogram = read.Histograms("weights")[0].histogram_value
    assert (histogram.bucket, histogram.bucket_limit) == ([1.0, 3.0], [1.0, 2.0])
    hyperparameters = read.summary_metadata[metadata.SESSION_START_INFO_TAG]
    started = HParamsPluginData.FromString(hyperparameters.plugin_data.content).session_start_info
    assert started.hparams["SetOptimizer.momentum"].number_value == 0.9
    TensorBoard(tmp_path).write(runs())
    assert contents(tmp_path) == before


@pytest.mark.filterwarnings("ignore")  # of SQLAlchemy and others, inside MLflow
def test_mlflow_has_each_learner_once_and_completes_it(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    MLflow(tmp_path).write(runs(FRAME.filter(pl.col("step").fill_null(0) == 0)))
    MLflow(tmp_path).write(runs())
    MLflow(tmp_path).write(runs())
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("paribus")
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(found) == sorted(key[:16] for key in KEYS)
    first, second = (found[key[:16]] for key in KEYS)
    history = client.get_metric_history(first.info.run_id, "test/loss")
    assert [(m.step, m.value) for m in history] == [(0, 2.5), (10, 0.1)]
    assert first.data.params["SetOptimizer.momentum"] == "0.9"
    assert first.data.tags["paribus.key"] == KEYS[0]
    assert (first.info.status, second.info.status) == ("FINISHED", "FAILED")


@pytest.mark.filterwarnings("ignore")  # inside W&B
def test_wandb_offline_has_each_learner_once_and_replaces_it(tmp_path: Path) -> None:
    for frame in (FRAME.filter(pl.col("step").fill_null(0) == 0), FRAME, FRAME):
        WandB(tmp_path).write(runs(frame))
    folders = sorted((tmp_path / "wandb").glob("offline-run-*"), key=lambda folder: folder.name[-1])
    assert [folder.name.rsplit("-", 1)[1] for folder in folders] == [key[:16] for key in KEYS]
    records = list(wandb_records(next(folders[0].glob("*.wandb"))))
    config = {item.key: item.value_json for r in records for item in r.run.config.update}
    assert json.loads(config["SetOptimizer.momentum"]) == 0.9
    history = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in r.history.item}
        for r in records
        if r.history.item
    ]
    assert [(row["_step"], row["test/loss"]) for row in history] == [(0, 2.5), (10, 0.1)]
    assert history[0]["weights/values"] == [1, 3]


def wandb_records(path: Path) -> Iterator[Any]:
    """Read W&B's file: LevelDB's log format, records cut into fragments within blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts = path.read_bytes(), 7, b""
    while place < len(data):
        if 2**15 - place % 2**15 < 7:
            place += 2**15 - place % 2**15
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield Record.FromString(parts)
            parts = b""


def test_values_that_are_not_finite_are_written(tmp_path: Path) -> None:
    diverged = FRAME.with_columns(pl.lit(math.nan).alias("test/loss"))
    CSV(tmp_path).write(runs(diverged))
    TensorBoard(tmp_path).write(runs(diverged))
    assert "nan" in (tmp_path / "metrics.csv").read_text()


def test_sinks_are_chosen_by_name(tmp_path: Path) -> None:
    assert choose_sink("csv", str(tmp_path), {}) == CSV(str(tmp_path))
    assert choose_sink("mlflow", "x", {"experiment": "mine"}) == MLflow("x", "mine")
    sink = TensorBoard(tmp_path)
    assert choose_sink(sink, "", {}) is sink
    with pytest.raises(ConfigurationError, match=r"'tensorbord' is no sink .*did you mean 'tensorboard'"):
        choose_sink("tensorbord", "x", {})


@pytest.mark.parametrize(
    ("sink", "module"),
    [(TensorBoard("x"), "tensorboard"), (MLflow("x"), "mlflow"), (WandB("x"), "wandb")],
    ids=str,
)
def test_a_missing_package_is_one_sentence_with_the_mend(
    sink: Sink, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [n for n in sys.modules if n.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(module), *sys.meta_path])
    with pytest.raises(ConfigurationError, match=rf"{module} is not installed; run pip install"):
        sink.write(runs())


class Absent:
    """Makes a package look as if it were not installed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name: str, *_: object) -> None:
        if name.split(".")[0] == self.name:
            raise ModuleNotFoundError(f"No module named {self.name!r}", name=self.name)


@pytest.mark.parametrize("sink", ["csv", "tensorboard"])
def test_an_experiment_writes_itself_and_equal_bytes(sink: str, folder: Path, tmp_path: Path) -> None:
    exp = experiment(folder, forked())
    run(exp)
    exp.to(sink, tmp_path / "out")
    before = contents(tmp_path / "out")
    run(experiment(folder, forked(), logger=Logger()))
    exp.to(sink, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    if sink == "csv":
        text = (tmp_path / "out" / "metrics.csv").read_text()
        rows = list(csv.DictReader(text.splitlines()))
        losses = exp.frame().drop_nulls("test/loss")["test/loss"].to_list()
        assert [float(row["value"]) for row in rows if row["name"] == "test/loss"] == losses


def test_histograms_need_both_halves() -> None:
    from paribus.loggers.sinks.base import histograms

    halves = {"a/counts": [1.0], "a/edges": [0.0, 1.0]}
    for size in range(2):
        for some in itertools.combinations(halves.items(), size):
            assert histograms(dict(some)) == {}
    assert histograms(halves) == {"a": ([1.0], [0.0, 1.0])}

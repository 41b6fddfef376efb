"""The façade: what a user sees of an experiment."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import paribus
from learning_cases import POINTS, experiment, forked, run
from paribus import Experiment
from paribus.interventions import InitWeights, PerturbWeights
from paribus.models import MLP


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    exp = experiment(
        tmp_path_factory.mktemp("study"),
        [
            InitWeights.make_variations(seed=range(3)),
            PerturbWeights.make_variations(epsilon=0, control=True),
            PerturbWeights.make_variations(epsilon=(0.1, 3.0)),
        ],
    )
    run(exp)
    return exp


def test_an_experiment_is_a_sequence_of_learners(study: Experiment) -> None:
    assert len(study) == 9
    assert [learner.index for learner in study] == list(range(9))
    assert study[-1].key == study[8].key
    assert len({learner.key for learner in study}) == 9
    assert study[4].levels == {"InitWeights.seed": 1, "PerturbWeights.epsilon": 0.1}
    assert study[4].status == "done"


def test_frames_have_the_columns_of_the_contract(study: Experiment) -> None:
    results, frame = study.results(), study.frame()
    levels = ["learner", "key", "status", "InitWeights.seed", "PerturbWeights.epsilon"]
    metrics = {"train/loss", "test/loss", "train/accuracy", "test/accuracy"}
    assert results.columns[:5] == levels
    assert frame.columns[:7] == [*levels, "step", "epoch"]
    assert set(results.columns[5:]) == set(frame.columns[7:]) == metrics
    assert results["learner"].to_list() == list(range(9))
    assert results["key"].to_list() == [learner.key for learner in study]
    assert len(frame) == 9 * 3
    last = frame.filter(pl.col("step") == 6).select("learner", "test/loss")
    assert last.equals(results.select("learner", "test/loss"))


def test_before_any_run_every_learner_is_a_row_that_is_missing(folder: Path) -> None:
    exp = experiment(folder, forked())
    assert exp.frame()["step"].to_list() == [None] * len(exp)
    assert set(exp.results()["status"]) == {"missing"}


def test_effects_are_paired_with_the_control(study: Experiment) -> None:
    (factor,) = [factor for factor in study.factors if factor.control is not None]
    assert (factor.name, factor.control) == ("PerturbWeights", {"PerturbWeights.epsilon": 0.0})
    assert factor.treatments == ("PerturbWeights.epsilon",)
    assert [f.replicates for f in study.factors if f.name == "InitWeights"] == [("InitWeights.seed",)]
    assert "Paired effects on test/loss (lower is better) against epsilon = 0" in str(
        study.compare("test/loss")
    )


def test_plots_are_written(study: Experiment, tmp_path: Path) -> None:
    summary = run(study, plot=True, figures=tmp_path / "figures")
    assert summary.steps_trained == 0
    assert summary.files
    assert all(Path(file).is_file() for file in summary.files)
    assert study.plot("test/loss", x="step") is not None


def test_representations(study: Experiment) -> None:
    assert repr(study).startswith("Experiment(InitWeights × PerturbWeights: 9 learners, store ")
    assert study._repr_html_().startswith("<div><b>Experiment(InitWeights × PerturbWeights: 9 learners")
    assert "6 learners and 3 controls: 9 cached, 0 to run" in study._repr_html_()
    assert study[4].key[:8] in repr(study[4])
    assert "InitWeights.seed=1" in repr(study[4])
    assert study[4].key in study[4]._repr_html_()


def test_a_learners_own_frame(study: Experiment) -> None:
    frame = study[4].frame()
    assert "learner" not in frame.columns
    assert frame["step"].to_list() == [0, 3, 6]
    whole = study.frame().filter(pl.col("learner") == 4).drop("learner")
    assert frame.equals(whole)


def test_the_store_is_named_by_argument_environment_or_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = partial(Experiment, MLP(4, (8,), 3), POINTS, steps=1)
    assert Path(make(store=tmp_path / "given").store.path) == tmp_path / "given"
    monkeypatch.setenv("PARIBUS_STORE", str(tmp_path / "named"))
    assert Path(make().store.path) == tmp_path / "named"
    monkeypatch.delenv("PARIBUS_STORE")
    monkeypatch.chdir(tmp_path)
    assert Path(make().store.path).resolve() == tmp_path / ".paribus"


def test_the_defaults_are_those_a_person_would_choose(folder: Path) -> None:
    exp = Experiment(MLP(4, (8,), 3), POINTS, store=folder)
    configuration = exp[0].configuration
    assert configuration.optimizer.kind is torch.optim.SGD
    assert (configuration.optimizer["lr"], configuration.optimizer["momentum"]) == (0.01, 0.9)
    assert configuration.training.batch_size == 32
    assert configuration.total == 5 * 2, "5 epochs"
    assert configuration.numerics.threads == 1


def test_progress_is_told_and_can_be_silent(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment(folder).run(progress=False)
    assert capsys.readouterr().out == ""
    experiment(folder, InitWeights(seed=1)).run()
    assert "6 steps trained" in capsys.readouterr().out


def test_every_public_name_is_there() -> None:
    for name in paribus.__all__:
        assert getattr(paribus, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Exprement'"):
        paribus.Exprement  # noqa: B018


def test_importing_paribus_is_quick() -> None:
    """It loads neither torch nor polars nor matplotlib."""
    script = "import sys, paribus; print(*{'torch', 'polars', 'matplotlib', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_two_experiments_share_a_store(folder: Path) -> None:
    run(experiment(folder, InitWeights.make_variations(seed=range(3))))
    other: Any = experiment(folder, InitWeights.make_variations(seed=(2, 3)))
    assert other.plan().cached == 1
    assert run(other).steps_trained == 6

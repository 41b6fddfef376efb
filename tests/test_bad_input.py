"""Bad input: a one-sentence error that names the thing, what was got and the mend, before any training."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from learning_cases import POINTS, experiment, run
from paribus import Logger, leave_one_out, register_metric
from paribus.errors import (
    AnalysisError,
    ConfigurationError,
    DataError,
    FingerprintError,
    LevelError,
    MetricError,
    ObjectiveError,
    ParibusError,
    StoreError,
)
from paribus.interventions import (
    InitWeights,
    PerturbHyperparameter,
    PerturbMomentum,
    PerturbWeights,
    SetHyperparameter,
    SetOptimizer,
    StepDecay,
)

Case = tuple[Callable[[], dict[str, Any]], type[ParibusError], str]


class Lengthless(torch.utils.data.Dataset[Any]):
    def __getitem__(self, index: int) -> Any:
        return torch.zeros(4), 0


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield torch.zeros(4), 0


class Free(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs[:, :3] * self.scale


class TwoOfAName(Logger):
    @register_metric
    def one(self, learner: Any) -> dict[str, float]:
        return {"a": 1.0}


def per_sample(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def as_number(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return nn.functional.cross_entropy(outputs, targets).item()


def detached(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs, targets).detach()


def frozen() -> nn.Module:
    return nn.Linear(4, 3).requires_grad_(False)


WRITTEN: dict[str, Case] = {
    "unknown parameter": (
        lambda: {"interventions": PerturbWeights.make_variations(epsilom=0.1)},
        LevelError,
        r"PerturbWeights: 'epsilom' is no parameter of it \(epsilon, seed, .*\); did you mean 'epsilon'\?",
    ),
    "unknown hyperparameter": (
        lambda: {"interventions": SetOptimizer.make_variations(momentun=(0.1, 0.9))},
        LevelError,
        r"SetOptimizer: 'momentun' is no hyperparameter of SGD \(lr, momentum.*\); did you mean 'momentum'\?",
    ),
    "hyperparameter of another class": (
        lambda: {"interventions": SetOptimizer(torch.optim.Adam, momentum=0.5)},
        LevelError,
        r"SetOptimizer: 'momentum' is no hyperparameter of Adam \(lr, betas",
    ),
    "hyperparameter of the base": (
        lambda: {"optimizer": partial(torch.optim.SGD, momentun=0.5)},
        LevelError,
        r"'momentun' is no hyperparameter of SGD .*did you mean 'momentum'\?",
    ),
    "momentum where there is none": (
        lambda: {"optimizer": torch.optim.Adagrad, "interventions": PerturbMomentum(0.5, when=(0, 3))},
        LevelError,
        "Adagrad has no momentum; use an optimizer with 'momentum' or 'betas'",
    ),
    "callable level of an unknown hyperparameter": (
        lambda: {"interventions": SetOptimizer.make_variations(beta=lambda b: b / 2)},
        LevelError,
        r"SGD has no hyperparameter 'beta' \(lr",
    ),
    "empty levels": (
        lambda: {"interventions": InitWeights.make_variations(seed=range(0))},
        LevelError,
        "InitWeights: 'seed' has no levels, so the grid is empty; give at least one value",
    ),
    "empty grid": (
        lambda: {"interventions": sum_of_nothing()},
        LevelError,
        "interventions: the grid is empty; give at least one level to each intervention",
    ),
    "NaN level": (
        lambda: {"interventions": PerturbWeights.make_variations(epsilon=(0.1, float("nan")))},
        LevelError,
        "PerturbWeights: a level of 'epsilon' is NaN; give a number, or leave the level out",
    ),
    "two controls": (
        lambda: {
            "interventions": [
                PerturbWeights.make_variations(epsilon=0, control=True),
                PerturbWeights.make_variations(epsilon=1, control=True),
            ]
        },
        LevelError,
        "PerturbWeights: two controls, .*mark only one level with control=True",
    ),
    "an intervention class": (
        lambda: {"interventions": [PerturbWeights]},
        LevelError,
        "interventions: <class .*PerturbWeights'> is no intervention; expected PerturbWeights",
    ),
    "interventions that are none": (
        lambda: {"interventions": ["PerturbWeights"]},
        LevelError,
        "interventions: 'PerturbWeights' is no intervention; expected",
    ),
    "interventions that cannot be listed": (
        lambda: {"interventions": 5},
        LevelError,
        "interventions: 5 is no intervention; expected",
    ),
    "steps of zero": (
        lambda: {"steps": 0},
        ConfigurationError,
        "steps=0; expected a whole number of at least 1",
    ),
    "steps below zero": (lambda: {"steps": -5}, ConfigurationError, "steps=-5; expected a whole number"),
    "steps and a half": (lambda: {"steps": 1.5}, ConfigurationError, "steps=1.5; expected a whole number"),
    "steps of truth": (lambda: {"steps": True}, ConfigurationError, "steps=True; expected a whole number"),
    "epochs of zero": (
        lambda: {"epochs": 0},
        ConfigurationError,
        "epochs=0; expected a whole number of at least 1",
    ),
    "steps and epochs": (
        lambda: {"steps": 5, "epochs": 5},
        ConfigurationError,
        "steps=5 and epochs=5; give exactly one of the two",
    ),
    "batch size": (
        lambda: {"batch_size": 0},
        ConfigurationError,
        "batch_size=0; expected a whole number of at least 1",
    ),
    "batch size of half": (
        lambda: {"batch_size": 0.5},
        ConfigurationError,
        "batch_size=0.5; expected a whole",
    ),
    "dtype": (
        lambda: {"dtype": "float23"},
        ConfigurationError,
        "dtype: 'float23' is no floating dtype of torch; give",
    ),
    "integer dtype": (lambda: {"dtype": "int64"}, ConfigurationError, "dtype: 'int64' is no floating dtype"),
    "device": (
        lambda: {"device": "cupu"},
        ConfigurationError,
        "device='cupu'; expected a device type .*'cpu'",
    ),
    "threads": (
        lambda: {"threads": 0},
        ConfigurationError,
        "threads=0 is no whole number >= 1; give an integer",
    ),
    "seed": (lambda: {"seed": 1.5}, ConfigurationError, "seed=1.5 is no whole number >= 0"),
    "seed below zero": (lambda: {"seed": -1}, ConfigurationError, "seed=-1 is no whole number >= 0"),
    "schedule": (
        lambda: {"schedule": "cosine"},
        ConfigurationError,
        r"schedule: got 'cosine'; expected Cosine\(\)",
    ),
    "schedule class": (
        lambda: {"schedule": StepDecay},
        ConfigurationError,
        r"schedule: got <class .*; expected",
    ),
    "optimizer by name": (
        lambda: {"optimizer": "SGD"},
        ConfigurationError,
        "optimizer: got 'SGD'; expected a class",
    ),
    "optimizer that is made": (
        lambda: {"optimizer": torch.optim.SGD(nn.Linear(1, 1).parameters())},
        ConfigurationError,
        "expected a class such as torch.optim.SGD",
    ),
    "optimizer with places": (
        lambda: {"optimizer": partial(torch.optim.SGD, 0.1)},
        ConfigurationError,
        r"has positional arguments; name them: partial\(SGD, lr=0.1\)",
    ),
    "weights": (lambda: {"weights": "new"}, ConfigurationError, "weights='new'; expected 'draw' or 'keep'"),
    "model": (
        lambda: {"model": 5},
        ConfigurationError,
        "model: got 5; expected a torch.nn.Module, or a factory",
    ),
    "kept weights of a factory": (
        lambda: {"model": Free, "weights": "keep"},
        ConfigurationError,
        "weights='keep' needs a module with weights, and model= is a factory",
    ),
    "parameters that cannot be redrawn": (
        lambda: {"model": Free()},
        ConfigurationError,
        r"model: the parameter 'scale' cannot be drawn anew.*give a factory .*or weights='keep'",
    ),
    "loss by name": (
        lambda: {"loss": "cross_entropi"},
        ObjectiveError,
        r"loss: 'cross_entropi' is no loss \(cross_entropy, mse\); did you mean 'cross_entropy'\?",
    ),
    "loss class": (lambda: {"loss": nn.CrossEntropyLoss}, ObjectiveError, r"such as nn.CrossEntropyLoss\(\)"),
    "loss and objective": (
        lambda: {"loss": "mse", "objective": per_sample},
        ObjectiveError,
        "loss= and objective= are both given; give one of the two",
    ),
    "objective": (lambda: {"objective": 5}, ObjectiveError, "objective: 5 cannot be called; give a function"),
    "logger": (lambda: {"logger": Logger}, ConfigurationError, "logger: got <class .*; expected an instance"),
    "dataset without length": (
        lambda: {"dataset": (Lengthless(), POINTS["test"])},
        DataError,
        "train: Lengthless has no length or no indexing.*give a map-style Dataset",
    ),
    "stream of samples": (
        lambda: {"dataset": Stream()},
        DataError,
        "dataset: Stream has no length or no indexing",
    ),
    "loader": (
        lambda: {"dataset": DataLoader(POINTS["train"])},
        DataError,
        "dataset: DataLoader has no length or no indexing.*map-style Dataset",
    ),
    "empty dataset": (
        lambda: {"dataset": (TensorDataset(torch.zeros(0, 4)), POINTS["test"])},
        DataError,
        "train: the data set is empty; give at least one sample",
    ),
    "no train split": (
        lambda: {"dataset": {"trian": POINTS["train"]}},
        DataError,
        r"dataset: got the splits \('trian',\); expected one named 'train'",
    ),
    "test fraction": (
        lambda: {"dataset": POINTS["train"], "test_fraction": 1.5},
        DataError,
        "test_fraction=1.5; expected a share between 0 and 1",
    ),
    "one sample": (
        lambda: {"dataset": TensorDataset(*POINTS["train"][:1])},
        DataError,
        "dataset: 1 samples cannot be split with test_fraction=0.2; give more samples",
    ),
    "samples that are no pair": (
        lambda: {"dataset": (TensorDataset(torch.zeros(5, 4)),) * 2},
        ObjectiveError,
        r"loss: a sample is .*, no pair \(inputs, targets\); give objective=",
    ),
    "samples that make no batch": (
        lambda: {"dataset": ([(object(), 0)] * 5, [(object(), 0)] * 5)},
        DataError,
        "train: a sample of type tuple cannot be put into a batch",
    ),
    "window backwards": (
        lambda: {"interventions": PerturbMomentum.make_variations(momentum=0.5, when=(5, 2))},
        LevelError,
        r"PerturbMomentum: the window \(5, 2\) runs backwards; expected 0 <= start <= stop, in steps",
    ),
    "perturbed hyperparameter that is no number": (
        lambda: {"interventions": PerturbHyperparameter(lr="high", when=(0, 2))},  # type: ignore[arg-type]
        LevelError,
        "PerturbHyperparameter: lr='high' is no number; give a float",
    ),
    "hyperparameter that is no number": (
        lambda: {"interventions": SetHyperparameter(lr="high")},  # type: ignore[arg-type]
        LevelError,
        "SetHyperparameter: lr='high' is no number; give a float",
    ),
    "noise of no size": (
        lambda: {"interventions": PerturbWeights(epsilon=float("nan"))},
        LevelError,
        "PerturbWeights: epsilon=nan is no number; give a float",
    ),
    "model that has no identity": (
        lambda: {"loss": partial(nn.functional.cross_entropy, weight=iter([1]))},
        FingerprintError,
        "version=|exclude",
    ),
}


def sum_of_nothing() -> Any:
    from paribus.interventions import Union

    return [Union(()), leave_one_out()][:1]


def is_one_sentence(message: str) -> bool:
    return "\n" not in message and len(message) < 500 and not message.endswith(".")


@pytest.mark.parametrize("case", WRITTEN)
def test_wrong_experiments_are_refused_where_they_are_written(case: str, folder: Path) -> None:
    options, kind, told = WRITTEN[case]
    with pytest.raises(kind, match=told) as caught:
        experiment(folder, **options())
    assert is_one_sentence(str(caught.value)), caught.value
    assert not folder.exists(), "a store was made for an experiment that cannot be run"


RUN: dict[str, tuple[dict[str, Any], dict[str, Any], type[ParibusError], str]] = {
    "bad hyperparameter": (
        {"interventions": SetOptimizer.make_variations(lr=(0.1, -1.0))},
        {},
        LevelError,
        "SGD: Invalid learning rate: -1.0; give a value that it accepts",
    ),
    "hyperparameter of another type": (
        {"interventions": SetOptimizer.make_variations(lr=("0.1", 0.2))},
        {},
        LevelError,
        "SGD: .*; give a value that it accepts",
    ),
    "loaders": (
        {"loaders": -1},
        {},
        ConfigurationError,
        "loaders=-1 is no whole number >= 0; give an integer",
    ),
    "loss vector": (
        {"loss": per_sample},
        {},
        ObjectiveError,
        r"shape \(16,\); expected a scalar: reduce it with",
    ),
    "loss number": ({"loss": as_number}, {}, ObjectiveError, "loss: got a float; expected a scalar tensor"),
    "loss detached": (
        {"loss": detached},
        {},
        ObjectiveError,
        "does not depend on any parameter.*do not detach it",
    ),
    "nothing to train": ({"model": frozen()}, {}, ObjectiveError, "leave at least one parameter trainable"),
    "shapes": (
        {"loss": "mse"},
        {},
        ObjectiveError,
        r"loss 'mse': outputs \(16, 3\) and targets \(16,\) differ",
    ),
    "factory of no module": (
        {"model": lambda: 5},
        {},
        ConfigurationError,
        "made a int; expected a factory of torch.nn.Module",
    ),
    "executor": (
        {},
        {"executor": "joblob"},
        ConfigurationError,
        r"'joblob' is no executor .*did you mean 'joblib'\?",
    ),
    "workers of serial": (
        {},
        {"workers": 2},
        ConfigurationError,
        "has one worker, got workers=2; use 'local'",
    ),
    "no workers": (
        {},
        {"executor": "joblib", "workers": 0},
        ConfigurationError,
        "workers=0; expected at least 1",
    ),
}


@pytest.mark.parametrize("case", RUN)
def test_what_cannot_be_trained_is_refused_before_training(case: str, folder: Path) -> None:
    options, run_options, kind, told = RUN[case]
    exp = experiment(folder, **({"interventions": InitWeights.make_variations(seed=range(2))} | options))
    with pytest.raises(kind, match=told) as caught:
        run(exp, **run_options)
    assert is_one_sentence(str(caught.value)), caught.value
    assert exp.results()["status"].to_list() == ["missing", "missing"]
    assert exp.store.records([learner.key for learner in exp]) == {}
    assert not exp.plan().states


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("s3x://bucket/runs", "s3x://bucket/runs could not be used: Protocol not known: s3x; see whether"),
        (Path("sftp://host/runs"), 'sftp://host/runs could not be used: .*"paramiko"'),
        ("file:///proc/runs", "file:///proc/runs"),
    ],
)
def test_an_address_where_no_object_can_be_put_is_refused(
    address: str | Path, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=told) as caught:
        experiment(address)
    assert is_one_sentence(str(caught.value))
    assert not [*tmp_path.iterdir()]


def test_a_store_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file") as caught:
        experiment(tmp_path / "file")
    assert is_one_sentence(str(caught.value))


def test_a_store_that_cannot_be_written_is_refused_before_training(folder: Path) -> None:
    run(experiment(folder))
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        if os.access(folder / "probe", os.W_OK) or os.geteuid() == 0:
            pytest.skip("the super-user writes everywhere")
        exp = experiment(folder, InitWeights(seed=1))
        with pytest.raises(StoreError, match=r"read-only|cannot be written"):
            run(exp)
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)


def test_unknown_names_of_metrics_and_splits_are_told_with_the_nearest(folder: Path) -> None:
    class Misspelt(Logger):
        @register_metric(on="end")
        def wrong(self, learner: Any) -> float:
            return learner.predictions("tets").loss  # type: ignore[no-any-return]

    exp = experiment(folder, logger=Misspelt(), interventions=InitWeights.make_variations(seed=range(2)))
    summary = run(exp)
    assert "'tets' is no split (train, test); did you mean 'test'?" in summary.broken[0][1]
    sound = experiment(folder, InitWeights.make_variations(seed=range(2)))
    run(sound)
    for ask in (sound.plot, sound.compare):
        with pytest.raises(
            AnalysisError, match=r"'test/acuracy' was not recorded .*did you mean 'test/accuracy'\?"
        ):
            ask("test/acuracy")


def test_a_metric_schedule_of_nothing_is_refused() -> None:
    with pytest.raises(MetricError, match="expected"):
        register_metric(every=0)
    with pytest.raises(MetricError, match="did you mean 'epoch'"):
        register_metric(on="epohc")  # type: ignore[call-overload]


def test_a_learner_that_is_not_there(folder: Path) -> None:
    exp = experiment(folder)
    with pytest.raises(IndexError, match="there is no learner 3; expected 0 to 0"):
        exp[3]

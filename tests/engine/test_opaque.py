"""Training in the user's own function: opaque between its ends, and a learner like any other outside."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learning_cases import QUIET, Stochastic, experiment, run, states
from paribus import Logger, Median, Search, TrainableLearner, register_metric
from paribus.errors import ConfigurationError, LevelError, MetricError, ParibusError
from paribus.interventions import (
    AblateLayers,
    ClipGradients,
    Cosine,
    Float,
    FreezeWeights,
    InitWeights,
    InterpolateWeights,
    PerturbMomentum,
    PerturbWeights,
    PruneWeights,
    ResetMomentumBuffer,
    SetBatchSize,
    SetOptimizer,
    SetOption,
    SetSchedule,
    ZeroActivations,
)

SEEDS = InitWeights.make_variations(seed=range(2))
PRUNED = Search("test/loss", "minimize", trials=2, pruner=Median())


def fit(learner: TrainableLearner) -> None:
    for step, batch in enumerate(learner.batches(), start=1):
        learner.optimizer.zero_grad()
        loss = learner.loss(batch)
        loss.backward()
        learner.optimizer.step()
        learner.report(step, batch_loss=loss)


def test_the_engines_own_loop_gives_the_engines_bits(tmp_path: Path) -> None:
    grid = [SEEDS, SetOptimizer.make_variations(lr=(0.1, 0.01)), PerturbWeights(epsilon=0.1)]
    own, engine = (experiment(tmp_path / name, grid, train=t) for name, t in [("own", fit), ("engine", None)])
    assert run(own).steps_trained == 4 * 6
    run(engine)
    assert states(own) == states(engine)
    assert {each.key for each in own}.isdisjoint(each.key for each in engine)
    shared = engine.frame().filter(engine.frame()["step"].is_in([0, 6]))["test/loss"]
    assert own.frame()["test/loss"].drop_nulls().equals(shared)


def test_the_bits_do_not_depend_on_the_executor_and_a_second_run_trains_nothing(tmp_path: Path) -> None:
    serial, local = (
        experiment(tmp_path / name, InitWeights.make_variations(seed=range(3)), model=Stochastic(), train=fit)
        for name in ("serial", "local")
    )
    run(serial)
    run(local, "local", workers=2)
    assert states(serial) == states(local)
    assert serial.frame().equals(local.frame())
    assert run(serial).steps_trained == 0
    assert serial.plan().cached == 3


def test_what_is_reported_is_recorded_beside_the_metrics_of_start_and_end(folder: Path) -> None:
    exp = experiment(folder, SEEDS, train=fit)
    run(exp)
    frame = exp[0].frame()
    assert frame["step"].to_list() == list(range(7))
    assert [step for step in range(7) if frame["batch_loss"][step] is not None] == [1, 2, 3, 4, 5, 6]
    assert [step for step in range(7) if frame["test/loss"][step] is not None] == [0, 6]
    assert exp.results()["batch_loss"].null_count() == 0
    assert exp.evidence().metrics[-1] == "batch_loss"


def test_a_metric_is_added_later_without_training(folder: Path) -> None:
    class Norms(Logger):
        @register_metric(every=2)
        def norm(self, learner: Any) -> object:
            return learner.model.fc1.weight.norm()

    run(experiment(folder, SEEDS, train=fit))
    exp = experiment(folder, SEEDS, train=fit, logger=Norms())
    assert run(exp).steps_trained == 0
    assert exp[0].frame()["norm"].count() == 2
    assert exp[0].frame()["batch_loss"].count() == 6


def test_a_longer_run_is_another_one(folder: Path) -> None:
    run(experiment(folder, train=fit, steps=4))
    exp = experiment(folder, train=fit, steps=6)
    assert exp.plan().steps_to_train == 6


CODE = """
def size(): return {size}

def fit(learner):
    learner.report(0, size=size())  {comment}
"""


def loaded(folder: Path, monkeypatch: pytest.MonkeyPatch, **parts: object) -> Callable[[Any], None]:
    place = folder / "-".join(map(str, parts.values())).replace("#", "")
    place.mkdir()
    (place / "own_training.py").write_text(CODE.format(**parts), encoding="utf-8")
    monkeypatch.syspath_prepend(place)
    sys.modules.pop("own_training", None)
    function: Callable[[Any], None] = importlib.import_module("own_training").fit
    return function


def test_its_code_is_in_the_key_with_what_it_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def key(**parts: object) -> str:
        return experiment(tmp_path / "store", train=loaded(tmp_path, monkeypatch, **parts))[0].key

    base = key(size=1, comment="")
    assert key(size=1, comment="# said") == base
    assert key(size=2, comment="") != base
    assert experiment(tmp_path / "store")[0].key != base


def test_explain_tells_another_function(folder: Path) -> None:
    def other(learner: Any) -> None:
        fit(learner)
        fit(learner)

    run(experiment(folder, train=fit))
    assert "train" in str(experiment(folder, train=other).explain(0))
    assert "without train=" in str(experiment(folder).explain(0))


def test_levels_reach_the_function(folder: Path) -> None:
    def tell(learner: TrainableLearner) -> None:
        lr = learner.optimizer.param_groups[0]["lr"]
        assert learner.settings["lr"] == lr
        learner.report(learner.steps, lr=lr, mixup=learner.settings.get("mixup", -1.0))
        learner.report(learner.steps, batch=learner.settings["batch_size"], seed=learner.seeds["init"])

    grid = [
        InitWeights(seed=3),
        SetOptimizer.make_variations(lr=(0.1, 0.2)),
        SetOption.make_variations(mixup=(0.5, 0.0)),
        SetBatchSize(8),
    ]
    exp = experiment(folder, grid, train=tell)
    run(exp)
    results = exp.results()
    assert results["lr"].to_list() == results["SetOptimizer.lr"].to_list() == [0.1, 0.1, 0.2, 0.2]
    assert results["mixup"].to_list() == results["SetOption.mixup"].to_list() == [0.5, 0.0] * 2
    assert set(results["batch"]) == {8.0}
    assert set(results["seed"]) == {3.0}


def test_options_are_searched(folder: Path) -> None:
    def tell(learner: TrainableLearner) -> None:
        learner.report(learner.steps, chosen=learner.settings["mixup"])

    search = Search("test/loss", "minimize", trials=3, sampler="random")
    exp = experiment(folder, SetOption(mixup=Float(0.5, 1.0)), train=tell, search=search)
    run(exp)
    assert exp.results()["chosen"].is_between(0.5, 1.0).all()
    assert exp.results()["chosen"].n_unique() == 3
    assert run(exp).steps_trained == 0


def test_it_gets_the_changed_model_before_its_first_step(tmp_path: Path) -> None:
    grid = [PerturbWeights(epsilon=0.1), AblateLayers("relu1")]
    given: list[torch.Tensor] = []

    def look(learner: Any) -> None:
        given.extend(tensor.clone() for tensor in learner.model.parameters())

    run(experiment(tmp_path / "own", grid, train=look, depends_on=[1]))
    engine = experiment(tmp_path / "engine", grid)
    run(engine)
    assert all(map(torch.equal, given, engine[0].checkpoint(0).model.parameters()))


def test_batches_are_those_of_the_order_stream_epoch_by_epoch(folder: Path) -> None:
    def compare(learner: TrainableLearner) -> None:
        assert learner.epochs == 3
        assert [len(learner.batches(epoch)) for epoch in range(learner.epochs)] == [3, 3, 1]
        epochs = [batch for epoch in range(learner.epochs) for batch in learner.batches(epoch)]
        all_of_them = list(learner.batches())
        assert len(epochs) == len(all_of_them) == learner.steps == 7
        assert all(torch.equal(one[0], two[0]) for one, two in zip(epochs, all_of_them, strict=True))
        assert len(learner.data["test"]) == sum(len(batch[1]) for batch in learner.data["test"].batches())

    assert not run(experiment(folder, SetBatchSize(16, when=(0, 7)), train=compare, steps=7)).failed


def test_draws_are_of_the_forward_stream_and_move_no_others(folder: Path) -> None:
    def draw(learner: TrainableLearner) -> None:
        learner.report(0, drawn=torch.rand(()))

    exp = experiment(folder, SEEDS, train=draw, logger=QUIET)
    before = torch.get_rng_state()
    run(exp)
    assert torch.equal(torch.get_rng_state(), before)
    drawn = exp.frame()["drawn"].drop_nulls()
    assert len(drawn) == 2
    assert drawn.n_unique() == 1
    other = experiment(folder, train=draw, seed=1, logger=QUIET)
    run(other)
    assert other.frame()["drawn"][0] != drawn[0]


def test_states_are_those_of_start_and_end(folder: Path) -> None:
    exp = experiment(folder, train=fit)
    run(exp)
    assert [exp[0].checkpoint(step).step for step in (0, 6)] == [0, 6]
    with pytest.raises(
        ConfigurationError, match="step=3 is inside training that train= hides; expected 0 or 6"
    ):
        exp[0].checkpoint(3)


def test_a_failure_is_recorded_and_stops_nobody_else(folder: Path) -> None:
    def fails(learner: TrainableLearner) -> None:
        if learner.seeds["init"] == 1:
            raise RuntimeError("this one cannot be trained")

    exp = experiment(folder, SEEDS, train=fails)
    assert run(exp).failed == ((1, "RuntimeError: this one cannot be trained"),)
    assert exp.results()["status"].to_list() == ["done", "failed"]
    assert "raise RuntimeError" in exp[1].history.traceback


def test_weights_that_are_not_finite_are_a_result(folder: Path) -> None:
    @torch.no_grad()
    def explode(learner: Any) -> None:
        learner.model.fc1.weight.fill_(math.nan)

    exp = experiment(folder, train=explode)
    run(exp)
    assert exp.results()["status"].to_list() == ["diverged"]
    assert run(exp).steps_trained == 0


def returns(learner: Any) -> float:
    return 0.5


def grows(learner: Any) -> None:
    learner.model.add_module("more", nn.Linear(2, 2))


def replaces(learner: Any) -> None:
    learner.model = nn.Linear(2, 2)


def reporting(*reports: tuple[object, dict[str, Any]]) -> Callable[[Any], None]:
    def report(learner: Any) -> None:
        for step, values in reports:
            learner.report(step, **values)

    return report


@pytest.mark.parametrize(
    ("train", "told"),
    [
        pytest.param(returns, "train: returns returned a float, and nothing is made of it", id="returns"),
        pytest.param(grows, "train: grows left 'more.weight' of the model as", id="grows"),
        pytest.param(replaces, "cannot assign to field 'model'", id="replaces"),
        pytest.param(reporting((7, {"a": 1})), "step=7; expected a whole number from 0", id="beyond"),
        pytest.param(
            reporting((3, {"a": 1}), (2, {"a": 1})), "step=2; expected a whole .* from 3", id="back"
        ),
        pytest.param(reporting((1.5, {"a": 1})), "step=1.5; expected a whole number", id="half"),
        pytest.param(reporting((1, {"a": 1}), (1, {"a": 2})), "metric 'a': two values", id="twice"),
        pytest.param(
            reporting((1, {"test/loss": 1})), "'test/loss' is a name that the logger", id="logger's"
        ),
        pytest.param(reporting((1, {"test": {"loss": {"ce": 1}}})), "'test/loss/ce' is a name", id="term"),
        pytest.param(reporting((1, {"status": 1})), "'status' is a name that the logger or the", id="column"),
        pytest.param(reporting((1, {"a": None})), "metric 'a': got NoneType", id="nothing"),
    ],
)
def test_what_the_function_does_wrong_fails_the_learner_in_one_sentence(
    train: Any, told: str, folder: Path
) -> None:
    (failed,) = run(experiment(folder, train=train)).failed
    with pytest.raises(ValueError, match=told):
        raise ValueError(failed[1])


def test_a_metric_that_takes_a_reported_name_later_is_refused(folder: Path) -> None:
    class Takes(Logger):
        @register_metric(on="end")
        def batch_loss(self, learner: Any) -> float:
            return 0.0

    run(experiment(folder, train=fit))
    exp = experiment(folder, train=fit, logger=Takes())
    run(exp)
    with pytest.raises(MetricError, match="'batch_loss' was reported by train=, too"):
        exp.frame()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"train": 3}, "train=3; expected a function of one argument"),
        ({"train": lambda: None}, "expected a function of one argument"),
        ({"train": nn.Identity()}, r"train=Identity\(\); expected a function"),
        ({"train": nn.Identity}, "expected a function of one argument"),
        ({"train": fit, "checkpoints": [2]}, "checkpoints= acts within runs, and train= hides"),
        ({"train": fit, "pruner": Median()}, "pruner= acts within runs"),
        (
            {"train": fit, "search": Search("test/loss", "minimize", trials=2, pruner=Median())},
            "pruner= acts within",
        ),
        ({"train": fit, "schedule": Cosine()}, "schedule: .* acts in every step, and train= hides"),
        ({"train": fit, "loss": "mse", "objective": fit}, "loss= and objective= are both given"),
    ],
    ids=["number", "no-argument", "module", "class", "checkpoints", "pruner", "search", "schedule", "loss"],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    wrong: dict[str, Any], told: str, folder: Path
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        experiment(folder, **wrong)


@pytest.mark.parametrize(
    "intervention",
    [
        PerturbWeights(epsilon=0.1, step=3),
        PerturbMomentum(0.5, when=(0, 2)),
        PerturbMomentum(0.5, when=(2, 6)),
        ClipGradients(norm=1.0),
        ZeroActivations("relu1", share=0.5),
        FreezeWeights("fc1"),
        PruneWeights(0.5),
        ResetMomentumBuffer(),
        SetSchedule(Cosine(), when=(0, 6)),
        InterpolateWeights(toward=InitWeights(seed=1), at=3),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_would_act_inside_is_refused_by_name(intervention: Any, folder: Path) -> None:
    with pytest.raises(ParibusError, match=f"{type(intervention).__name__}|schedule"):
        experiment(folder, intervention, train=fit)


def test_windows_over_the_whole_run_are_applied(folder: Path) -> None:
    exp = experiment(folder, PerturbMomentum.make_variations(momentum=(0.9, 0.0), when=(0, 6)), train=fit)
    assert not run(exp).failed
    assert exp.results()["test/loss"].n_unique() == 2


def test_an_option_needs_a_function_that_reads_it(folder: Path) -> None:
    with pytest.raises(LevelError, match=r"SetOption: the engine trains, and reads no options; .*train="):
        experiment(folder, SetOption(mixup=0.1))

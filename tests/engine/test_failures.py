"""A failure is recorded and told, tried again, and stops nobody else; divergence is a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learning_cases import FailsFrom, experiment, run, states, taken
from paribus import Logger, register_metric
from paribus.errors import ExecutionError
from paribus.interventions import InitWeights, PerturbMomentum, SetOptimizer
from paribus.models import MLP

SEEDS = InitWeights.make_variations(seed=range(6))


class Negative(Logger):
    """A metric that fails for some learners."""

    @register_metric(on="end")
    def logarithm(self, learner: Any) -> float:
        if learner.model.fc1.weight[0, 0] < 0:
            raise ArithmeticError("no logarithm of it")
        return float(learner.model.fc1.weight[0, 0].log())


class FailsLate(Logger):
    """Fails at step 4 of every learner, while the flag is there."""

    def __init__(self, flag: str) -> None:
        super().__init__(strict=True)
        self.flag = flag

    @register_metric(at=[4])
    def late(self, learner: Any) -> float:
        if taken(self.flag):
            raise RuntimeError("too late")
        return 1.0


@pytest.mark.parametrize("executor", ["serial", "local"])
def test_a_failing_model_stops_nobody_else(executor: str, tmp_path: Path) -> None:
    exp = experiment(tmp_path / "some", SEEDS, model=FailsFrom())
    summary = run(exp, executor, **({"workers": 2} if executor == "local" else {}))
    failed = [index for index, _ in summary.failed]
    assert 0 < len(failed) < 6
    assert exp.results()["status"].to_list() == ["failed" if i in failed else "done" for i in range(6)]
    for index, told in summary.failed:
        assert told == "RuntimeError: this one cannot be trained"
        assert f"learner {index} failed: {told}" in str(summary)
        assert 'raise RuntimeError("this one cannot be trained")' in exp[index].history.traceback
        assert exp[index].history.error == told
    lucky = [index for index in range(6) if index not in failed]
    alone = experiment(tmp_path / "alone", InitWeights(seed=lucky[0]), model=FailsFrom())
    run(alone)
    done = [exp.store.get(exp.plan().states[exp[index].key]) for index in lucky]
    assert done[0] == states(alone)[0]
    assert run(exp).steps_trained == 0, "tried again, and failed again: no step was finished"
    assert len(run(exp).failed) == len(failed)


def test_a_failing_metric_of_a_strict_logger_fails_its_learner_and_nobody_else(folder: Path) -> None:
    exp = experiment(folder, SEEDS, logger=Negative(strict=True))
    summary = run(exp)
    assert 0 < len(summary.failed) < 6
    assert {told for _, told in summary.failed} == {"ArithmeticError: no logarithm of it"}
    without = experiment(folder, SEEDS)
    assert run(without).steps_trained == 6 * len(summary.failed), "only those that failed are trained"
    assert set(without.results()["status"]) == {"done"}


def test_children_of_a_failed_trunk_are_told(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    forks = PerturbMomentum.make_variations(momentum=(0.5, 0.1, 0.0), when=(5, 6))
    exp = experiment(tmp_path / "store", forks, logger=FailsLate(str(flag)))
    summary = run(exp)
    assert [index for index, _ in summary.failed] == [0, 1, 2]
    assert all("RuntimeError: too late" in told for _, told in summary.failed)
    assert set(exp.results()["status"]) == {"failed"}
    again = experiment(tmp_path / "store", forks, logger=FailsLate(str(flag)))
    assert not run(again).failed
    assert set(again.results()["status"]) == {"done"}
    assert all(learner.history.error == "" for learner in again)


def test_a_failed_trunk_that_is_passed_later_is_no_failure(tmp_path: Path) -> None:
    """The trunk fails once as a segment of its own; the whole run then succeeds in one piece."""
    flag = tmp_path / "flag"
    flag.touch()
    forks = PerturbMomentum.make_variations(momentum=(0.9, 0.5), when=(5, 6))
    run(experiment(tmp_path / "store", forks, logger=FailsLate(str(flag))))
    control = experiment(tmp_path / "store", logger=FailsLate(str(flag)))
    assert not run(control).failed
    assert control[0].status == "done"
    both = experiment(tmp_path / "store", forks, logger=FailsLate(str(flag)))
    assert both[0].status == "done"
    assert both.plan().learners[0].decision == "cached"


def test_divergence_is_a_row_and_stops_nobody(folder: Path) -> None:
    exp = experiment(folder, SetOptimizer.make_variations(lr=(0.01, 1e38, 0.02)), steps=9)
    summary = run(exp)
    assert (summary.diverged, summary.failed) == (1, ())
    assert "1 diverged" in str(summary)
    results = exp.results()
    assert results["status"].to_list() == ["done", "diverged", "done"]
    assert results["test/loss"].null_count() == 1
    curve = exp[1].frame()
    assert curve["step"][0] == 0, "what was recorded before it is kept"
    with pytest.raises(ExecutionError, match="step 9 cannot be reached: the run diverged at step"):
        exp[1].checkpoint(9)


@pytest.mark.parametrize("executor", ["serial", "local"])
def test_divergence_in_a_trunk_is_the_divergence_of_its_forks(executor: str, folder: Path) -> None:
    forks = PerturbMomentum.make_variations(momentum=(0.5, 0.1), when=(6, 8))
    exp = experiment(folder, [SetOptimizer(lr=1e38), forks], steps=9)
    summary = run(exp, executor, **({"workers": 2} if executor == "local" else {}))
    assert (summary.diverged, summary.failed) == (2, ())
    assert exp.results()["status"].to_list() == ["diverged", "diverged"]
    assert run(exp).steps_trained == 0


def test_a_last_step_into_infinity_is_divergence(folder: Path) -> None:
    exp = experiment(folder, SetOptimizer(lr=3e38, momentum=0.0), steps=1)
    run(exp)
    model = exp[0].checkpoint().model
    assert any(not torch.isfinite(p).all() for p in model.parameters()) == (exp[0].status == "diverged")


def test_momentum_of_one_and_more_is_trained(folder: Path) -> None:
    exp = experiment(
        folder, PerturbMomentum.make_variations(momentum=(1.0, 1.5, 100.0), when=(1, 6)), steps=40
    )
    assert not run(exp).failed
    assert set(exp.results()["status"]) <= {"done", "diverged"}


def test_an_unpicklable_model_is_told_before_agents_start(folder: Path) -> None:
    exp = experiment(folder, model=Locked())
    with pytest.raises(
        ExecutionError, match=r"model: it cannot be sent to another process.*executor='serial'"
    ):
        run(exp, "local", workers=2)
    assert exp.results()["status"].to_list() == ["missing"]


class Locked(MLP):
    def __init__(self) -> None:
        super().__init__(4, (8,), 3)

    def __reduce__(self) -> Any:
        raise TypeError("locked")

    def __deepcopy__(self, memo: Any) -> nn.Module:
        return Locked()

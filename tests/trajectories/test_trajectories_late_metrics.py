"""A metric that comes late is evaluated at stored states, replayed between them, and starts nothing over."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from learning_cases import CALLS, Stochastic, counted, experiment, forked, run, states
from paribus import Logger, register_metric
from paribus.interventions import PerturbMomentum


class Late(Logger):
    """One metric that stored states reach, one that asks for more, both of which draw."""

    def __init__(self, *steps: int) -> None:
        super().__init__(defaults=False)
        self.steps = steps

    @register_metric(on="end")
    def norm(self, learner: Any) -> torch.Tensor:
        return learner.model.fc1.weight.norm()

    @register_metric(on="start")
    def drawn(self, learner: Any) -> torch.Tensor:
        return torch.rand(2)


class Between(Logger):
    @register_metric(at=[5])
    def bias(self, learner: Any) -> torch.Tensor:
        return learner.model.fc1.bias.sum()


def training_steps(exp: Any) -> int:
    """Run, and count the calls of the loss in training; one of them tries it."""
    os.environ[CALLS] = "0"
    assert not run(exp).failed
    return max(int(os.environ[CALLS]) - 1, 0)


@pytest.fixture(autouse=True)
def _counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CALLS, "0")


def ran(folder: Path, logger: Logger | None = None, **options: Any) -> Any:
    return experiment(folder, forked(), objective=counted, steps=9, logger=logger, **options)


def test_at_stored_states_it_is_evaluated_and_nothing_is_trained(tmp_path: Path) -> None:
    exp = ran(tmp_path / "late")
    distinct = exp.plan().steps_distinct
    assert training_steps(exp) == distinct
    late = ran(tmp_path / "late", Late())
    plan = late.plan()
    assert (plan.cached, plan.steps_to_train) == (0, 0)
    assert "'drawn', 'norm' was not recorded: evaluated at stored states" in str(plan)
    assert training_steps(late) == 0
    at_once = ran(tmp_path / "once", Late())
    run(at_once)
    assert late.frame().equals(at_once.frame())
    assert states(late) == states(at_once)
    assert run(late).steps_trained == 0


def test_between_them_it_is_replayed_from_the_nearest_before(tmp_path: Path) -> None:
    window = PerturbMomentum(0.5, when=(4, 6))
    exp = experiment(tmp_path / "late", window, objective=counted, steps=9)
    run(exp)
    kept = states(exp)
    late = experiment(tmp_path / "late", window, objective=counted, steps=9, logger=Between())
    plan = late.plan()
    assert plan.steps_to_train == 2, "the segment from 4 to 6, in which the schedule asks for step 5"
    assert "'bias' was not recorded: replayed from the nearest stored state" in str(plan)
    assert training_steps(late) == plan.steps_to_train
    assert states(late) == kept
    at_once = experiment(tmp_path / "once", window, objective=counted, steps=9, logger=Between())
    run(at_once)
    assert late.frame().equals(at_once.frame().select(late.frame().columns))
    assert run(late).steps_trained == 0


def test_at_a_checkpoint_that_its_schedule_reaches_nothing_is_replayed(folder: Path) -> None:
    run(experiment(folder, objective=counted, steps=9, checkpoints=[5]))
    late = experiment(folder, objective=counted, steps=9, checkpoints=[5], logger=Between())
    assert late.plan().steps_to_train == 0
    assert training_steps(late) == 0
    assert late.frame()["bias"].drop_nulls().len() == 1


def test_a_late_metric_of_a_longer_run_is_one_run(folder: Path) -> None:
    run(experiment(folder, objective=counted, steps=6))
    longer = experiment(folder, objective=counted, steps=9, logger=Between())
    assert training_steps(longer) == 9, "6 replayed for step 5, 3 new"
    assert longer.frame()["bias"].drop_nulls().len() == 1


def test_a_late_metric_changes_no_trajectory_and_no_key(folder: Path) -> None:
    class Curious(Logger):
        @register_metric(every=1)
        def loss_and_noise(self, learner: Any) -> float:
            return learner.predictions("test").loss + float(torch.rand(()))

    exp = experiment(folder, forked(), model=Stochastic())
    run(exp)
    kept, keys = states(exp), [learner.key for learner in exp]
    late = experiment(folder, forked(), model=Stochastic(), logger=Curious())
    assert [learner.key for learner in late] == keys
    assert not run(late).failed
    assert states(late) == kept


def test_a_late_metric_of_a_diverged_run_ends_where_the_run_did(folder: Path) -> None:
    from paribus.interventions import SetOptimizer

    run(experiment(folder, SetOptimizer(lr=1e38), steps=9))
    late = experiment(folder, SetOptimizer(lr=1e38), steps=9, logger=Late())
    assert run(late).diverged == 1
    assert late.plan().cached == 1
    assert run(late).steps_trained == 0

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
    assert (plan.cached, plan.steps_to_train, plan.steps_to_replay) == (0, 0, 0)
    assert "'drawn', 'norm' was not recorded: evaluated at stored states" in str(plan)
    ends, starts = len(late), len({learner.configuration.key(0) for learner in late})
    assert len(plan.to_evaluate) == ends + starts
    assert f"{ends + starts} states to evaluate, 0 steps to replay" in str(plan)
    os.environ[CALLS] = "0"
    summary = run(late)
    assert int(os.environ[CALLS]) <= 1, "the step that is tried"
    assert (summary.evaluated, summary.steps_trained, summary.steps_replayed) == (ends + starts, 0, 0)
    assert f"{ends + starts} states evaluated, 0 of these steps replayed" in str(summary)
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
    assert "0 states to evaluate, 2 steps to replay" in str(plan)
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
    plan = longer.plan()
    assert (plan.steps_to_train, plan.steps_to_replay) == (9, 6)
    summary = run(longer)
    assert (summary.steps_trained, summary.steps_replayed) == (9, 6), "6 replayed for step 5, 3 new"
    assert "0 states evaluated, 6 of these steps replayed" in str(summary)
    assert longer.frame()["bias"].drop_nulls().len() == 1


def test_both_at_once_are_counted_apart(folder: Path) -> None:
    class Both(Logger):
        @register_metric(on="end")
        def norm(self, learner: Any) -> torch.Tensor:
            return learner.model.fc1.weight.norm()

        @register_metric(at=[2])
        def early(self, learner: Any) -> torch.Tensor:
            return learner.model.fc1.weight.norm()

    window = PerturbMomentum(0.5, when=(4, 6))
    run(experiment(folder, window, steps=9))
    late = experiment(folder, window, steps=9, logger=Both(defaults=False))
    plan = late.plan()
    assert (len(plan.to_evaluate), plan.steps_to_replay, plan.steps_to_train) == (1, 4, 4)
    summary = run(late)
    assert (summary.evaluated, summary.steps_replayed, summary.steps_trained) == (1, 4, 4)
    again = run(late)
    assert (again.evaluated, again.steps_replayed, again.steps_trained) == (0, 0, 0)


def test_a_trunk_whose_state_was_dropped_is_replayed_and_said_to_be(folder: Path) -> None:
    run(experiment(folder, steps=6, checkpoints=[3]), keep="ends")
    fork = experiment(folder, PerturbMomentum(0.5, when=(3, 6)), steps=6)
    plan = fork.plan()
    assert (plan.steps_to_train, plan.steps_to_replay) == (6, 3)
    summary = run(fork)
    assert (summary.steps_trained, summary.steps_replayed) == (6, 3)


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

"""Learners of a device that this machine lacks: planned, checked and looked at here, trained elsewhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from paribus import Experiment, Ray
from paribus.datasets import digits
from paribus.engine.planning.known import Known
from paribus.engine.running.executors import check_device
from paribus.engine.training.checkpoint import Replayer
from paribus.engine.training.state import capture
from paribus.errors import ConfigurationError, ExecutionError, LevelError
from paribus.interventions import AblateLayers, InitWeights, ZeroActivations
from paribus.models import MLP

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="told on a machine without a GPU")
SEEDS = InitWeights.make_variations(seed=(0, 1))


def experiment(folder: Path, *more: Any, device: Any = "cuda") -> Experiment:
    data = digits(size=8)
    return Experiment(partial(MLP, 64, (16, 8)), data, [SEEDS, *more], steps=4, store=folder, device=device)


@pytest.mark.parametrize("executor", ["serial", "local", "joblib"])
def test_a_device_that_is_elsewhere_is_refused_before_any_training(folder: Path, executor: str) -> None:
    exp = experiment(folder)
    assert exp.plan().steps_to_train == 8
    with pytest.raises(
        ConfigurationError, match="device='cuda' is not on this machine, where torch has cpu;"
    ):
        exp.run(executor, progress=False)
    assert exp.plan().steps_to_train == 8
    assert set(exp.frame()["status"]) == {"missing"}


def test_agents_elsewhere_must_have_a_share_of_a_gpu() -> None:
    check_device(Ray(gpus=0.25), "cuda")
    check_device(Ray(), "cpu")
    with pytest.raises(ConfigurationError, match=r"Ray: learners train on 'cuda', .* as in Ray\(gpus=0.25\)"):
        check_device(Ray(), "cuda")


def test_what_is_trained_elsewhere_is_checked_here(folder: Path) -> None:
    """A driver without a GPU refuses what one with a GPU does."""
    exp = experiment(folder, AblateLayers.make_variations(layers="fc1"))
    assert exp.audit() == []
    assert any(learner.changes() for learner in exp)
    exp._check_before_training([])
    wrong = experiment(folder, ZeroActivations.make_variations(layers="nowhere", when=(0, 2)))
    with pytest.raises(LevelError, match="nowhere"):
        wrong._check_before_training([])


def test_what_was_trained_elsewhere_is_looked_at_here(folder: Path) -> None:
    here, elsewhere = (next(iter(experiment(folder, device=device))) for device in ("cpu", "cuda"))
    replayer = Replayer(elsewhere.work(), experiment(folder).store, Known({}))
    with pytest.raises(ExecutionError, match=r"cannot be reached: .* device='cuda' is not on this machine"):
        replayer.at(elsewhere.configuration, 4)
    end = here.checkpoint()
    replayer._hold(elsewhere.configuration, capture(end.step, end.model, end.optimizer))
    found = replayer.at(elsewhere.configuration, 4).model
    assert all(map(torch.equal, found.parameters(), end.model.parameters()))


def test_one_device_has_one_name(folder: Path) -> None:
    named, given = experiment(folder, device="cuda"), experiment(folder, device=torch.device("cuda"))
    assert [learner.key for learner in named] == [learner.key for learner in given]
    with pytest.raises(ConfigurationError, match="device=3; expected a device type"):
        experiment(folder, device=3)
    with pytest.raises(ConfigurationError, match=r"device='cuda:1'; .* device='cuda', .*_DEVICES=1\)"):
        experiment(folder, device=torch.device("cuda:1"))

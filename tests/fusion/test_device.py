"""What a device decides beside bits, on the device that tests run on, where it is not the CPU."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fusion_cases import DEVICE, walked

from paribus import Experiment
from paribus.datasets import digits
from paribus.engine.fusion.kinds import most
from paribus.engine.training.segment import Run, numerics
from paribus.interventions import InitWeights
from paribus.models import MLP

pytestmark = pytest.mark.skipif(DEVICE == "cpu", reason="asks another device")


def experiment(folder: Path, **options: Any) -> Experiment:
    settings: dict[str, Any] = {"model": partial(MLP, 64, (16,)), "dataset": digits(size=8), "steps": 8}
    seeds = InitWeights.make_variations(seed=range(3))
    return Experiment(interventions=seeds, store=folder, device=DEVICE, **(settings | options))


def group_of(exp: Experiment) -> int:
    """How many learners like the first are one group."""
    (task, *_) = exp.plan().tasks()
    with numerics(task.configuration.numerics):
        return most(Run(task, exp.work, None, {}), "auto")


def test_groups_are_as_large_as_memory_allows(folder: Path) -> None:
    widths = (16, 4096, 1 << 19)
    small, large, huge = (group_of(experiment(folder, model=partial(MLP, 64, (w,)))) for w in widths)
    assert small >= large >= huge
    assert small > huge


def test_the_generator_of_a_device_is_put_back(folder: Path) -> None:
    module = torch.get_device_module(torch.device(DEVICE))
    before = module.get_rng_state()
    walked(experiment(folder), fuse=4)
    assert torch.equal(before, module.get_rng_state())


@pytest.mark.skipif(DEVICE != "cuda", reason="other devices record nothing")
def test_what_a_group_computes_is_recorded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replays: list[object] = []
    replay = torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda self: replays.append(self) or replay(self))
    walked(experiment(folder), fuse=4)
    assert len(replays) > 8

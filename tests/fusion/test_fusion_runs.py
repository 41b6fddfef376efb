"""Runs with groups: the same rows and states as without, wherever they go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fusion_cases import DEVICE

from paribus import Experiment, Logger, SuccessiveHalving, register_metric
from paribus.datasets import digits
from paribus.engine.fusion import WORTH, together
from paribus.engine.fusion.interrupts import interrupts_wait
from paribus.errors import ConfigurationError
from paribus.interventions import FreezeWeights, InitWeights, PerturbMomentum, SetOptimizer
from paribus.loggers import Every, On
from paribus.models import MLP

DATA = digits(size=8)
DESIGN = [
    InitWeights.make_variations(seed=(0, 1)),
    PerturbMomentum.make_variations(momentum=(0.8, 0.5), when=((0, 5), (20, 25))),
]


def experiment(store: Path, steps: int = 50, interventions: Any = DESIGN, **options: Any) -> Experiment:
    model = partial(MLP, 64, (16,))
    return Experiment(model, DATA, interventions, steps=steps, store=store, device=DEVICE, **options)


def found(exp: Experiment) -> list[Any]:
    """What a run left: its rows, and the bits of each learner."""
    weights = [tuple(learner.checkpoint().model.cpu().state_dict().values()) for learner in exp]
    return [exp.frame().to_dicts(), [[t.numpy().tobytes() for t in tensors] for tensors in weights]]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    exp = experiment(tmp_path_factory.mktemp("alone"))
    exp.run(progress=False, fuse=False)
    return found(exp)


LOCAL = pytest.mark.skipif(DEVICE == "second", reason="other processes have no such device")


@pytest.mark.parametrize(
    ("executor", "fuse"), [("serial", "auto"), ("serial", 4), pytest.param("local", 4, marks=LOCAL)]
)
def test_a_run_with_groups_leaves_what_one_without_does(
    folder: Path, alone: list[Any], executor: str, fuse: Any
) -> None:
    together.known.clear()
    exp = experiment(folder, steps=50)
    exp.run(executor, progress=False, fuse=fuse, workers=2 if executor == "local" else None)
    assert found(exp) == alone
    assert exp.run(progress=False).steps_trained == 0
    if fuse == 4 and executor == "serial":
        assert any(record.compared for record in together.known.values())


def test_auto_makes_groups_of_runs_that_are_worth_it(folder: Path) -> None:
    together.known.clear()
    late = [
        InitWeights.make_variations(seed=range(8)),
        PerturbMomentum.make_variations(momentum=(0.9, 0.5), when=(WORTH // 8, WORTH // 8 + 5)),
    ]
    alone, grouped = (experiment(folder / name, WORTH // 8 + 20, late) for name in ("alone", "grouped"))
    alone.run(progress=False)
    grouped.run(progress=False, fuse="auto")
    assert any(record.compared for record in together.known.values())
    assert found(grouped) == found(alone)


def test_a_run_with_groups_goes_on_where_one_without_ended(folder: Path, alone: list[Any]) -> None:
    experiment(folder, steps=30).run(progress=False, fuse=False)
    exp = experiment(folder)
    exp.run(progress=False, fuse=3)
    assert found(exp) == alone


def test_what_is_pruned_in_a_group_is_what_is_pruned_alone(folder: Path) -> None:
    together.known.clear()
    rates = [
        InitWeights.make_variations(seed=(0, 1)),
        SetOptimizer.make_variations(lr=(0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4)),
    ]
    rule = SuccessiveHalving("test/loss", "minimize", factor=2, lag=2)
    alone, grouped = (
        experiment(folder / name, 24, rates, pruner=rule, logger=Logger(Every(4) | On("end")))
        for name in ("alone", "grouped")
    )
    alone.run(progress=False, fuse=False)
    assert grouped.run(progress=False, fuse=4).pruned > 0
    assert grouped.results().equals(alone.results())
    assert any(record.compared for record in together.known.values())


def test_the_plan_says_what_is_no_part_of_a_group(folder: Path) -> None:
    frozen = FreezeWeights.make_variations(layers=("*weight", "*bias"), when=((0, 9),))
    plan = str(experiment(folder, 2000, frozen).plan(fuse="auto"))
    assert "2 × a segment that is no part of a group: FreezeWeights acts within the step" in plan


@pytest.mark.parametrize(
    ("optimizer", "told"),
    [
        (partial(torch.optim.Adafactor, lr=0.1), "Adafactor is not known to treat each number alone"),
        (partial(torch.optim.SGD, lr=0.1, foreach=True), "SGD has foreach=True"),
        (partial(torch.optim.Adam, lr=0.1, fused=True), "Adam has fused=True"),
    ],
)
def test_the_plan_says_which_optimizer_is_no_part_of_a_group(folder: Path, optimizer: Any, told: str) -> None:
    together.known.clear()
    exp = experiment(folder, 210, InitWeights.make_variations(seed=(0, 1)), optimizer=optimizer)
    assert f"2 × a segment that is no part of a group: {told}" in str(exp.plan(fuse="auto"))
    exp.run(progress=False, fuse=4)
    assert together.known == {}


def test_another_optimizer_in_a_window_is_no_obstacle(folder: Path) -> None:
    together.known.clear()
    window = SetOptimizer.make_variations(optimizer=torch.optim.SGD, lr=(0.1, 0.2), when=(0, 100))
    exp = experiment(folder, 210, window, optimizer=partial(torch.optim.Adafactor, lr=0.1))
    assert "2 × a segment that is no part of a group: Adafactor" in str(exp.plan(fuse="auto"))
    exp.run(progress=False, fuse=4)
    assert any(record.compared for record in together.known.values())


@pytest.mark.parametrize("fuse", [0, True, -1, "yes", 1.5])
def test_what_says_nothing_about_groups_is_refused(folder: Path, fuse: Any) -> None:
    with pytest.raises(ConfigurationError, match="fuse="):
        experiment(folder).run(progress=False, fuse=fuse)


def test_threads_of_the_caller_are_left_alone(folder: Path) -> None:
    before = torch.get_num_threads()
    experiment(folder, 12).run(progress=False, fuse=4)
    assert torch.get_num_threads() == before


class Interrupting(Logger):
    """An interrupt, as of a user, in the middle of the training."""

    @register_metric(every=7)
    def interrupt(self, learner: Any) -> float:
        if learner.step == 21 and os.environ.pop("PARIBUS_TEST", ""):
            signal.raise_signal(signal.SIGINT)
        return 0.0


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let an interrupt be one: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_is_not_lost_where_something_fails() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts_wait():
        raise ValueError(signal.raise_signal(signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_saves_those_who_go_side_by_side(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARIBUS_TEST", "interrupt")
    seeds = InitWeights.make_variations(seed=range(4))
    with pytest.raises(KeyboardInterrupt):
        experiment(folder, 40, seeds, logger=Interrupting()).run(progress=False, fuse=4)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    exp = experiment(folder, 40, seeds, logger=Interrupting())
    assert exp.plan().steps_to_train == 4 * (40 - 21)
    exp.run(progress=False, fuse=4)
    other = experiment(folder.with_name("other"), 40, seeds, logger=Interrupting())
    other.run(progress=False, fuse=False)
    assert found(exp) == found(other)

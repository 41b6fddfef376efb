"""What a plan says of learners that are trained alone is what a run does with them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fusion_cases import DEVICE
from torch import nn

from learning_cases import POINTS
from paribus import Experiment, TrainableLearner
from paribus.engine.fusion import foresight, together
from paribus.interventions import InitWeights, PerturbMomentum, SetModule, SetOptimizer, SetParameterGroup

SEEDS = InitWeights.make_variations(seed=range(3))
ALONE = "a segment that is no part of a group"


def experiment(store: Path, interventions: Any = SEEDS, **options: Any) -> Experiment:
    chosen = {"model": Small, "dataset": POINTS, "steps": 210, "batch_size": 16} | options
    return Experiment(interventions=interventions, store=store, device=DEVICE, **chosen)


class Small(nn.Module):
    """Points to classes."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, width), nn.Linear(width, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.fc2(torch.relu(self.fc1(inputs)))


class Choosy(Small):
    """Takes another way where its inputs are large."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.fc1(inputs)
        return self.fc2(hidden if hidden.mean() > 0 else -hidden)


class Moody(Small):
    """Computes something else each time."""

    calls = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(inputs) * self.calls


class Idle(Small):
    """Has a parameter that it does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Parameter(torch.zeros(3))


class Failing(Small):
    """Cannot be trained."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            raise RuntimeError("no\nway")
        return super().forward(inputs)


def by_hand(learner: TrainableLearner) -> None:
    for batch in learner.batches():
        learner.optimizer.zero_grad()
        learner.loss(batch).backward()
        learner.optimizer.step()


def own_rate(layers: str) -> Any:
    return [SEEDS, SetParameterGroup.make_variations(layers=(layers,), weight_decay=0.1)]


def told(exp: Experiment, fuse: Any = "auto") -> list[str]:
    """What the plan says of groups."""
    return [note for note in exp.plan(fuse=fuse).notes if ALONE in note or "finds out" in note]


def is_grouped(exp: Experiment, fuse: Any) -> bool:
    """Whether a run trains some as one."""
    together.known.clear()
    exp.run(progress=False, fuse=fuse)
    return any(record.holds and record.refused is None for record in together.known.values())


@pytest.mark.filterwarnings("ignore::paribus.engine.proving.unsaved.UnsavedStateWarning")
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"model": Choosy}, "what it computes depends on values (aten::_local_scalar_dense)"),
        ({"model": Moody}, "its step differs between learners, or from one time to the next"),
        ({"model": Idle}, "a parameter gets no gradient"),
        ({"model": Failing}, "the first of them fails (RuntimeError: no way)"),
        ({"interventions": own_rate("*.bias")}, "SGD has parameter groups"),
        ({"train": by_hand}, "the training function is the user's own"),
    ],
)
def test_a_plan_says_why_learners_are_trained_alone_and_they_are(
    folder: Path, options: dict[str, Any], why: str
) -> None:
    exp = experiment(folder, **options)
    assert told(exp) == told(exp, 3) == [f"3 × {ALONE}: {why}"]
    assert not is_grouped(exp, 3)


@pytest.mark.parametrize("options", [{}, {"interventions": own_rate("*")}])
def test_a_plan_says_nothing_of_learners_that_are_trained_as_one(
    folder: Path, options: dict[str, Any]
) -> None:
    exp = experiment(folder, **options)
    assert told(exp) == []
    assert is_grouped(exp, 3)


@pytest.mark.skipif(DEVICE != "cpu", reason="elsewhere, memory decides")
def test_a_plan_says_that_a_model_is_too_large_where_groups_are_to_pay(folder: Path) -> None:
    exp = experiment(folder, model=partial(Small, 60_000))
    assert told(exp) == [f"3 × {ALONE}: its model is so large that a group gains nothing"]
    assert told(exp, 3) == []


def test_a_plan_says_whose_shapes_too_few_others_have(folder: Path) -> None:
    layers = SetModule.make_variations(layers=("fc1", "fc2"), bias=(False,))
    exp = experiment(folder, layers)
    why = "all that have its shapes take 210 steps, and a program is worth 400"
    assert told(exp) == [f"2 × {ALONE}: {why}"]
    assert told(exp, 3) == []
    assert not is_grouped(exp, "auto")
    assert is_grouped(experiment(folder.with_name("other"), layers), 3)


def test_a_plan_looks_at_the_optimizers_of_windows(folder: Path) -> None:
    late = [
        SEEDS,
        SetOptimizer.make_variations(optimizer=torch.optim.Adafactor, lr=(0.1, 0.2), when=(100, 110)),
    ]
    why = f"{ALONE}: Adafactor is not known to treat each number alone"
    assert told(experiment(folder, late)) == [f"6 × {why}"]
    other = SetOptimizer.make_variations(lr=(0.1, 0.2), when=(100, 110))
    assert told(experiment(folder, [SEEDS, other])) == []


def test_a_plan_tries_one_of_a_kind_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Any] = []
    agreed = foresight.agreed
    monkeypatch.setattr(foresight, "_tried", {})
    monkeypatch.setattr(foresight, "agreed", lambda traces: tried.append(traces) or agreed(traces))
    layers = SetModule.make_variations(layers=("fc1", "fc2"), bias=(False,))
    rates = SetOptimizer.make_variations(lr=(0.1, 0.2))
    perturbed = PerturbMomentum.make_variations(momentum=(0.5,), when=((10, 20),))
    exp = experiment(folder, [SEEDS, rates, layers, perturbed])
    assert exp.plan().steps_to_train > 0
    exp.plan()
    assert len(tried) == 2, "one for each layer"


def test_a_plan_of_many_kinds_says_that_it_did_not_try_them_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foresight, "_TRIED", 1)
    layers = SetModule.make_variations(layers=("fc1", "fc2"), bias=(False,))
    exp = experiment(folder, layers, steps=420)
    assert told(exp) == ["1 × a segment of which the run finds out: there are 2 kinds of models"]


def test_a_plan_that_tries_a_step_leaves_no_trace(folder: Path) -> None:
    exp, other = (experiment(folder / name, model=Choosy()) for name in ("one", "other"))
    before = torch.get_rng_state()
    foresight._tried.clear()
    assert told(exp)
    assert torch.equal(torch.get_rng_state(), before)
    assert not list(exp.store.scan())
    exp.run(progress=False)
    other.run(progress=False, fuse=False)
    assert exp.frame().equals(other.frame())


def test_a_plan_tries_a_copy_of_the_model(folder: Path) -> None:
    model = Moody()
    foresight._tried.clear()
    assert told(experiment(folder, model=model))
    assert model.calls == 0


def test_a_failure_that_a_plan_tells_is_not_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exp = experiment(folder, model=Failing)
    assert "no way" in told(exp)[0]
    monkeypatch.setattr(Failing, "forward", Small.forward)
    assert told(exp) == []


def test_a_plan_of_what_is_cached_reads_no_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment(folder).run(progress=False)
    foresight._tried.clear()
    monkeypatch.setattr(Experiment, "work", property(lambda self: pytest.fail("read")))
    assert told(experiment(folder)) == []

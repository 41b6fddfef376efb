"""Training: objectives, optimizers, schedules, models, numerics."""

from __future__ import annotations

import copy
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learning_cases import POINTS, Stochastic, experiment, run, states, trained
from paribus.datasets import digits, synthetic_regression
from paribus.engine.building.model import Template
from paribus.engine.training.state import State
from paribus.errors import ConfigurationError
from paribus.identity import derive_seed, generator
from paribus.interventions import (
    Cosine,
    InitWeights,
    LearnerState,
    PerturbHyperparameter,
    PerturbMomentum,
    PerturbWeights,
    SetHyperparameter,
    StepDecay,
    Warmup,
)
from paribus.models import MLP

X, Y = POINTS["train"].tensors


def final(exp: Any, index: int = 0) -> dict[str, torch.Tensor]:
    return dict(exp[index].checkpoint().model.state_dict())


def by_hand(
    model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 6, schedule: Any = None, each: Any = None
) -> dict[str, torch.Tensor]:
    """A plain loop on the points, in the order of the stream."""
    for step in range(steps):
        if each is not None:
            each(step, optimizer, model)
        epoch, place = divmod(step, 3)
        batch = torch.randperm(48, generator=generator(0, "order", epoch))[place * 16 : place * 16 + 16]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X[batch]), Y[batch]).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
    return dict(model.state_dict())


def start(exp: Any, index: int = 0) -> nn.Module:
    return exp[index].checkpoint(0).model  # type: ignore[no-any-return]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def sgd(model: nn.Module, **options: Any) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), **({"lr": 0.01, "momentum": 0.9} | options))


# --- interventions, against loops written by hand -----------------------------------------------------


def test_a_momentum_window_is_what_a_hand_would_do(folder: Path) -> None:
    exp = experiment(folder, PerturbMomentum(0.1, when=(2, 4)))
    run(exp)
    model = start(exp)

    def each(step: int, optimizer: Any, model: Any) -> None:
        optimizer.param_groups[0]["momentum"] = 0.1 if 2 <= step < 4 else 0.9

    assert equal(final(exp), by_hand(model, sgd(model), each=each))


def test_a_learning_rate_window_is_under_the_schedule(folder: Path) -> None:
    exp = experiment(
        folder, PerturbHyperparameter(lr=0.5, when=(1, 3)), schedule=StepDecay(every=2, gamma=0.5)
    )
    run(exp)
    model = start(exp)

    def each(step: int, optimizer: Any, model: Any) -> None:
        optimizer.param_groups[0]["lr"] = (0.5 if 1 <= step < 3 else 0.01) * 0.5 ** (step // 2)

    assert equal(final(exp), by_hand(model, sgd(model), each=each))


def test_noise_in_the_middle_is_added_just_before_the_step(folder: Path) -> None:
    exp = experiment(folder, PerturbWeights(epsilon=0.1, step=3, seed=5))
    run(exp)
    model = start(exp)

    def each(step: int, optimizer: Any, model: Any) -> None:
        if step == 3:
            with torch.no_grad():
                own = LearnerState(dict(model.named_parameters()))
                PerturbWeights(epsilon=0.1, step=3, seed=5).change(own, ())

    assert equal(final(exp), by_hand(model, sgd(model), each=each))
    untouched = experiment(folder)
    assert equal(
        dict(exp[0].checkpoint(3).model.state_dict()), dict(untouched[0].checkpoint(3).model.state_dict())
    )


def test_overlapping_windows_the_later_written_wins(folder: Path) -> None:
    outer, inner = PerturbMomentum(0.0, when=(0, 6)), PerturbMomentum(0.9, when=(2, 4))
    exp = experiment(folder, outer * inner)
    run(exp)
    model = start(exp)

    def each(step: int, optimizer: Any, model: Any) -> None:
        optimizer.param_groups[0]["momentum"] = 0.9 if 2 <= step < 4 else 0.0

    assert equal(final(exp), by_hand(model, sgd(model), each=each))


def test_init_weights_changes_the_weights_and_not_the_order(folder: Path) -> None:
    exp = experiment(folder, InitWeights.make_variations(seed=(0, 1)))
    run(exp)
    model = start(exp, 1)
    assert not equal(dict(start(exp, 0).state_dict()), dict(model.state_dict()))
    assert equal(final(exp, 1), by_hand(model, sgd(model)))


# --- schedules ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (StepDecay(every=2, gamma=0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 2, gamma=0.5)),
        (Cosine(), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 6)),
        (lambda step: 0.5**step, lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 0.5**step)),
        (Warmup(steps=4), lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda s: min(1, (s + 1) / 4))),
        (lambda step, total: 1 - step / total, lambda o: torch.optim.lr_scheduler.PolynomialLR(o, 6)),
    ],
    ids=["StepLR", "CosineAnnealingLR", "LambdaLR", "Warmup", "PolynomialLR"],
)
def test_schedules_are_torchs_own(mine: Any, theirs: Any, folder: Path) -> None:
    exp = experiment(folder, schedule=mine)
    run(exp)
    model = start(exp)
    optimizer = sgd(model)
    expected = by_hand(model, optimizer, schedule=theirs(optimizer))
    for name, tensor in final(exp).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-8)


def test_a_schedule_is_a_level(folder: Path) -> None:
    exp = experiment(folder, SetHyperparameter.make_variations(schedule=(Cosine(), StepDecay(every=2))))
    assert len(exp) == 2
    assert not run(exp).failed
    assert [row["SetHyperparameter.schedule"] for row in exp.results().to_dicts()] == [
        "Cosine(warmup=0, floor=0.0)",
        "StepDecay(every=2, gamma=0.1)",
    ]


# --- objectives --------------------------------------------------------------------------------------------


def test_classification_learns(folder: Path) -> None:
    exp = experiment(
        folder, dataset=digits(size=8), model=MLP(64, (16,), 10), optimizer=torch.optim.Adam, epochs=3
    )
    run(exp)
    assert exp.results()["test/accuracy"][0] > 0.5


def test_regression_learns(folder: Path) -> None:
    exp = experiment(folder, dataset=synthetic_regression(), model=nn.Linear(8, 1), epochs=5)
    run(exp)
    losses = exp.frame()["test/loss"]
    assert losses[-1] < 0.2 * losses[0]
    assert "test/accuracy" not in exp.frame().columns


def test_named_and_own_losses_are_the_same_arithmetic(folder: Path) -> None:
    def objective(model: nn.Module, batch: Any) -> torch.Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    ways: list[dict[str, Any]] = [
        {},
        {"loss": "cross_entropy"},
        {"loss": nn.CrossEntropyLoss()},
        {"loss": nn.functional.cross_entropy},
        {"objective": objective},
    ]
    made = [experiment(folder, **way) for way in ways]
    for exp in made:
        run(exp)
    assert len({state for exp in made for state in states(exp)}) == 1


# --- models ------------------------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.inner, self.leave = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.inner.weight = self.enter.weight

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.leave(self.inner(self.enter(inputs).relu()))


def test_tied_weights_stay_tied(folder: Path) -> None:
    exp = experiment(folder, PerturbWeights(epsilon=0.1, step=3), model=Tied())
    assert not run(exp).failed
    model = exp[0].checkpoint().model
    assert model.inner.weight is model.enter.weight
    short = experiment(folder, model=Tied(), steps=3)
    run(short)
    long = experiment(folder, model=Tied(), steps=6)
    run(long)
    assert trained(long.work, long[0].configuration).to_bytes() == states(long)[0]


def test_frozen_parameters_stay(folder: Path) -> None:
    model = MLP(4, (8,), 3)
    model.fc1.requires_grad_(False)
    exp = experiment(folder, model=model)
    assert exp[0].key != experiment(folder, model=MLP(4, (8,), 3))[0].key
    run(exp)
    before, after = dict(start(exp).state_dict()), final(exp)
    assert torch.equal(before["fc1.weight"], after["fc1.weight"])
    assert not torch.equal(before["fc2.weight"], after["fc2.weight"])
    assert all(not p.requires_grad for p in exp[0].checkpoint().model.fc1.parameters())


def test_a_template_is_left_as_it_is(folder: Path) -> None:
    model = Stochastic().eval()
    kept = copy.deepcopy(model.state_dict())
    run(experiment(folder, model=model))
    assert equal(dict(model.state_dict()), dict(kept))
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_templates_weights_do_not_matter_and_kept_ones_do(folder: Path) -> None:
    one, other = Stochastic(), Stochastic()
    assert experiment(folder, model=one)[0].key == experiment(folder, model=other)[0].key
    kept = experiment(folder, model=one, weights="keep")
    assert kept[0].key != experiment(folder, model=other, weights="keep")[0].key
    run(kept)
    assert equal(dict(start(kept).state_dict()), dict(one.state_dict()))
    one[1].running_mean += 1
    assert kept[0].key != experiment(folder, model=one, weights="keep")[0].key, "buffers are kept, too"


def test_a_factory_draws_from_the_init_stream(folder: Path) -> None:
    exp = experiment(folder, InitWeights(seed=4), model=partial(MLP, 4, (8,), 3))
    torch.manual_seed(derive_seed(4, "init"))
    assert equal(dict(start(exp).state_dict()), dict(MLP(4, (8,), 3).state_dict()))


def test_a_factory_may_make_parameters_that_nothing_resets(folder: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"'scale' cannot be drawn anew.*no reset_parameters.*factory"
    ):
        experiment(folder, model=Scaled())
    exp = experiment(folder, InitWeights.make_variations(seed=(0, 1)), model=Scaled)
    assert not run(exp).failed
    assert not torch.equal(start(exp, 0).scale, start(exp, 1).scale)
    assert not run(experiment(folder, model=Scaled(), weights="keep")).failed


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(3))
        self.body = nn.Linear(4, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.body(inputs) * self.scale


@pytest.mark.parametrize("shared", ["whole", "part"])
def test_a_factory_that_gives_the_same_weights_each_time_is_refused(shared: str, folder: Path) -> None:
    """Learners would train one another's weights."""
    body = nn.Linear(4, 3)

    def make() -> nn.Module:
        return body if shared == "whole" else nn.Sequential(body, nn.Linear(3, 3))

    exp = experiment(folder, InitWeights.make_variations(seed=(0, 1)), model=make)
    with pytest.raises(ConfigurationError, match=r"the same parameter .*make a new module"):
        run(exp)
    assert exp.results()["status"].to_list() == ["missing", "missing"]


class Skips(nn.Module):
    """Draws in its forward pass from Python's and NumPy's generators, as layer dropping does."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training and random.random() < 0.5:
            return self.one(inputs) * np.random.rand()
        return self.one(inputs) + self.other(inputs)


def test_whatever_generator_a_model_draws_from_its_draws_are_of_its_step(
    folder: Path, tmp_path: Path
) -> None:
    short = experiment(folder, model=Skips(), steps=4)
    run(short)
    random.seed(77)
    np.random.seed(77)
    long = experiment(folder, model=Skips(), steps=8)
    run(long)
    whole = experiment(tmp_path / "whole", model=Skips(), steps=8)
    run(whole)
    assert states(long) == states(whole)


# --- numerics and the caller's settings ---------------------------------------------------------------


def test_float64(folder: Path) -> None:
    exp = experiment(folder, dtype="float64", model=Stochastic())
    assert not run(exp).failed
    model = exp[0].checkpoint().model
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert model[1].num_batches_tracked.dtype == torch.int64


def test_the_callers_settings_are_as_before(folder: Path) -> None:
    model = Skips()
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        exp = experiment(folder, InitWeights.make_variations(seed=(0, 1)), model=model, threads=2)
        run(exp)
        exp[0].checkpoint(2)
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    drawn = random.random(), float(np.random.rand()), float(torch.rand(()))
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    assert drawn == (random.random(), float(np.random.rand()), float(torch.rand(())))
    assert torch.get_num_threads() == 1
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


# --- the state ----------------------------------------------------------------------------------------


def test_equal_states_give_equal_bytes_and_come_back() -> None:
    tensors = {"model/w": torch.tensor([1.0, float("nan")]), "model/n": torch.tensor(3)}
    state = State(7, tensors, {"optimizer/0/step": 7, "optimizer/0/rate": 0.5})
    payloads = {State(7, dict(reversed(tensors.items())), dict(state.plain)).to_bytes() for _ in range(50)}
    (payload,) = payloads
    back = State.from_bytes(payload)
    assert (back.step, back.plain) == (7, state.plain)
    assert back.to_bytes() == payload


def test_a_state_is_finite_where_each_number_is() -> None:
    def finite(*numbers: float, dtype: torch.dtype = torch.float16) -> bool:
        return State(0, {"model/w": torch.tensor(numbers).to(dtype)}, {}).finite

    assert finite(1.0, -2.0)
    assert finite(1.0, -2.0, dtype=torch.float8_e4m3fn)  # which has no sum
    assert finite(60000.0, 60000.0)  # whose sum is infinite
    assert not finite(1.0, float("inf"))
    assert not finite(float("inf"), -float("inf"))
    assert not finite(float("nan"))


class Entangled(nn.Module):
    """Shares parts with itself, in ways that a copy has to keep."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = self.again = nn.Linear(2, 2)
        self.tied = nn.Linear(2, 2)
        self.tied.weight = self.layer.weight
        self.listed, self.named = [self.layer, self], {(1, 2): self.layer, "empty": {}}
        self.empty = self.other_empty = {}
        self.layer.register_forward_hook(self.hook)
        self.recurrent = nn.LSTM(2, 3)

    def hook(self, *_: object) -> None: ...


def test_a_template_is_copied_with_all_that_its_parts_share() -> None:
    given = Entangled()
    copied: Any = Template(given).blank()
    assert copied.again is copied.layer is copied.listed[0] is copied.named[1, 2] is not given.layer
    assert copied.tied.weight is copied.layer.weight is not given.layer.weight
    assert copied.listed[1] is copied
    assert copied.empty is copied.other_empty is not given.empty
    assert copied.named["empty"] is not given.named["empty"]
    assert next(iter(copied.layer._forward_hooks.values())).__self__ is copied
    assert copied.recurrent._flat_weights[0] is copied.recurrent.weight_ih_l0
    assert {name: type(value) for name, value in vars(copied).items()} == {
        name: type(value) for name, value in vars(given).items()
    }


@pytest.mark.parametrize("payload", [b"", b"x" * 40, b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{}"])
def test_bytes_that_are_no_state_are_refused(payload: bytes) -> None:
    from paribus.errors import CorruptObjectError

    with pytest.raises(CorruptObjectError, match="state: the stored bytes cannot be read"):
        State.from_bytes(payload)


def test_any_step_can_be_returned_to(folder: Path) -> None:
    exp = experiment(
        folder, [PerturbMomentum(0.1, when=(2, 4)), PerturbWeights(epsilon=0.1, step=5)], model=Stochastic()
    )
    run(exp)
    whole = [trained(exp.work, exp[0].configuration, [*range(1, step + 1)]) for step in range(1, 7)]
    for step, state in enumerate(whole, start=1):
        found = exp[0].checkpoint(step)
        assert found.step == step
        assert all(torch.equal(t, state.tensors[f"model/{n}"]) for n, t in found.model.state_dict().items())
    with pytest.raises(ConfigurationError, match="checkpoint: step=7 is not on this run; expected 0 to 6"):
        exp[0].checkpoint(7)

"""Weights, optimizer and what is read of other trajectories: each equals a loop written by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learning_cases import POINTS, Stochastic, experiment, run, states
from paribus.engine.training.checkpoint import replay
from paribus.errors import LevelError
from paribus.identity import derive_seed, generator
from paribus.interventions import (
    FreezeWeights,
    InitWeights,
    InterpolateWeights,
    Mask,
    MaskWeights,
    PerturbMomentum,
    PerturbWeights,
    PruneRounds,
    PruneWeights,
    ReinitWeights,
    ResetMomentumBuffer,
    RewindWeights,
    ScaleMomentumBuffer,
    SetOptimizer,
    SetParameterGroup,
    SetSchedule,
    Sibling,
    StateIntervention,
    Warmup,
)
from paribus.models import MLP

X, Y = POINTS["train"].tensors
SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01)
ADAM = partial(torch.optim.Adam, lr=0.01)
trial = partial(experiment, optimizer=SGD)


def drawn(seed: int = 0) -> nn.Module:
    """The model as its source draws it."""
    model = MLP(4, (8,), 3)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            torch.manual_seed(derive_seed(seed, "init", name))
            module.reset_parameters()
    return model


def by_hand(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: range = range(6),
    before: Callable[[int], None] = lambda step: None,
    after: Callable[[int], None] = lambda step: None,
) -> nn.Module:
    """A plain loop on the points, in the order of the stream."""
    for step in steps:
        with torch.no_grad():
            before(step)
        epoch, place = divmod(step, 3)
        batch = torch.randperm(48, generator=generator(0, "order", epoch))[place * 16 : place * 16 + 16]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X[batch]), Y[batch]).backward()
        optimizer.step()
        with torch.no_grad():
            after(step)
    return model


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return SGD(p for p in model.parameters() if p.requires_grad)


def assert_ends_as(exp: Any, model: nn.Module, index: int = 0) -> None:
    found = exp[index].checkpoint().model.state_dict()
    expected = model.state_dict()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def masked(model: nn.Module, share: float) -> dict[str, torch.Tensor]:
    """Masks of the weights with the largest sizes, over both layers, of what is not zero."""
    names = [name for name, p in model.named_parameters() if p.ndim > 1]
    sizes = torch.cat([dict(model.named_parameters())[name].detach().abs().flatten() for name in names])
    free = sizes.nonzero().flatten()
    keep = sizes > 0
    keep[free[sizes[free].argsort(stable=True)[: round(share * len(free))]]] = False
    parts = torch.split(keep, [32, 24])
    return {
        n: part.view(dict(model.named_parameters())[n].shape) for n, part in zip(names, parts, strict=True)
    }


def hold(model: nn.Module, masks: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, mask in masks.items():
            dict(model.named_parameters())[name].mul_(mask)


# --- freeze, reinitialise, perturb ---------------------------------------------------------------------


def test_frozen_from_the_start_is_requires_grad_false(folder: Path) -> None:
    exp = trial(folder, FreezeWeights("fc1"))
    run(exp)
    model = drawn()
    for parameter in model.fc1.parameters():  # type: ignore[union-attr]
        parameter.requires_grad = False
    assert_ends_as(exp, by_hand(model, sgd(model)))


@pytest.mark.parametrize("optimizer", [SGD, partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)])
def test_no_bit_of_what_is_frozen_moves_and_it_goes_on_after(optimizer: Any, folder: Path) -> None:
    exp = experiment(folder, FreezeWeights("fc1.*", when=(2, 4)), optimizer=optimizer)
    run(exp)
    at = {step: exp[0].checkpoint(step) for step in (2, 4, 6)}
    for name, parameter in at[2].model.named_parameters():
        assert torch.equal(parameter, dict(at[4].model.named_parameters())[name]) == name.startswith("fc1")
        assert not torch.equal(parameter, dict(at[6].model.named_parameters())[name])


def test_layers_are_drawn_anew_as_the_source_draws(folder: Path) -> None:
    exp = trial(folder, ReinitWeights("fc2", seed=7, step=3, forget=True))
    run(exp)
    model = drawn()
    optimizer = sgd(model)
    fresh = drawn(derive_seed(7, "ReinitWeights", 3))

    def before(step: int) -> None:
        if step == 3:
            model.fc2.load_state_dict(fresh.fc2.state_dict())  # type: ignore[union-attr, operator]
            for parameter in model.fc2.parameters():  # type: ignore[union-attr]
                del optimizer.state[parameter]

    assert_ends_as(exp, by_hand(model, optimizer, before=before))
    factory = trial(folder, ReinitWeights("fc2", step=3), model=partial(MLP, 4, (8,), 3))
    run(factory)
    assert not torch.equal(factory[0].checkpoint(0).model.fc2.weight, drawn().fc2.weight)  # type: ignore


def test_kept_weights_are_drawn_anew_where_they_can_be(folder: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.head = nn.Parameter(torch.ones(4)), nn.Linear(4, 3)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.head(self.scale * inputs)

    keep = partial(experiment, folder, model=Scaled(), weights="keep")
    exp = keep(ReinitWeights("head"))
    run(exp)
    assert not torch.equal(exp[0].checkpoint(0).model.head.weight, exp.work.model.build(0).head.weight)  # type: ignore
    with pytest.raises(LevelError, match="ReinitWeights: 'scale' cannot be drawn, since its module has no"):
        run(keep(ReinitWeights("scale")))


def test_noise_relative_to_norm_and_on_the_sphere(folder: Path) -> None:
    exp = trial(
        folder,
        PerturbWeights(0.25, relative="norm", layers="fc1")
        + PerturbWeights(0.5, sphere=True)
        + PerturbWeights(0),
    )
    run(exp)
    moved, turned, control = (exp[i].checkpoint(0).model.state_dict() for i in range(3))
    for name, weight in control.items():
        distance = (moved[name] - weight).norm() / weight.norm()
        assert float(distance) == pytest.approx(0.25 if name.startswith("fc1") else 0.0, rel=1e-5)
        assert float(turned[name].norm()) == pytest.approx(float(weight.norm()), rel=1e-5)
        assert not torch.equal(turned[name], weight)


def test_noise_relative_to_the_initial_draw_is_so_at_any_step(folder: Path) -> None:
    exp = trial(folder, PerturbWeights(2.0, relative="init", step=3))
    run(exp)
    model, first = drawn(), drawn()

    def before(step: int) -> None:
        for name, weight in model.named_parameters() if step == 3 else ():
            noise = torch.randn(weight.shape, generator=generator(0, "PerturbWeights", 3, name))
            weight.add_(noise * dict(first.named_parameters())[name].std(correction=0), alpha=2.0)

    assert_ends_as(exp, by_hand(model, sgd(model), before=before))


# --- what is read of other states ------------------------------------------------------------------------


def test_rewound_weights_are_the_learners_own_and_the_data_goes_on(folder: Path) -> None:
    exp = trial(folder, RewindWeights(to=1, step=4))
    assert exp.plan().steps_distinct == 6
    run(exp)
    model = drawn()
    kept: dict[str, torch.Tensor] = {}

    def before(step: int) -> None:
        if step == 1:
            kept.update({name: tensor.clone() for name, tensor in model.state_dict().items()})
        if step == 4:
            model.load_state_dict(kept)

    assert_ends_as(exp, by_hand(model, sgd(model), before=before))


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_a_rewound_optimizer_is_that_of_the_step(optimizer: Any, folder: Path) -> None:
    exp = experiment(folder, RewindWeights(to=2, step=4, optimizer=True), optimizer=optimizer)
    replayed = replay(exp[0].configuration, 5, exp.work)
    model = drawn()
    own = optimizer(model.parameters())
    by_hand(model, own, range(2))
    assert_ends_as_state(replayed, by_hand(model, own, range(4, 5)))


def assert_ends_as_state(state: Any, model: nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        assert torch.equal(state.tensors[f"model/{name}"], tensor)


def test_two_learners_averaged_whether_or_not_the_sibling_is_in_the_grid(folder: Path) -> None:
    average = InterpolateWeights(InitWeights(seed=1), alpha=0.5, step=3)
    exp = trial(folder, average)
    assert exp.plan().steps_distinct == 6 + 3
    assert "1 × a segment of no learner, whose state others read: 3 steps" in str(exp.plan())
    assert run(exp).steps_trained == 9
    model, sibling = drawn(), by_hand(other := drawn(1), sgd(other), range(3))

    def before(step: int) -> None:
        for name, weight in model.named_parameters() if step == 3 else ():
            weight.lerp_(dict(sibling.named_parameters())[name], 0.5)

    assert_ends_as(exp, by_hand(model, sgd(model), before=before))
    both = trial(folder, InitWeights.make_variations(seed=(0, 1)) + average)
    assert both.plan().steps_to_train == 3 + 3, "only the ends of the two trunks are new"


def test_rounds_of_pruning_are_what_a_hand_would_do(folder: Path) -> None:
    exp = trial(folder, PruneRounds.make_variations(rounds=range(3), fraction=0.5, when=((2, None),)))
    assert exp.plan().steps_distinct == 2 + 3 * 4
    assert run(exp).steps_trained == 14
    trunk = by_hand(model := drawn(), optimizer := sgd(model), range(2))
    start = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}
    momenta = [optimizer.state[p]["momentum_buffer"].clone() for p in model.parameters()]
    dense = by_hand(model, optimizer, range(2, 6))
    assert_ends_as(exp, dense, 0)
    for number in (1, 2):
        masks = masked(model, 0.5)
        model = drawn()
        model.load_state_dict(start)
        optimizer = sgd(model)
        for parameter, buffer in zip(model.parameters(), momenta, strict=True):
            optimizer.state[parameter]["momentum_buffer"] = buffer.clone()
        hold(model, masks)
        by_hand(model, optimizer, range(2, 6), after=lambda step, m=model, k=masks: hold(m, k))  # type: ignore
        assert_ends_as(exp, model, number)
    assert sum(int((p == 0).sum()) for p in model.parameters() if p.ndim > 1) == 42  # of 56


def test_a_round_alone_trains_the_rounds_before_it_and_says_so(folder: Path) -> None:
    exp = trial(folder, PruneRounds(3, fraction=0.5, when=(2, None)))
    assert exp.plan().steps_to_train == 2 + 4 * 4
    assert "no learner, whose state others read: 12 steps" in str(exp.plan())
    assert run(exp).steps_trained == 18
    assert run(trial(folder, PruneRounds(3, fraction=0.5, when=(2, None)))).steps_trained == 0
    run(exp, keep="ends")
    assert run(trial(folder, PruneRounds(4, fraction=0.5, when=(2, None), after=6))).failed == ()


def test_pruned_from_the_initial_weights_on_and_a_second_time_of_what_is_left(folder: Path) -> None:
    exp = trial(folder, PruneWeights(0.5) * PruneWeights(0.5, when=(3, None)))
    run(exp)
    zeros = [
        sum(int((p == 0).sum()) for p in exp[0].checkpoint(step).model.parameters() if p.ndim > 1)
        for step in (0, 3, 4, 6)
    ]
    assert zeros == [28, 28, 42, 42]
    layered = trial(folder, PruneWeights(0.25, scope="layer", by="random", layers="fc*"))
    run(layered)
    assert [int((p == 0).sum()) for p in layered[0].checkpoint().model.parameters() if p.ndim > 1] == [8, 6]


def test_rewound_weights_keep_to_the_mask_and_a_hand_does_the_same(folder: Path) -> None:
    mask = {"fc1.weight": torch.arange(32).view(8, 4) % 3 > 0}
    exp = trial(
        folder, MaskWeights(mask, when=(2, 5)) * RewindWeights(to=0, step=3) * FreezeWeights("fc2", (1, 4))
    )
    run(exp)
    model = drawn()
    first = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = sgd(model)
    for step in range(6):
        if step == 3:
            model.load_state_dict(first)
        if 2 <= step < 5:
            hold(model, mask)
        for parameter in model.fc2.parameters():  # type: ignore[union-attr]
            parameter.requires_grad = not 1 <= step < 4
        by_hand(
            model, optimizer, range(step, step + 1), after=lambda s: hold(model, mask) if 2 <= s < 5 else None
        )
    assert_ends_as(exp, model)


# --- the optimizer -----------------------------------------------------------------------------------------


def test_another_class_in_a_window_starts_empty_at_both_edges(folder: Path) -> None:
    exp = trial(folder, SetOptimizer(torch.optim.Adam, lr=0.02, when=(2, 4)))
    run(exp)
    model = drawn()
    by_hand(model, sgd(model), range(2))
    by_hand(model, torch.optim.Adam(model.parameters(), lr=0.02), range(2, 4))
    assert_ends_as(exp, by_hand(model, sgd(model), range(4, 6)))
    assert isinstance(exp[0].checkpoint(3).optimizer, torch.optim.Adam)
    assert isinstance(exp[0].checkpoint(2).optimizer, torch.optim.SGD)


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_parameter_groups_with_windows_and_their_state(optimizer: Any, folder: Path) -> None:
    design = SetParameterGroup("*.bias", weight_decay=0.0) * SetParameterGroup("fc2", lr=0.5, when=(2, 4))
    exp = experiment(folder, design * PerturbMomentum(0.5, when=(3, 5)), optimizer=optimizer)
    run(exp)
    model = drawn()
    own = optimizer([{"params": [p]} for p in model.parameters()])

    def before(step: int) -> None:
        for group, (name, _) in zip(own.param_groups, model.named_parameters(), strict=True):
            momentum = 0.5 if 3 <= step < 5 else 0.9
            group.update({"momentum": momentum} if "momentum" in group else {"betas": (momentum, 0.999)})
            group["lr"] = 0.5 if name.startswith("fc2") and 2 <= step < 4 else own.defaults["lr"]
            group["weight_decay"] = 0.0 if name.endswith("bias") else own.defaults["weight_decay"]

    assert_ends_as(exp, by_hand(model, own, before=before))


def test_a_schedule_in_a_window_counts_from_its_start(folder: Path) -> None:
    exp = trial(folder, SetSchedule(Warmup(steps=4), when=(2, 5)) * SetParameterGroup("fc1", lr=1.0))
    run(exp)
    model = drawn()
    own = SGD([{"params": m.parameters()} for m in (model.fc1, model.fc2)])  # type: ignore[union-attr]

    def before(step: int) -> None:
        factor = min(1.0, (step - 1) / 4) if 2 <= step < 5 else 1.0
        for group, lr in zip(own.param_groups, (1.0, 0.1), strict=True):
            group["lr"] = lr * factor

    assert_ends_as(exp, by_hand(model, own, before=before))


@pytest.mark.parametrize(("optimizer", "entry"), [(SGD, "momentum_buffer"), (ADAM, "exp_avg")])
def test_momentum_buffers_are_scaled_and_reset(optimizer: Any, entry: str, folder: Path) -> None:
    design = ScaleMomentumBuffer(-1.0, layers="fc1", when=(2, 4)) * ResetMomentumBuffer(when=(5, 6))
    exp = experiment(folder, design, optimizer=optimizer)
    run(exp)
    model = drawn()
    own = optimizer(model.parameters())

    def before(step: int) -> None:
        for name, parameter in model.named_parameters():
            if 2 <= step < 4 and name.startswith("fc1"):
                own.state[parameter][entry].mul_(-1.0)
            if step == 5:
                own.state[parameter][entry].zero_()

    assert_ends_as(exp, by_hand(model, own, before=before))


# --- identity, order, failures ----------------------------------------------------------------------------


def test_what_is_read_is_part_of_the_key(folder: Path) -> None:
    rounds = PruneRounds(1, after=6, when=(2, None))
    early, late = PerturbMomentum(0.5, when=(4, 5)), PerturbMomentum(0.5, when=(6, 7))
    plain, changed = trial(folder, rounds)[0].configuration, trial(folder, rounds * early)[0].configuration
    assert changed.key(2) == plain.key(2)
    assert changed.key(3) != plain.key(3), "the state that it reads has another past"
    assert trial(folder, rounds * late, steps=8)[0].configuration.key(6) == plain.key(6)


def test_equal_ways_to_write_it_are_one_learner(folder: Path) -> None:
    one = InterpolateWeights(InitWeights(1), step=3)
    assert len(trial(folder, one + InterpolateWeights((InitWeights(seed=1),), 0.5, 3, at=3))) == 1
    mask = {"fc1.weight": torch.eye(8, 4) > 0}
    assert (
        len(trial(folder, MaskWeights(mask) + MaskWeights(Mask.of({**mask, "fc2.bias": torch.ones(3) > 0}))))
        == 1
    )


def test_serial_local_and_a_loop_without_a_store_agree(tmp_path: Path) -> None:
    design: Any = [
        PruneRounds.make_variations(rounds=(0, 2), fraction=0.5, when=((1, None),))
        + InterpolateWeights(InitWeights(1), step=2)
        + InterpolateWeights((InitWeights(1), PruneWeights(0.5)), step=0) * RewindWeights(0, 5)
    ]
    make = partial(trial, interventions=design, model=Stochastic())
    serial, workers = make(tmp_path / "serial"), make(tmp_path / "local")
    run(serial)
    assert not run(workers, "local", workers=2).failed
    assert states(workers) == states(serial)
    for learner, state in zip(serial, states(serial), strict=True):
        configuration = learner.configuration
        assert replay(configuration, configuration.total, serial.work).to_bytes() == state


def test_a_learner_whose_source_diverges_fails_and_says_so(folder: Path) -> None:
    wild = InterpolateWeights(SetOptimizer(lr=1e38), alpha=0.5, step=4)
    exp = trial(folder, wild + InitWeights(0))
    summary = run(exp)
    assert [index for index, _ in summary.failed] == [0]
    assert "InterpolateWeights: the state" in summary.failed[0][1]
    assert "that is read was not reached: its run failed or diverged before" in summary.failed[0][1]
    assert [learner.status for learner in exp] == ["failed", "done"]
    assert run(exp).steps_trained == 0


@dataclass(frozen=True)
class Endless(StateIntervention):
    """Reads the end of a learner that has this intervention too."""

    step: int

    def reads(self) -> tuple[Sibling]:
        return (Sibling((self,), 6),)

    def is_null(self, components: Any) -> bool:
        return False

    def change(self, own: Any, read: Any) -> None: ...


@pytest.mark.parametrize(
    ("design", "told"),
    [
        (
            lambda: FreezeWeights("fc3"),
            r"FreezeWeights: 'fc3' matches no parameter or layer .*did you mean 'fc",
        ),
        (lambda: PruneWeights(0.5, layers="conv*"), r"PruneWeights: 'conv\*' matches no parameter or layer"),
        (
            lambda: PruneWeights(0.5, layers="*.bias", when=(5, 6)),
            "means vectors alone, fc1.bias, fc2.bias; name",
        ),
        (lambda: PerturbWeights(0.1, layers="fx1", step=5), "PerturbWeights: 'fx1' matches no .*'fc1'"),
        (
            lambda: SetParameterGroup("fc9", lr=0.1, when=(5, 6)),
            "SetParameterGroup: 'fc9' matches no parameter",
        ),
        (lambda: SetParameterGroup("fc1", lrr=0.1), "SetParameterGroup: 'lrr' is no hyperparameter of SGD"),
        (lambda: ScaleMomentumBuffer(2.0, layers="fc7"), "ScaleMomentumBuffer: 'fc7' matches no parameter"),
        (
            lambda: SetOptimizer(momentum=0.0) * ResetMomentumBuffer(),
            "SGD has momentum 0 at step 0 and keeps no",
        ),
        (
            lambda: MaskWeights({"fc1.weight": torch.ones(2) < 0}),
            r"has the shape \(2,\) and the parameter \(8, 4\)",
        ),
        (
            lambda: MaskWeights({"fc1.weight": torch.ones(8, 4)}),
            "the mask of 'fc1.weight' is Tensor; give a bool",
        ),
        (lambda: RewindWeights(to=4, step=2), "RewindWeights: to=4 comes after step=2; give an earlier step"),
        (lambda: InterpolateWeights("fc1"), "InterpolateWeights: toward='fc1' names no sibling"),
        (lambda: PruneRounds(-1), "PruneRounds: rounds=-1 is no whole number >= 0"),
        (lambda: PruneWeights(1.5), "PruneWeights: fraction=1.5 is no share; give a number between 0 and 1"),
        (lambda: PruneWeights(0.5, by="size"), "PruneWeights: by='size' is none of 'magnitude', 'random'"),
        (lambda: SetSchedule(lambda step, total: 1.0, when=(2, None)), "reads the length of its window"),
        (lambda: Endless(2), "Endless: reads a state that is made with what it reads, without end"),
    ],
)
def test_what_cannot_be_done_is_refused_before_training(design: Any, told: str, folder: Path) -> None:
    with pytest.raises(LevelError, match=told):
        run(trial(folder, design()))

"""Each way to take away a layer, or what it does."""

from __future__ import annotations

import copy

import pytest
import torch
from layer_cases import Attention, Residual, Stack, ablated, labelled, probe_of, squared, stepped
from torch import nn

from paribus.errors import AblationError, InputCut, LevelError, NoEffect, Opaque
from paribus.identity import derive_seed
from paribus.interventions.layers import AblateLayers, select
from paribus.interventions.layers.replacements import Removed

PROBE = labelled(6)


@pytest.fixture(autouse=True)
def _weights() -> None:
    torch.manual_seed(0)


class Block(nn.Module):
    """A residual block whose shortcut has a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(6, 12)
        self.act = nn.ReLU()
        self.narrow = nn.Linear(12, 5)
        self.shortcut = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.narrow(self.act(self.wide(x))) + self.shortcut(x)


def blocks() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 6), Block(), nn.Linear(5, 3))


def tower() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(6, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(8, 8),
        nn.Tanh(),
        nn.Linear(8, 3),
    )


def test_the_two_models_that_the_origin_prints() -> None:
    layers: list[nn.Module] = []
    for width, following in ((6, 64), (64, 64), (64, 32), (32, 2)):
        layers += [nn.Linear(width, following), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(2, 1), nn.Sigmoid())
    draws = torch.Generator().manual_seed(0)
    probe = probe_of(torch.randn(8, 6, generator=draws), squared)

    def printed(changed: nn.Module) -> list[str]:
        return [repr(layer) for layer in changed if not isinstance(layer, Removed)]

    assert printed(ablated(model, (2, 3), probe)) == [
        "Linear(in_features=6, out_features=64, bias=True)", "ReLU()",
        "Linear(in_features=64, out_features=32, bias=True)", "ReLU()",
        "Linear(in_features=32, out_features=2, bias=True)", "ReLU()",
        "Linear(in_features=2, out_features=1, bias=True)", "Sigmoid()",
    ]  # fmt: skip
    assert printed(ablated(model, (4, 5), probe)) == [
        "Linear(in_features=6, out_features=64, bias=True)", "ReLU()",
        "Linear(in_features=64, out_features=64, bias=True)", "ReLU()",
        "Linear(in_features=64, out_features=2, bias=True)", "ReLU()",
        "Linear(in_features=2, out_features=1, bias=True)", "Sigmoid()",
    ]  # fmt: skip
    with pytest.raises(AblationError, match="'8' makes the model's output"):
        ablated(model, 8, probe)
    assert ablated(model, 9, probe)(probe.batch).shape == (8, 1)


def test_layers_that_stay_keep_name_weights_and_settings() -> None:
    model = tower()
    model[4].bias.requires_grad_(False)
    changed = ablated(model, 1, PROBE)
    expected = {name: p for name, p in model.named_parameters() if not name.startswith("1.")}
    got = dict(changed.named_parameters())
    assert got.keys() == expected.keys()
    assert all(
        torch.equal(got[name], p) and got[name].requires_grad == p.requires_grad
        for name, p in expected.items()
    )


def test_a_rebuilt_neighbour_draws_from_its_own_stream_or_keeps_what_fits() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    drawn = ablated(model, 0, PROBE)[2]
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(PROBE.seed, "init", "2"))
        assert torch.equal(drawn.weight, nn.Linear(6, 3).weight)
    sliced = ablated(model, 0, PROBE, rebuild="slice")[2]
    assert torch.equal(sliced.weight, model[2].weight[:, :6])
    assert torch.equal(sliced.bias, model[2].bias)


def test_the_control_of_a_rebuild_draws_the_neighbour_anew_and_removes_nothing() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    changed = ablated(model, 0, PROBE, control_of_rebuild=True)
    assert torch.equal(changed[0].weight, model[0].weight)
    assert changed[2].weight.shape == model[2].weight.shape
    assert not torch.equal(changed[2].weight, model[2].weight)
    with pytest.raises(NoEffect, match="needs no control_of_rebuild"):
        AblateLayers(1, control_of_rebuild=True).edit(model, PROBE)


def test_the_following_activation_goes_too() -> None:
    changed = ablated(tower(), 0, PROBE, with_activation=True)
    assert [isinstance(layer, Removed) for layer in changed] == [
        True,
        False,
        True,
        False,
        False,
        False,
        False,
    ]
    with pytest.raises(AblationError, match="no activation module follows '6'"):
        ablated(tower(), 6, PROBE, with_activation=True)


def test_zero_mean_and_resample_replace_the_output() -> None:
    model, x = blocks(), PROBE.batch[0]
    inner, shortcut = (
        model[1].narrow(model[1].act(model[1].wide(model[0](x)))),
        model[1].shortcut(model[0](x)),
    )
    for mode, expected in (
        ("zero", torch.zeros_like(inner)),
        ("mean", inner.mean(0, keepdim=True).expand_as(inner)),
        ("resample", inner.roll(1, 0)),
    ):
        changed = ablated(model, "1.narrow", PROBE, mode=mode)
        assert torch.equal(changed(x), model[2](expected + shortcut)), mode
        assert "1.narrow.weight" in AblateLayers("1.narrow", mode=mode).describe(model, PROBE).parameters_idle
    with pytest.raises(InputCut):
        ablated(model, 0, PROBE, mode="mean")


def test_resample_takes_the_batch_axis_where_it_is() -> None:
    model = nn.LSTM(6, 5)

    def loss(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return model[1](model[0](batch.transpose(0, 1))[0]).square().mean()

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = model, nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.lstm(x.transpose(0, 1))[0][-1])

    probe = probe_of(torch.randn(4, 3, 6), squared)
    both = Both()
    changed = ablated(both, "lstm", probe, mode="resample")
    assert torch.equal(changed(probe.batch), both(probe.batch).roll(1, 0))


def test_what_is_only_read_has_no_output_to_resample() -> None:
    with pytest.raises(Opaque, match="there is no output to replace"):
        ablated(Attention(), "encoder.layers.0.self_attn.out_proj", labelled(5, 8), mode="mean")


def test_skip_branch_leaves_the_shortcut() -> None:
    model, x = blocks(), PROBE.batch[0]
    changed = ablated(model, 1, PROBE, mode="skip_branch")
    assert torch.equal(changed(x), model[2](model[1].shortcut(model[0](x))))
    with pytest.raises(AblationError, match="'0' has no shortcut"):
        ablated(model, 0, PROBE, mode="skip_branch")


def test_freeze_init_keeps_what_is_drawn() -> None:
    model = tower()
    changed = ablated(model, 4, PROBE, mode="freeze_init")
    before = changed[4].weight.clone()
    optimizer = PROBE.optimizer(changed)
    PROBE.loss(changed, PROBE.batch).backward()
    optimizer.step()
    assert torch.equal(changed[4].weight, before)
    assert torch.equal(before, model[4].weight)
    with pytest.raises(NoEffect, match="no parameter of it learns"):
        ablated(model, 2, PROBE, mode="freeze_init")


def test_reinit_draws_one_layer_from_another_seed() -> None:
    model = tower()
    one, other = (ablated(model, 4, PROBE, mode="reinit", seed=seed) for seed in (0, 1))
    assert not torch.equal(one[4].weight, other[4].weight)
    assert torch.equal(one[0].weight, model[0].weight)


def test_heads_are_silenced_and_stay_so() -> None:
    model, probe = Attention(layers=1, dropout=0.0), labelled(5, 8)
    changed = ablated(model, "encoder.layers.0.self_attn", probe, heads=1)
    projection = changed.encoder.layers[0].self_attn.out_proj
    optimizer = torch.optim.SGD(changed.parameters(), lr=0.1, weight_decay=0.1)
    probe.loss(changed, probe.batch).backward()
    optimizer.step()
    assert not projection.weight[:, 4:].any()
    assert projection.weight[:, :4].any()
    with pytest.raises(AblationError, match="has 2 heads; give numbers from 0 to 1"):
        ablated(model, "encoder.layers.0.self_attn", probe, heads=(0, 2))
    with pytest.raises(AblationError, match="select the attention itself"):
        ablated(model, "head", probe, heads=0)


def test_heads_of_a_hand_written_attention() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.num_heads = 2
            self.qkv, self.proj, self.head = nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
            mixed = (q @ k.transpose(-1, -2)).softmax(-1) @ v
            return self.proj(mixed.transpose(1, 2).flatten(2))

    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.head = Own(), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.attention(x).mean(1))

    model, probe = Holder(), labelled(5, 8)
    changed = ablated(model, "attention", probe, heads=(0,))
    expected = copy.deepcopy(model)
    with torch.no_grad():
        expected.attention.proj.weight[:, :4] = 0
    assert torch.allclose(changed(probe.batch[0]), expected(probe.batch[0]), atol=1e-6)


def test_a_selection_is_a_path_a_glob_a_class_an_index_or_a_group() -> None:
    model = tower()
    assert select(model, "4") == ("4",)
    assert select(model, nn.Linear) == ("0", "4", "6")
    assert select(model, -1) == ("6",)
    assert select(model, (1, nn.Tanh)) == ("1", "5")
    assert select(Stack(), "blocks.*") == ("blocks.0", "blocks.1", "blocks.2")
    assert select(Stack(), "head.bias") == ("head.bias",)


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ("blocks.3", "'blocks.3' is no submodule of Stack; near are 'blocks.2', 'blocks.1', 'blocks.0'"),
        ("zzz*", "there are blocks, blocks.0"),
        (7, "there is no layer 7: Stack has 3 children; give an index from 0 to 2"),
        (nn.Conv2d, "there is no Conv2d in Stack; it has Linear, ModuleList"),
        (2.5, "expected a path, a glob, a class or an index"),
        (True, "expected a path, a glob, a class or an index"),
    ],
)
def test_an_unknown_layer_is_told_with_the_near_ones(layers: object, told: str) -> None:
    with pytest.raises(LevelError, match=told.replace("*", r"\*").replace("(", r"\(")):
        AblateLayers(layers).edit(Stack(), PROBE)  # type: ignore[arg-type]


def test_unknown_modes_are_refused_at_once() -> None:
    with pytest.raises(LevelError, match="did you mean 'remove'"):
        AblateLayers("0", mode="remov")
    with pytest.raises(LevelError, match="expected 'draw' or 'slice'"):
        AblateLayers("0", rebuild="no")
    with pytest.raises(LevelError, match="heads"):
        AblateLayers("0", heads=(-1,))


def test_no_layers_is_the_control() -> None:
    model = tower()
    assert AblateLayers().edit(model, PROBE) is model
    assert "nothing" in str(AblateLayers().describe(model, PROBE))


def test_a_parameter_is_removed_by_its_name() -> None:
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Parameter(torch.ones(6))
            self.head = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x + self.place)

    changed = ablated(Placed(), "place", PROBE)
    assert not changed.place.any()
    assert "place" not in dict(changed.named_parameters())


def test_the_change_is_told() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    change = AblateLayers(0).describe(model, PROBE)
    assert change.removed == ("0",)
    assert change.rebuilt == (
        (
            "2",
            "Linear(in_features=8, out_features=3, bias=True)",
            "Linear(in_features=6, out_features=3, bias=True)",
        ),
    )
    assert (change.parameters_before, change.parameters_after) == (83, 21)
    assert change.parameters_removed == ("0.weight", "0.bias")
    assert change.parameters_redrawn == ("2.weight", "2.bias")
    text = str(change)
    assert "Linear(in_features=8, out_features=3, bias=True) → Linear(in_features=6" in text
    assert "parameters: 83 → 21" in text


@pytest.mark.parametrize("mode", ["remove", "zero", "mean", "resample", "freeze_init", "reinit"])
def test_the_same_change_of_the_same_model_is_the_same_run(mode: str) -> None:
    model, probe = Residual(), labelled(4, 5, 5)
    one, other = (stepped(ablated(model, "conv", probe, mode=mode), probe) for _ in range(2))
    assert one == other
    assert one != stepped(model, probe)


def test_nothing_outside_is_touched() -> None:
    model, probe = Attention(), labelled(5, 8)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    batch = probe.batch[0].clone()
    AblateLayers("encoder.layers.0").describe(model, probe)
    ablated(model, "encoder.layers.0.linear1", probe)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(probe.batch[0], batch)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in model.modules())

"""Arguments and attributes of submodules replaced."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from layer_cases import Recurrent, labelled
from torch import nn

from paribus.errors import LevelError, NoEffect
from paribus.interventions.layers import SetModule
from paribus.interventions.layers.gate import certify

PROBE = labelled(6)


def tower() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3))


def changed(model: nn.Module, setting: SetModule, probe=PROBE) -> nn.Module:
    new = setting.edit(copy.deepcopy(model), probe)
    certify(model, new, probe)
    return new


def test_the_eps_of_a_norm() -> None:
    model = tower()
    new = changed(model, SetModule(nn.LayerNorm, eps=0.1))
    assert new[1].eps == 0.1
    assert torch.equal(new[0].weight, model[0].weight)
    assert new[1].weight.shape == (8,)


def test_an_argument_that_changes_the_parameters_keeps_the_others() -> None:
    model = tower()
    new = changed(model, SetModule("0", bias=False))
    assert new[0].bias is None
    assert torch.equal(new[0].weight, model[0].weight)


def test_an_activation_is_a_submodule_of_its_owner() -> None:
    model = tower()
    for given in (nn.GELU, nn.GELU()):
        new = changed(model, SetModule("", **{"2": given}))
        assert isinstance(new[2], nn.GELU)


def test_a_recurrent_layer_without_bias() -> None:
    torch.manual_seed(0)
    model, probe = Recurrent(), labelled(4, 3)
    new = changed(model, SetModule("lstm", bias=False), probe)
    assert [name for name, _ in new.lstm.named_parameters()] == ["weight_ih_l0", "weight_hh_l0"]
    assert torch.equal(new.lstm.weight_ih_l0, model.lstm.weight_ih_l0)


def test_an_attribute_of_the_users_own() -> None:
    class Gated(nn.Module):
        def __init__(self, gate: bool = True) -> None:
            super().__init__()
            self.linear, self.gate, self.act = nn.Linear(6, 3), gate, torch.tanh

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = self.act(self.linear(x))
            return out * out.sigmoid() if self.gate else out

    model = nn.Sequential(Gated())
    assert changed(model, SetModule(0, gate=False))[0].gate is False
    assert changed(model, SetModule("0", act=partial(torch.clamp, min=0)))[0](PROBE.batch[0]).min() >= 0


def test_the_change_is_told() -> None:
    change = SetModule("0", bias=False).describe(tower(), PROBE)
    assert change.parameters_removed == ("0.bias",)
    assert "set bias=False" in str(change)


def test_levels_are_written_as_for_any_intervention() -> None:
    design = SetModule.make_variations(layers="1", eps=(1e-3, 1e-1))
    assert [level.values for level in design.levels({})] == [{"eps": 1e-3}, {"eps": 1e-1}]


@pytest.mark.parametrize(
    ("setting", "error", "told"),
    [
        (partial(SetModule, "1", epss=1.0), LevelError, "did you mean 'eps'"),
        (partial(SetModule, "1", weight=1.0), LevelError, "'weight' is no argument or attribute"),
        (partial(SetModule, "1", eps=1e-5), NoEffect, "already"),
        (partial(SetModule, "9", eps=1e-5), LevelError, "no submodule"),
        (partial(SetModule, "1"), LevelError, "no value is given"),
    ],
)
def test_what_cannot_be_set_is_refused(setting, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        setting().edit(tower(), PROBE)

"""What is known to go wrong when layers are taken out of a network, one trap a test."""

from __future__ import annotations

import copy

import pytest
import torch
from layer_cases import (
    Attention,
    Autoencoder,
    Cells,
    Dense,
    Folding,
    Mixture,
    Named,
    Recurrent,
    Residual,
    Stack,
    Unet,
    ablated,
    labelled,
    named_probe,
    probe_of,
    squared,
    stepped,
    supervised,
)
from torch import nn

from paribus.errors import (
    AblationError,
    InputCut,
    NoEffect,
    Opaque,
    OutputProducer,
    ShapeUnrepairable,
    TiedAlias,
)
from paribus.interventions.layers import AblateLayers
from paribus.interventions.layers.gate import certify
from paribus.interventions.layers.replacements import Removed
from paribus.interventions.layers.surgery import copied


@pytest.fixture(autouse=True)
def _weights() -> None:
    torch.manual_seed(0)


def test_an_in_place_layer_after_a_pass_through_leaves_the_shortcut_and_the_batch_alone() -> None:
    model, probe = Residual(), labelled(4, 5, 5)
    before = probe.batch[0].clone()
    changed = ablated(model, "norm", probe).eval()
    x = probe.batch[0]
    expected = model.head((x + model.conv(x.clone().relu())).mean((2, 3)))
    assert torch.equal(changed(x), expected)
    assert torch.equal(x, before)


@pytest.mark.parametrize("part", ["self_attn", "linear1", "linear2", "norm1", "norm2", "dropout1"])
@pytest.mark.parametrize("layer", [0, 1])
def test_fused_encoder_layers_see_the_removal_in_evaluation(part: str, layer: int) -> None:
    model, probe = Attention(), labelled(5, 8)
    changed = ablated(model, f"encoder.layers.{layer}.{part}", probe).eval()
    with torch.no_grad():
        fused = changed(probe.batch[0])
    assert torch.allclose(fused, changed(probe.batch[0]), atol=1e-6)


@pytest.mark.parametrize("layer", [0, 1])
def test_an_encoder_layer_is_removed(layer: int) -> None:
    model, probe = Attention(), labelled(5, 8)
    changed = ablated(model, f"encoder.layers.{layer}", probe)
    assert isinstance(changed.encoder.layers[layer], Removed)


def test_a_projection_that_is_read_and_not_called_becomes_zero() -> None:
    model, probe = Attention(), labelled(5, 8)
    name = "encoder.layers.0.self_attn.out_proj"
    changed = ablated(model, name, probe)
    assert not dict(changed.named_parameters()).keys() & {f"{name}.weight", f"{name}.bias"}
    assert not changed.get_submodule(name).weight.any()


def test_a_list_is_removed_by_what_is_called_of_it() -> None:
    model, probe = Stack(), labelled(6)
    changed = ablated(model, "blocks", probe)
    assert all(isinstance(block, Removed) for block in changed.blocks)
    x = probe.batch[0]
    for _ in range(3):
        x = model.shared(x.tanh())
    assert torch.equal(changed(probe.batch[0]), model.head(x))


def test_a_module_called_several_times_is_removed_from_each_place() -> None:
    model, probe = Stack(), labelled(6)
    changed, x = ablated(model, "shared", probe), probe.batch[0]
    for block in model.blocks:
        x = block(x).tanh()
    assert torch.equal(changed(probe.batch[0]), model.head(x))


def test_weights_read_beside_the_calls_are_refused() -> None:
    with pytest.raises(TiedAlias, match=r"'encoder\.weight' is read by the model beside the calls"):
        ablated(Autoencoder(), "encoder", probe_of(torch.randn(4, 6), squared))


def test_tied_parameters_and_modules_are_refused_one_by_one_and_removed_as_a_group() -> None:
    model, probe = Stack(), labelled(6)
    model.blocks[1].weight = model.blocks[0].weight
    with pytest.raises(TiedAlias, match=r"'blocks\.0\.weight' is also 'blocks\.1\.weight'"):
        ablated(model, "blocks.0", probe)
    ablated(model, ("blocks.0", "blocks.1"), probe)
    model = Stack()
    model.blocks[2] = model.blocks[0]
    with pytest.raises(TiedAlias):
        ablated(model, "blocks.2", probe)
    changed = ablated(model, ("blocks.0", "blocks.2"), probe)
    assert isinstance(changed.blocks[0], Removed)
    assert isinstance(changed.blocks[2], Removed)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_layer_of_concatenations_keeps_the_widths(layer: int) -> None:
    changed = ablated(Dense(), f"layers.{layer}", labelled(3, 5, 5))
    assert stepped(changed, labelled(3, 5, 5))


def test_a_batch_is_not_folded() -> None:
    model, probe = Folding(), labelled(1, 4, 4)
    changed = ablated(model, "conv", probe)
    assert changed(probe.batch[0]).shape == (4, 3)
    probe = labelled(1, 8, 8)  # 64 numbers a sample, which would make four samples of each
    model.head = nn.Linear(16, 3)
    with pytest.raises(AblationError):
        ablated(model, "conv", probe)


@pytest.mark.parametrize("layer", ["embed", "cell"])
def test_cells_in_a_loop(layer: str) -> None:
    probe = labelled(4, 3)
    assert ablated(Cells(), layer, probe)(probe.batch[0]).shape == (4, 3)


def test_a_recurrent_layer_whose_state_is_read() -> None:
    probe = labelled(4, 3)
    changed = ablated(Recurrent(), "lstm", probe)
    assert changed(probe.batch[0][:2]).shape == (2, 3)


def test_an_expert_that_a_batch_does_not_call_is_still_removed() -> None:
    model, probe = Mixture(), labelled(6)
    with torch.no_grad():
        model.router.bias.copy_(torch.tensor([100.0, 0.0, -100.0]))
    changed = ablated(model, "experts.2", probe)
    assert isinstance(changed.experts[2], Removed)
    assert isinstance(ablated(model, "experts.0", probe).experts[0], Removed)


def test_a_router_keeps_its_width() -> None:
    model, probe = Mixture(), labelled(6)
    changed = ablated(model, "router", probe)
    assert changed.router(probe.batch[0]).shape == (4, 3)


@pytest.mark.parametrize("layer", ["down1", "down1.0", "down1.1", "down2", "up", "merge", "merge.0", "pool"])
def test_unet(layer: str) -> None:
    probe = probe_of((torch.randn(3, 3, 8, 8), torch.randint(0, 3, (3, 8, 8))), supervised)
    changed = ablated(Unet(), layer, probe)
    assert changed(probe.batch[0]).shape == (3, 3, 8, 8)


def test_the_last_layer_of_a_unet_is_refused() -> None:
    probe = probe_of((torch.randn(3, 3, 8, 8), torch.randint(0, 3, (3, 8, 8))), supervised)
    with pytest.raises(OutputProducer, match="'out' makes the model's output"):
        ablated(Unet(), "out", probe)


@pytest.mark.parametrize("layer", ["table", "numbers", "mix"])
def test_inputs_by_name_and_outputs_in_a_dict(layer: str) -> None:
    changed = ablated(Named(), layer, named_probe())
    assert changed(tokens=torch.ones(2, 5).long(), values=torch.ones(2, 4))["logits"].shape == (2, 3)


def test_the_only_table_of_tokens_is_refused() -> None:
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 3))
    probe = probe_of((torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([0, 1])))
    with pytest.raises(InputCut):
        ablated(model, 0, probe)


def test_scripted_children_are_removed_whole() -> None:
    with pytest.warns(FutureWarning):
        inner = torch.jit.script(nn.Sequential(nn.Linear(6, 6), nn.ReLU()))
    model, probe = nn.Sequential(inner, nn.Linear(6, 3)), labelled(6)
    changed = ablated(model, "0", probe)
    assert torch.equal(changed(probe.batch[0]), model[1](probe.batch[0]))
    with pytest.raises(Opaque, match=r"'0\.0' is inside a scripted or compiled module"):
        ablated(model, "0.0", probe)


def test_compiled_children_are_removed_whole() -> None:
    model = nn.Sequential(torch.compile(nn.Linear(6, 6), backend="eager"), nn.Linear(6, 3))
    probe = labelled(6)
    changed = ablated(model, "0", probe)
    assert torch.equal(changed(probe.batch[0]), model[1](probe.batch[0]))
    with pytest.raises(Opaque):
        ablated(model, "0._orig_mod", probe)


def test_batch_norm_at_a_batch_of_one() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    with pytest.raises(NoEffect):
        ablated(model, "0", labelled(6, batch=2))
    assert stepped(ablated(model, "2", labelled(6, batch=2)), labelled(6, batch=2))
    with pytest.raises(AblationError, match="the model itself fails on this batch"):
        ablated(model, "3", labelled(6, batch=1))


def test_an_unused_branch_has_no_effect() -> None:
    import torchvision

    model = torchvision.models.shufflenet_v2_x0_5(weights=None, num_classes=3)
    with pytest.raises(NoEffect, match=r"'stage2\.1\.branch1' is neither called nor read"):
        ablated(model, "stage2.1.branch1", labelled(3, 32, 32, batch=2))


def test_a_head_of_training_only() -> None:
    import torchvision

    model = torchvision.models.googlenet(weights=None, num_classes=3, init_weights=False, aux_logits=True)

    def loss(model: nn.Module, batch: object) -> torch.Tensor:
        output = model(batch[0])  # type: ignore[index]
        outputs = [output] if isinstance(output, torch.Tensor) else [o for o in output if o is not None]
        return sum(nn.functional.cross_entropy(o, batch[1]) for o in outputs)  # type: ignore[index]

    probe = probe_of((torch.randn(2, 3, 64, 64), torch.tensor([0, 1])), loss)
    with pytest.raises(OutputProducer):
        ablated(model, "aux1", probe)
    assert isinstance(ablated(model, "aux1.conv", probe).aux1.conv, Removed)


def test_draws_of_later_layers_do_not_move() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 6), nn.Dropout(0.5), nn.Linear(6, 3))
    changed, x = ablated(model, "0", labelled(6)), torch.randn(4, 6)
    torch.manual_seed(5)
    model[0](x)
    expected = model[3](model[2](model[1](x)))
    torch.manual_seed(5)
    assert torch.equal(changed(x), expected)


def test_a_model_that_keeps_computed_weights() -> None:
    with pytest.warns(FutureWarning):
        body = nn.utils.weight_norm(nn.Linear(6, 6))
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), body, nn.Linear(6, 3))
    changed = AblateLayers(1).edit(copied(model), labelled(6))
    certify(model, changed, labelled(6))
    assert isinstance(changed[1], Removed)


def test_what_the_model_reads_of_a_removed_module_is_still_told() -> None:
    class Asking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(6, 6)
            self.head = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert self.body.out_features == 6
            return self.head(self.body(x.to(self.body.weight.dtype)))

    changed = ablated(Asking(), "body", labelled(6))
    assert copy.deepcopy(changed).body.in_features == 6


def test_a_shape_that_cannot_be_repaired_is_refused_without_repair() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(ShapeUnrepairable) as raised:
        AblateLayers(0, mode="identity").edit(model, labelled(6))
    assert raised.value.op == "2"
    assert raised.value.shapes == ((4, 6),)

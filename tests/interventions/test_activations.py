"""Interventions on activations: each equals a loop by hand; hooks, nested outputs, layers never called."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, final

import pytest
import torch
from intervention_cases import WINDOW, Net, assert_equals_by_hand, experiment
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from learning_cases import QUIET, run, states, trained, written
from paribus.engine.training.sites import Sites
from paribus.errors import LevelError
from paribus.identity import generator
from paribus.interventions import (
    ActivationsIntervention,
    Call,
    ClampActivations,
    MeanActivations,
    PerturbActivations,
    ResampleActivations,
    ScaleActivations,
    ZeroActivations,
)
from paribus.interventions.checks import Window


def noise(output: torch.Tensor, step: int) -> torch.Tensor:
    return output + 0.1 * torch.randn(
        output.shape, generator=generator(3, "PerturbActivations", step, "fc1", 0, 0)
    )


def relative_noise(output: torch.Tensor, step: int) -> torch.Tensor:
    drawn = torch.randn(output.shape, generator=generator(0, "PerturbActivations", step, "fc1", 0, 0))
    return output + 0.5 * (output.detach().norm() / drawn.norm()) * drawn


def zero_share(output: torch.Tensor, step: int) -> torch.Tensor:
    drawn = torch.rand(output.shape, generator=generator(0, "ZeroActivations", step, "fc1", 0, 0))
    return torch.where(drawn < 0.5, torch.zeros(()), output)


def resample(output: torch.Tensor, step: int) -> torch.Tensor:
    return output[torch.randperm(len(output), generator=generator(4, "ResampleActivations", step, "relu", 0))]


@pytest.mark.parametrize(
    ("intervention", "layer", "change"),
    [
        (PerturbActivations("fc1", 0.1, seed=3, when=WINDOW), "fc1", noise),
        (PerturbActivations("fc1", 0.5, relative="norm", when=WINDOW), "fc1", relative_noise),
        (ScaleActivations("drop", -0.5, when=WINDOW), "drop", lambda output, step: output * -0.5),
        (ClampActivations("norm", -0.5, 1.0, when=WINDOW), "norm", lambda o, step: o.clamp(-0.5, 1.0)),
        (ZeroActivations("norm", when=WINDOW), "norm", lambda output, step: output * 0),
        (ZeroActivations("fc1", 0.5, when=WINDOW), "fc1", zero_share),
        (MeanActivations("fc1", when=WINDOW), "fc1", lambda o, step: o.mean(0, keepdim=True).expand_as(o)),
        (ResampleActivations("relu", seed=4, when=WINDOW), "relu", resample),
    ],
    ids=written,
)
def test_equals_a_loop_written_by_hand(intervention: Any, layer: str, change: Any, folder: Path) -> None:
    assert_equals_by_hand(folder, intervention, hooks={layer: change})


@final
@dataclass(frozen=True)
class Seen(ActivationsIntervention):
    """Leaves everything as it is, and keeps the calls."""

    layers: str | tuple[str, ...] = "*"
    when: Window | None = None
    calls: ClassVar[list[Call]] = []

    def edit(self, output: torch.Tensor, call: Call) -> torch.Tensor:
        self.calls.append(call)
        return output


def hooked(model: nn.Module, *interventions: ActivationsIntervention) -> Sites:
    return Sites(interventions, model, torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1), 0)


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def changed(model: nn.Module, given: Any, *interventions: ActivationsIntervention, step: int = 0) -> Any:
    sites = hooked(model, *interventions)
    with sites.hooked(), sites.forward(step):
        return model(given)


def test_hooks_are_removed_whatever_happens() -> None:
    model = Net()
    with pytest.raises(RuntimeError):
        changed(model, torch.zeros(2, 7), ScaleActivations("*", 2.0))
    assert hooks(model) == 0
    with pytest.raises(LevelError, match=r"ScaleActivations: 'fc9' matches no submodule of the model.*'fc"):
        changed(model, torch.zeros(2, 4), ScaleActivations("fc1", 2.0), ScaleActivations("fc9", 2.0))
    assert hooks(model) == 0
    changed(model, torch.zeros(2, 4), ScaleActivations("*", 2.0))
    assert hooks(model) == 0


def test_evaluation_is_not_touched(folder: Path) -> None:
    """What is recorded at a step is what the model at that step gives, without the intervention."""
    exp = experiment(folder, ZeroActivations("fc2"), steps=3, loss=None)
    run(exp)
    model = exp[0].checkpoint().model.eval()
    images, targets = exp.work.splits["test"].contents
    loss = functional.cross_entropy(model(images), targets).item()
    assert exp[0].frame()["test/loss"][-1] == pytest.approx(loss)


class Repeated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(4, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.shared(self.shared(self.shared(inputs)))


def test_each_call_in_a_step_draws_its_own_numbers_and_each_step_counts_anew() -> None:
    Seen.calls.clear()
    model = Repeated()
    sites = hooked(model, Seen())
    with sites.hooked():
        for step in (5, 6):
            with sites.forward(step):
                model(torch.zeros(2, 4))
            sites.change_gradients(step)
        model(torch.zeros(2, 4))  # no training step
    assert Seen.calls == [Call("shared", step, number) for step in (5, 6) for number in range(3)]
    model.shared = nn.Identity()  # type: ignore[assignment]
    drawn = [
        0.1 * torch.randn(2, 4, generator=generator(0, "PerturbActivations", 5, "shared", number, 0))
        for number in range(3)
    ]
    found = changed(model, torch.zeros(2, 4), PerturbActivations("shared", 0.1), step=5)
    assert torch.equal(found, drawn[0] + drawn[1] + drawn[2])


class Output(OrderedDict[str, Any]):
    """As transformers' ModelOutput: entries are attributes too, and ``update`` is refused."""

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        super().__setattr__(name, value)

    def update(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("no update")


class Pair(NamedTuple):
    first: torch.Tensor
    count: torch.Tensor


class Nested(nn.Module):
    def forward(self, inputs: torch.Tensor) -> Any:
        output = Output()
        output["logits"] = inputs
        output["hidden"] = (inputs + 1, [inputs + 2, None], Pair(inputs + 3, torch.tensor(3)))
        output["more"] = UserDict(cache=inputs)
        return output


def test_nested_outputs_keep_their_types_and_integers_their_values() -> None:
    Seen.calls.clear()
    model = nn.Sequential(OrderedDict(inner=Nested()))
    given = torch.ones(2, 4)
    found = changed(model, given, ScaleActivations("inner", 2.0), Seen("inner"))
    assert type(found) is Output
    assert found.logits is found["logits"]
    assert found.logits.tolist() == [[2] * 4] * 2
    first, (second, nothing), pair = found.hidden
    assert (first.max(), second.max(), nothing, pair.first.max(), pair.count) == (4, 6, None, 8, 3)
    assert type(pair) is Pair
    assert type(found.more) is UserDict
    assert found.more["cache"].max() == 2
    assert [call.place for call in Seen.calls] == [0, 1, 2, 3, 5]


def test_outputs_of_transformers_are_changed_and_keep_their_type() -> None:
    outputs = pytest.importorskip("transformers.modeling_outputs")

    class Classifier(nn.Module):
        def forward(self, inputs: torch.Tensor) -> Any:
            return outputs.SequenceClassifierOutput(logits=inputs, hidden_states=(inputs, inputs))

    model = nn.Sequential(OrderedDict(inner=Classifier()))
    found = changed(model, torch.ones(2, 3), ScaleActivations("inner", 2.0))
    assert type(found) is outputs.SequenceClassifierOutput
    assert found.loss is None
    assert found.logits.max() == found["logits"].max() == found.hidden_states[1].max() == 2


def test_a_recurrent_networks_output_and_states_are_changed_and_draw_apart() -> None:
    model = nn.Sequential(OrderedDict(lstm=nn.LSTM(4, 3)))
    given = torch.randn(5, 2, 4, generator=generator(0, "test"))
    plain, (hidden, cell) = model(given)
    noisy, (noisy_hidden, noisy_cell) = changed(model, given, PerturbActivations("lstm", 0.1))
    assert not torch.equal(noisy, plain)
    assert not torch.equal(noisy_hidden - hidden, noisy_cell - cell)
    order = torch.randperm(2, generator=generator(1, "ResampleActivations", 0, "lstm", 0))
    mixed, (mixed_hidden, _) = changed(model, given, ResampleActivations("lstm", dim=1, seed=1))
    assert torch.equal(mixed, plain[:, order])
    assert torch.equal(mixed_hidden, hidden[:, order])


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)])
        self.head = nn.Linear(4, 3)
        self.spare = nn.Linear(4, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        inputs = inputs.flatten(1).unsqueeze(1)
        for block in self.blocks:
            inputs = block(inputs)
        return self.head(inputs.mean(1))


@pytest.mark.parametrize("layer", ["spare", "blocks", "blocks.0.self_attn.out_proj"])
def test_a_layer_that_is_never_called_is_refused_before_training(layer: str, folder: Path) -> None:
    exp = experiment(folder, [ZeroActivations(layer, when=(4, 6))], model=Encoder)
    with pytest.raises(
        LevelError, match=f"ZeroActivations: '{layer}' matches '{layer}', and no forward pass"
    ):
        run(exp)
    assert exp.plan().cached == 0


def test_layers_of_a_transformer_are_changed_also_where_it_has_a_fast_path(folder: Path) -> None:
    layers = ("blocks.*", "*.linear1")
    exp = experiment(
        folder, ScaleActivations.make_variations(layers=layers, factor=(0.5, 1.0)), model=Encoder
    )
    run(exp)
    assert len(exp) == len(set(states(exp))) == 3, "two factors of 1 are one control"


def test_an_unknown_layer_is_refused_before_training_with_the_near_names(folder: Path) -> None:
    exp = experiment(folder, [ZeroActivations("fc", when=(0, 2))])
    with pytest.raises(LevelError, match=r"'fc' matches no submodule of the model \(flatten, fc1.*'fc\d'\?"):
        run(exp)


def test_a_batch_dimension_that_is_not_there_is_refused_before_training(folder: Path) -> None:
    exp = experiment(folder, [MeanActivations("fc1", dim=2)])
    with pytest.raises(
        LevelError, match=r"MeanActivations: 'fc1' gives .* \(16, 8\), which has no dimension 2"
    ):
        run(exp)


@final
@dataclass(frozen=True)
class Halved(ActivationsIntervention):
    """Forgets half of the units."""

    layers: str | tuple[str, ...] = "fc1"
    when: Window | None = None

    def edit(self, output: torch.Tensor, call: Call) -> torch.Tensor:
        return output[:, ::2]


def test_a_changed_shape_is_refused_before_training(folder: Path) -> None:
    with pytest.raises(
        LevelError, match=r"Halved: it made \(16, 4\) of what 'fc1' gave, a tensor of shape \(16, 8\)"
    ):
        run(experiment(folder, [Halved()]))


class Recomputing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = Net()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.body, inputs, use_reentrant=False)  # type: ignore[no-any-return]


def test_a_layer_that_is_computed_again_in_the_backward_pass_is_refused(folder: Path) -> None:
    exp = experiment(folder, [PerturbActivations("body.fc1", 0.1)], model=Recomputing())
    run(exp)
    assert exp[0].status == "failed"
    assert "'body.fc1' is computed again in the backward pass" in exp[0].history.error


def test_gradients_flow_through_what_is_changed() -> None:
    model = Repeated()
    changed(model, torch.ones(2, 4), ScaleActivations("shared", 0.5)).sum().backward()
    assert model.shared.weight.grad is not None
    assert model.shared.weight.grad.any()


def test_no_draw_moves_another(folder: Path) -> None:
    """Noise of size zero at a layer before dropout: the dropout draws as in the control."""
    control, zero = experiment(folder), experiment(folder, ZeroActivations("fc1", when=(0, None)))
    assert trained(control.work, control[0].configuration) != trained(control.work, zero[0].configuration)
    Seen.calls.clear()
    seen = experiment(folder, Seen("fc1"), logger=QUIET)
    assert (
        trained(seen.work, seen[0].configuration).to_bytes()
        == trained(control.work, control[0].configuration).to_bytes()
    )


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: PerturbActivations("fc1", "big"), "PerturbActivations: epsilon='big' is no number"),
        (lambda: PerturbActivations("fc1", 0.1, seed=0.5), "PerturbActivations: seed=0.5 is no whole number"),
        (lambda: ScaleActivations(None, 2.0), "ScaleActivations: layers=None; expected a path or glob"),
        (lambda: ScaleActivations("fc1", None), "ScaleActivations: factor=None is no number"),
        (lambda: ClampActivations("fc1", 2, 1), "ClampActivations: low=2.0 is above high=1.0"),
        (lambda: ZeroActivations("fc1", -0.1), "ZeroActivations: share=-0.1 is no share"),
        (lambda: MeanActivations("fc1", dim=-1), "MeanActivations: dim=-1 is no whole number >= 0"),
        (lambda: ResampleActivations("fc1", when=3), "ResampleActivations: when=3 is no window"),
    ],
)
def test_wrong_values_are_refused_where_they_are_written(wrong: Any, told: str) -> None:
    with pytest.raises(LevelError, match=told):
        wrong()

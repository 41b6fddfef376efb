"""Every intervention with an effect and in the forms that have none, and a small experiment to try it on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

import learning_cases
from paribus import Experiment
from paribus.engine.learners.configuration import Component, Configuration
from paribus.identity import derive_seed, generator
from paribus.interventions import (
    BlurInputs,
    ClampActivations,
    ClipGradients,
    Constant,
    Cosine,
    DataIntervention,
    DropGradients,
    FreezeWeights,
    InitWeights,
    InterpolateWeights,
    Intervention,
    MaskWeights,
    MeanActivations,
    PerturbActivations,
    PerturbGradients,
    PerturbInputs,
    PerturbMomentumBuffer,
    PerturbWeights,
    PruneRounds,
    PruneWeights,
    ReinitWeights,
    ResampleActivations,
    ResetMomentumBuffer,
    RewindWeights,
    ScaleActivations,
    ScaleGradients,
    ScaleMomentumBuffer,
    SetBatchSize,
    SetOptimizer,
    SetParameterGroup,
    SetSchedule,
    SetSeeds,
    ShuffleTargets,
    SignGradients,
    StepDecay,
    TransformBatch,
    Warmup,
    WeightTerm,
    ZeroActivations,
)

WINDOW = (2, 4)  # of the 6 steps of an experiment, 3 of which are an epoch
IMAGES = {
    name: TensorDataset(split.tensors[0].reshape(-1, 1, 2, 2), split.tensors[1])
    for name, split in learning_cases.POINTS.items()
}


class Net(nn.Sequential):
    """A model with all that makes a state: buffers that move, draws in the forward pass."""

    def __init__(self) -> None:
        layers = OrderedDict[str, nn.Module](flatten=nn.Flatten(), fc1=nn.Linear(4, 8))
        layers.update(norm=nn.BatchNorm1d(8), relu=nn.ReLU(), drop=nn.Dropout(0.3), fc2=nn.Linear(8, 3))
        super().__init__(layers)


def size(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """A second term of the loss: the logits' mean square."""
    return outputs.square().mean()


LOSS = {"ce": functional.cross_entropy, "size": size}


def jittered(batch: Any) -> Any:
    """An augmentation that draws from a global generator."""
    images, targets = batch
    return images + torch.rand(len(images), 1, 1, 1), targets


def experiment(store: Path | str, interventions: Any = (), **options: Any) -> Experiment:
    settings: dict[str, Any] = {"model": Net(), "dataset": IMAGES, "loss": LOSS}
    return learning_cases.experiment(store, interventions, **(settings | options))


@dataclass(frozen=True)
class Case:
    """An intervention as its contract is tested.

    Attributes:
        effective: A form that changes something.
        nulls: Forms that change nothing.
        extra: Steps of other learners that are trained for it.
    """

    effective: Intervention
    nulls: tuple[Intervention, ...]
    extra: int = 0


CASES = [
    Case(SetSeeds(order=1, when=WINDOW), (SetSeeds(), SetSeeds(order=0, forward=0, when=WINDOW))),
    Case(SetSeeds(forward=1, when=WINDOW), (SetSeeds(augment=0), SetSeeds(forward=1, when=(2, 2)))),
    Case(SetBatchSize(8, when=WINDOW), (SetBatchSize(16), SetBatchSize(16, when=WINDOW))),
    Case(PerturbGradients(0.1, when=WINDOW), (PerturbGradients(0), PerturbGradients(0, seed=3, when=WINDOW))),
    Case(PerturbGradients(0.1, relative="norm", when=WINDOW), (PerturbGradients(0, relative="norm"),)),
    Case(
        ScaleGradients(-1.0, layers="fc1", when=WINDOW), (ScaleGradients(1), ScaleGradients(2, when=(3, 3)))
    ),
    Case(ClipGradients(norm=0.01, when=WINDOW), (ClipGradients(), ClipGradients(when=WINDOW))),
    Case(ClipGradients(value=0.01, when=WINDOW), (ClipGradients(value=0.1, when=(1, 1)),)),
    Case(SignGradients(layers="*.weight", when=WINDOW), (SignGradients(when=(2, 2)),)),
    Case(DropGradients(0.5, when=WINDOW), (DropGradients(0), DropGradients(0.0, when=WINDOW))),
    Case(DropGradients(0.5, whole=True, seed=1, when=WINDOW), (DropGradients(0, whole=True),)),
    Case(PerturbActivations("fc1", 0.1, when=WINDOW), (PerturbActivations("*", 0),)),
    Case(PerturbActivations("fc1", 0.1, relative="norm", when=WINDOW), (PerturbActivations("fc1", -0.0),)),
    Case(ScaleActivations("relu", 0.5, when=WINDOW), (ScaleActivations("relu", 1),)),
    Case(ClampActivations("fc1", low=0.0, when=WINDOW), (ClampActivations("fc1"),)),
    Case(ZeroActivations("fc1", when=WINDOW), (ZeroActivations("fc1", 0), ZeroActivations("*", when=(0, 0)))),
    Case(ZeroActivations("fc1", share=0.5, when=WINDOW), (ZeroActivations("fc1", 0.0, seed=2),)),
    Case(MeanActivations("drop", when=WINDOW), (MeanActivations("drop", when=(4, 4)),)),
    Case(ResampleActivations("drop", when=WINDOW), (ResampleActivations("drop", when=(0, 0)),)),
    Case(TransformBatch(jittered, when=WINDOW), (TransformBatch(jittered, when=(5, 5)),)),
    Case(PerturbInputs(0.5, when=WINDOW), (PerturbInputs(0), PerturbInputs(0.0, when=WINDOW))),
    Case(BlurInputs(1.0, when=WINDOW), (BlurInputs(0), BlurInputs(0.0, when=WINDOW))),
    Case(ShuffleTargets(when=WINDOW), (ShuffleTargets(0), ShuffleTargets(0.0, when=WINDOW))),
    Case(ShuffleTargets(0.5, when=WINDOW), (ShuffleTargets(0.0, seed=1),)),
    Case(WeightTerm("size", 0.0, when=WINDOW), (WeightTerm("size", 1), WeightTerm("size", 1.0, when=WINDOW))),
    Case(WeightTerm("ce", 10.0, when=WINDOW), (WeightTerm("ce", 1.0),)),
    Case(
        PerturbWeights(0.1, step=2),
        (PerturbWeights(0), PerturbWeights(0.0, step=3), PerturbWeights(1, layers=())),
    ),
    Case(
        PerturbWeights(0.1, step=2, relative="norm", layers="fc1"),
        (PerturbWeights(0, relative="norm", step=1),),
    ),
    Case(PerturbWeights(0.1, step=2, relative="init"), (PerturbWeights(0, relative="init", step=1),)),
    Case(
        PerturbWeights(0.1, step=2, sphere=True),
        (PerturbWeights(0, sphere=True), PerturbWeights(0.0, sphere=True, step=2)),
    ),
    Case(ReinitWeights("fc1", step=2), (ReinitWeights(()), ReinitWeights((), step=4))),
    Case(ReinitWeights("*", step=2, forget=True), (ReinitWeights((), forget=True),)),
    Case(
        RewindWeights(to=1, step=2),
        (RewindWeights(to=0, step=0), RewindWeights(to=3, step=3), RewindWeights(0, 2, ())),
    ),
    Case(RewindWeights(to=0, step=2, optimizer=True), (RewindWeights(to=4, step=4, optimizer=True),)),
    Case(
        InterpolateWeights(InitWeights(1), step=2),
        (InterpolateWeights(InitWeights(1), 0), InterpolateWeights(InitWeights(1), 0.0, step=3)),
        extra=2,
    ),
    Case(FreezeWeights("fc1", when=WINDOW), (FreezeWeights(()), FreezeWeights("fc1", when=(3, 3)))),
    Case(PruneWeights(0.5, when=WINDOW), (PruneWeights(0), PruneWeights(0.0, when=WINDOW))),
    Case(PruneWeights(0.5, "random", "layer", when=WINDOW), (PruneWeights(0, "random", seed=4),)),
    Case(PruneRounds(2, after=6, when=(2, None)), (PruneRounds(0), PruneRounds(0, when=(1, 4))), extra=8),
    Case(
        MaskWeights({"fc1.weight": torch.eye(8, 4) > 0}, when=WINDOW),
        (MaskWeights({}), MaskWeights({"fc1.weight": torch.ones(8, 4) > 0}, when=(1, None))),
    ),
    Case(
        SetOptimizer(torch.optim.Adam, lr=0.01, when=WINDOW),
        (SetOptimizer(), SetOptimizer(momentum=0.9, when=WINDOW), SetOptimizer(torch.optim.SGD, when=(1, 3))),
    ),
    Case(SetOptimizer(weight_decay=0.5, when=WINDOW), (SetOptimizer(torch.optim.Adam, when=(2, 2)),)),
    Case(
        SetParameterGroup("*.bias", lr=1.0, when=WINDOW),
        (SetParameterGroup("fc1"), SetParameterGroup((), lr=1.0, when=WINDOW)),
    ),
    Case(
        SetSchedule(Warmup(steps=3), when=WINDOW), (SetSchedule(None), SetSchedule(Constant(), when=WINDOW))
    ),
    Case(SetSchedule(Cosine(), when=WINDOW), (SetSchedule(StepDecay(every=1), when=(1, 1)),)),
    Case(
        ScaleMomentumBuffer(-1.0, when=WINDOW),
        (ScaleMomentumBuffer(1), ScaleMomentumBuffer(1.0, when=WINDOW)),
    ),
    Case(
        ResetMomentumBuffer("fc1", when=(2, 3)), (ResetMomentumBuffer(()), ResetMomentumBuffer(when=(2, 2)))
    ),
    Case(
        PerturbMomentumBuffer(0.1, when=WINDOW),
        (PerturbMomentumBuffer(0), PerturbMomentumBuffer(0.0, seed=3)),
    ),
    Case(PerturbMomentumBuffer(0.1, "norm", when=WINDOW), (PerturbMomentumBuffer(-0.0, "norm"),)),
]


def with_preparation(configuration: Configuration, *changes: DataIntervention) -> Configuration:
    """The configuration with changes that would have vanished from it."""
    return Configuration({**configuration.components, "preparation": Component.of(changes)})


def by_hand(
    *,
    batch: Callable[[Any, int], Any] | None = None,
    hooks: Mapping[str, Callable[[torch.Tensor, int], torch.Tensor]] | None = None,
    gradients: Callable[[Mapping[str, torch.Tensor], int], None] | None = None,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """The loop that a user would write; in the steps of the window it does what is given.

    Returns:
        The model's tensors and the momentum buffers.
    """
    model = Net()
    for name, module in model.named_modules():
        if hasattr(module, "reset_parameters"):
            torch.manual_seed(derive_seed(0, "init", name))
            module.reset_parameters()
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.SGD(parameters.values(), lr=0.01, momentum=0.9)
    orders = [torch.randperm(48, generator=generator(0, "order", epoch)).split(16) for epoch in (0, 1)]
    for step, places in enumerate((*orders[0], *orders[1])):
        inside = WINDOW[0] <= step < WINDOW[1]
        images, targets = (tensor[places] for tensor in IMAGES["train"].tensors)
        if inside and batch:
            images, targets = batch((images, targets), step)
        torch.manual_seed(derive_seed(0, "forward", step))
        outputs = images
        for name, module in model.named_children():
            outputs = module(outputs)
            if inside and hooks and name in hooks:
                outputs = hooks[name](outputs, step)
        value = functional.cross_entropy(outputs, targets) + size(outputs, targets)
        optimizer.zero_grad()
        (loss(outputs, targets) if inside and loss else value).backward()
        if inside and gradients:
            with torch.no_grad():
                gradients({name: p.grad for name, p in parameters.items() if p.grad is not None}, step)
        optimizer.step()
    buffers = {f"{name}/momentum": optimizer.state[p]["momentum_buffer"] for name, p in parameters.items()}
    return {**model.state_dict(), **buffers}


def assert_equals_by_hand(folder: Path, intervention: Intervention, **changes: Any) -> None:
    """Train with an intervention and by hand: each number of the state is equal to the bit."""
    exp = experiment(folder, intervention)
    learning_cases.run(exp)
    found = exp[0].checkpoint()
    state = found.model.state_dict()
    for name, parameter in found.model.named_parameters():
        state[f"{name}/momentum"] = found.optimizer.state[parameter]["momentum_buffer"]
    expected = by_hand(**changes)
    assert state.keys() == expected.keys()
    assert [name for name, tensor in expected.items() if not torch.equal(tensor, state[name])] == []

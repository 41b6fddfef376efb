"""Interventions of your own: subclass the class of a site and write one method. One for each site."""

from dataclasses import dataclass

import torch

from paribus import Experiment, one_at_a_time
from paribus.datasets import digits
from paribus.identity import generator
from paribus.interventions import (
    ActivationsIntervention,
    ArchitectureIntervention,
    BatchIntervention,
    BuffersIntervention,
    ConstraintIntervention,
    DataIntervention,
    GradientsIntervention,
    HyperparameterIntervention,
    InitWeights,
    ObjectiveIntervention,
    WeightsIntervention,
)
from paribus.models import MLP


@dataclass(frozen=True)
class EveryNth(DataIntervention):
    n: int

    def edit(self, splits):
        train = splits["train"]
        return {**splits, "train": train.subset(torch.arange(0, train.samples, self.n))}


@dataclass(frozen=True)
class WithoutBias(ArchitectureIntervention):
    layer: str

    def edit(self, model, probe):
        model.get_submodule(self.layer).register_parameter("bias", None)
        return model


@dataclass(frozen=True)
class RoundWeights(WeightsIntervention):
    decimals: int
    step: int = 0

    def edit(self, parameters):
        for parameter in parameters.values():
            parameter.copy_(parameter.round(decimals=self.decimals))


@dataclass(frozen=True)
class HalveRate(HyperparameterIntervention):
    when: tuple | None = None

    def edit(self, optimizer):
        return optimizer.replace(lr=optimizer["lr"] / 2)


@dataclass(frozen=True)
class ForgetMomentum(BuffersIntervention):
    share: float
    when: tuple | None = None

    def edit(self, buffers, step):
        for tensors in buffers.values():
            for buffer in tensors.values():
                buffer.mul_(1 - self.share)


@dataclass(frozen=True)
class HidePixels(BatchIntervention):
    share: float
    seed: int = 0
    when: tuple | None = None

    def edit(self, batch, step):
        images, labels = batch
        drawn = torch.rand(images.shape[1:], generator=generator(self.seed, "HidePixels", step))
        return images * (drawn >= self.share), labels


@dataclass(frozen=True)
class RoundActivations(ActivationsIntervention):
    layers: str
    when: tuple | None = None

    def edit(self, output, call):
        return output + (output.round() - output).detach()  # gradients pass straight through


@dataclass(frozen=True)
class CentreGradients(GradientsIntervention):
    when: tuple | None = None

    def edit(self, gradients, step):
        for gradient in gradients.values():
            gradient.sub_(gradient.mean())


@dataclass(frozen=True)
class Positive(ConstraintIntervention):
    when: tuple | None = None

    def prepare(self, *_):
        return {}

    def edit(self, parameters, kept):
        parameters["fc1.weight"].clamp_(min=0)


@dataclass(frozen=True)
class SwapTerms(ObjectiveIntervention):
    when: tuple | None = None

    def edit(self, weights):
        return {"ce": weights.get("size", 1.0), "size": weights.get("ce", 1.0) / 10}


def size(outputs, targets):
    return outputs.square().mean() / 10


early = (0, 20)
exp = Experiment(
    model=MLP(inputs=64),
    dataset=digits(size=8),
    loss={"ce": torch.nn.functional.cross_entropy, "size": size},
    interventions=[
        InitWeights.make_variations(seed=range(2)),
        one_at_a_time(
            EveryNth(n=2),
            WithoutBias(layer="fc1"),
            RoundWeights(decimals=1, step=20),
            HalveRate(when=early),
            ForgetMomentum(share=0.5, when=early),
            HidePixels.make_variations(share=(0.25, 0.5), when=early),
            RoundActivations(layers="relu1", when=early),
            CentreGradients(when=early),
            Positive(when=early),
            SwapTerms(when=early),
        ),
    ],
    steps=60,
    store="runs",
)

if __name__ == "__main__":
    print(exp.plan())
    exp.run()
    print(exp.results().select("learner", "status", "test/loss", "test/loss/ce", "test/accuracy"))

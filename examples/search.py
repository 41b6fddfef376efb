"""SGD or Adam, each at a learning rate that was searched for: chosen on validation, reported on test."""

import argparse

import torch

from paribus import Experiment, Float, Search
from paribus.datasets import digits
from paribus.interventions import InitWeights, SetOptimizer
from paribus.models import MLP

command = argparse.ArgumentParser(description=__doc__)
command.add_argument("--trials", type=int, default=8)
command.add_argument("--steps", type=int, default=300)
command.add_argument("--sampler", default="sobol", help="sobol, random, tpe, cmaes, gp")
asked = command.parse_args()

data = digits(size=8)
held_out = range(0, len(data["test"]), 2)
splits = {
    "train": data["train"],
    "validation": torch.utils.data.Subset(data["test"], held_out),
    "test": torch.utils.data.Subset(data["test"], [i + 1 for i in held_out if i + 1 < len(data["test"])]),
}
exp = Experiment(
    MLP(64),
    splits,
    [
        InitWeights.make_variations(seed=range(3)),
        SetOptimizer(torch.optim.SGD, lr=Float(1e-3, 1.0, log=True), momentum=0.9)
        + SetOptimizer(torch.optim.Adam, lr=Float(1e-4, 0.1, log=True)),
    ],
    steps=asked.steps,
    search=Search("validation/loss", "minimize", trials=asked.trials, sampler=asked.sampler),
    store="runs",
)
print(exp.plan())
exp.run()
print(exp.best())
if asked.sampler in ("sobol", "random"):  # points that no result has chosen
    print(exp.tuned("test/accuracy", over=["SetOptimizer.lr"], by="validation/loss"))

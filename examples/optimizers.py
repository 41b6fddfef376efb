"""Which optimizer, at which learning rate? 60 learners."""

from functools import partial

import polars as pl
import torch

import options
from paribus import Experiment
from paribus.interventions import InitWeightsIntervention, OptimizerIntervention
from paribus.models import LeNet5 as Lenet5

command = options.parser(__doc__)
command.add_argument("--executor", default="serial", help="serial, or joblib for all cores")
asked = command.parse_args()
dataset = asked.dataset
# What the snippet below leaves open; itself, it is word for word from "Experiments on Training".
Experiment = partial(Experiment, steps=asked.steps, store=asked.store)

# fmt: off
exp = Experiment(
    model=Lenet5(),
    dataset=dataset,
    interventions=[
        InitWeightsIntervention.make_variations(
            seed=range(10)
        ),
        OptimizerIntervention.make_variations(
            optimizers=(torch.optim.SGD, torch.optim.Adam),
            lr=(0.001, 0.01, 0.1),
        )
    ],
)
# fmt: on

print(exp.plan())
if asked.plan:
    raise SystemExit

exp.run(asked.executor)

accuracy = pl.col("test/accuracy")
conditions = exp.results().group_by("SetOptimizer.optimizer", "SetOptimizer.lr", maintain_order=True)
print(conditions.agg(pl.len().alias("n"), accuracy.mean().alias("mean"), accuracy.std().alias("sd")))

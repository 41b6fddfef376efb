"""Does it matter when momentum is perturbed? 540 learners; 54 first, which are then not trained again.

The 54 are 231,000 steps: tens of minutes for LeNet5 on two cores. --plan shows the counts at once.
"""

from functools import partial

import polars as pl

import options
from paribus import Experiment
from paribus.interventions import (
    InitWeightsIntervention,
    OptimizerIntervention,
    PerturbMomentumIntervention,
)
from paribus.models import LeNet5 as Lenet5

command = options.parser(__doc__, steps=6000)
command.add_argument("--executor", default="joblib", help="joblib, or serial for this process alone")
command.add_argument("--all", action="store_true", help="at the end, train the other 486 too")
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
            momentum=(0.9, 0.99, 0.999),
        ),
        PerturbMomentumIntervention.make_variations(
            momentum=lambda m: (m * (1 + epsilon) for epsilon in (0.001, -0.001, 0.01, -0.01, 0.1, -0.1)),
            when=((0, 100), (1000, 1100), (5000, 5100)),
        )
    ],
)
# fmt: on
print("All of it:", exp.plan(), sep="\n")

# "So I can get rid of the InitWeightsIntervention, which leaves me with a more reasonable 54 trials."
fewer = Experiment(
    model=Lenet5(),
    dataset=dataset,
    interventions=[
        OptimizerIntervention.make_variations(
            momentum=(0.9, 0.99, 0.999),
        ),
        PerturbMomentumIntervention.make_variations(
            momentum=lambda m: (m * (1 + epsilon) for epsilon in (0.001, -0.001, 0.01, -0.01, 0.1, -0.1)),
            when=((0, 100), (1000, 1100), (5000, 5100)),
        ),
    ],
)
print("", "Without the first entry:", fewer.plan(), sep="\n")
if asked.plan:
    raise SystemExit

# Some levels reach a momentum of 1 and more. Such a learner may diverge: that is its result, a row like any.
fewer.run(asked.executor)
fast = fewer.results().filter(pl.col("PerturbMomentum.momentum") >= 1)
print(fast.group_by("PerturbMomentum.momentum", "status").agg(pl.len(), pl.col("test/accuracy").mean()))

# "Best of all, it'll automatically skip the trials that have already been run."
print("", "With the first entry again:", exp.plan(), sep="\n")
if asked.all:
    exp.run(asked.executor)

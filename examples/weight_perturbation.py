"""Does a small perturbation of the initial weights matter? 30 learners and 1 control."""

from functools import partial

import options
from paribus import Experiment
from paribus.interventions import PerturbWeights
from paribus.models import LeNet5 as Lenet5

asked = options.parser(__doc__).parse_args()
dataset = asked.dataset
# What the snippet below leaves open; itself, it is word for word from "Experiments on Training".
Experiment = partial(Experiment, steps=asked.steps, store=asked.store)

# fmt: off
exp = Experiment(
    model=Lenet5(),
    dataset=dataset,
    interventions=[
        PerturbWeights.make_variations(
            epsilon=0,
            seed=0,
            control=True
        ),
        PerturbWeights.make_variations(
            epsilon=(0.001, 0.01, 0.1),
            seed=range(10)
        )
    ]
)
# fmt: on

print(exp.plan())
if asked.plan:
    raise SystemExit

exp.run()

print("", exp.compare("test/accuracy"), sep="\n")

"""Record a metric of your own: subclass Logger, decorate a method."""

import torch

from paribus import Experiment, Logger, register_metric
from paribus.datasets import digits
from paribus.interventions import InitWeights
from paribus.models import MLP


# fmt: off
class CustomLogger(Logger):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)

    @register_metric
    def weight_norm(self, learner):
        return torch.norm(learner.model.fc1.weight)

    @register_metric
    def weight_space_distance(self, learner):
        return torch.dist(learner.model.fc1.weight, learner.model.fc2.weight)
# fmt: on


exp = Experiment(
    model=MLP(inputs=64, hidden=(64, 64)),  # fc1 and fc2 have equal shapes, so they have a distance
    dataset=digits(size=8),
    interventions=InitWeights.make_variations(seed=range(3)),
    epochs=2,
    logger=CustomLogger(),
    store="runs",
)
exp.run()

# A metric that is added later is computed for stored learners too, and changes none of them.
print(exp.frame().select("InitWeights.seed", "step", "weight_norm", "weight_space_distance", "test/accuracy"))

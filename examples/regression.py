"""Regression: real targets choose the mean squared error. Does weight decay help on little, noisy data?"""

from paribus import Experiment
from paribus.datasets import synthetic_regression
from paribus.interventions import InitWeights, SetHyperparameter
from paribus.models import MLP

exp = Experiment(
    model=MLP(inputs=8, hidden=(32,), outputs=1),
    dataset=synthetic_regression(n=128, noise=0.5),
    interventions=[
        InitWeights.make_variations(seed=range(8)),
        SetHyperparameter.make_variations(weight_decay=0.0, control=True),
        SetHyperparameter.make_variations(weight_decay=(0.01, 0.1)),
    ],
    epochs=100,
    store="runs",
)
print(exp.plan())
exp.run()
print("", exp.compare("test/loss"), sep="\n")

"""Leave one component out: which columns, layers and groups does a classifier of passengers need?

The study of Maggy's thesis, on a table with planted effects: `sex` decides most, then `pclass` and `age`, and
a large family counts a little. `fare` has nothing of its own, but follows the class, and so stands in for it:
only without both is the class lost.
"""

import argparse
from functools import partial
from itertools import pairwise

import polars as pl
import torch
from torch import nn

from paribus import Experiment, one_at_a_time, permutation_importance
from paribus.datasets import FrameDataset, passengers
from paribus.interventions import AblateFeatures, InitWeights
from paribus.interventions.layers import AblateLayers


def network(*widths):
    """A network of linear layers, a ReLU after each but the last, and a sigmoid at the end."""
    layers = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.Sigmoid())


def survival(model, batch):
    inputs, labels = batch
    return nn.functional.binary_cross_entropy(model(inputs).squeeze(1), labels.float())


def study(model, interventions):
    return Experiment(
        model,
        data,
        interventions,
        objective=survival,
        optimizer=partial(torch.optim.Adam, lr=0.003),
        batch_size=64,
        epochs=given.epochs,
        store=given.store,
    )


options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--seeds", type=int, default=5)
options.add_argument("--epochs", type=int, default=10)
options.add_argument("--store", default="runs")
given = options.parse_args()

table = passengers().with_columns(
    pl.col("sex") == "female", pl.col("age") / 15 - 2, pl.col("pclass") - 2, pl.col("fare").log() - 3
)
data = FrameDataset(table.drop("embarked"), label="survived")

columns = AblateFeatures.make_variations(features=(*data.columns, ("sibsp", "parch"), ("pclass", "fare")))
layers = AblateLayers.make_variations(layers=("2", "4", ("2", "3"), ("4", "5")))
both = AblateFeatures("fare") * AblateLayers(("2", "3"))
exp = study(
    partial(network, 6, 64, 64, 32, 1),
    [InitWeights.make_variations(seed=range(given.seeds)), one_at_a_time(columns, layers, both)],
)
print(exp.plan())
exp.run()
print(exp.compare("test/loss"))

print("\nWhat the base uses of the test split, without training again:")
used = permutation_importance(exp[0], data.columns)
print(used.group_by("feature", maintain_order=True).agg(pl.col("loss_increase").mean()))

print("\nThe thesis's own model, and what is left of it without [2, 3] and without [4, 5]:")
groups = AblateLayers.make_variations(layers=((2, 3), (4, 5)))
for learner in study(partial(network, 6, 64, 64, 32, 2, 1), one_at_a_time(groups)):
    print(learner.checkpoint(step=0).model)

"""An objective of your own, loss(model, batch): an autoencoder on digits. How narrow may its middle be?"""

from functools import partial

import torch
from torch import nn

from paribus import Experiment
from paribus.datasets import digits
from paribus.interventions import InitWeights


def autoencoder(middle):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, middle), nn.ReLU(), nn.Linear(middle, 64), nn.Sigmoid())


def reconstruction(model, batch):
    images, _ = batch
    return nn.functional.mse_loss(model(images), images.flatten(1))


for middle in (4, 16):
    exp = Experiment(
        model=partial(autoencoder, middle),
        dataset=digits(size=8),
        objective=reconstruction,
        optimizer=partial(torch.optim.Adam, lr=0.003),
        interventions=InitWeights.make_variations(seed=range(3)),
        epochs=5,
        store="runs",
    )
    exp.run()
    losses = exp.results()["test/loss"]
    print(f"{middle:>2} units: test loss {losses.mean():.4f} ± {losses.std():.4f} over {len(losses)} seeds")

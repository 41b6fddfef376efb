"""Training of your own, train=fit: mixed batches, and averaged weights at the end. Does mixing help?"""

from functools import partial

import torch

from paribus import Experiment
from paribus.datasets import digits
from paribus.interventions import InitWeights, SetOption
from paribus.models import MLP


def mixed(batch, alpha):
    """Blend each image with another one of the batch; labels become shares of the classes."""
    images, labels = batch
    share = 1 - alpha * torch.rand(())
    order = torch.randperm(len(images))
    targets = torch.nn.functional.one_hot(labels, 10).float()
    return share * images + (1 - share) * images[order], share * targets + (1 - share) * targets[order]


def fit(learner):
    averaged = torch.optim.swa_utils.AveragedModel(learner.model)
    for step, batch in enumerate(learner.batches(), start=1):
        learner.optimizer.zero_grad()
        loss = learner.loss(mixed(batch, learner.settings["mixup"]))
        loss.backward()
        learner.optimizer.step()
        if step > learner.steps // 2:
            averaged.update_parameters(learner.model)
        if step % 10 == 0:
            learner.report(step, batch_loss=loss)
    learner.model.load_state_dict(averaged.module.state_dict())


if __name__ == "__main__":
    exp = Experiment(
        model=MLP(64),
        dataset=digits(size=8),
        interventions=[
            InitWeights.make_variations(seed=range(5)),
            SetOption.make_variations(mixup=(0.0, 0.3)),
        ],
        train=fit,
        optimizer=partial(torch.optim.SGD, lr=0.1),
        loss=torch.nn.functional.cross_entropy,
        epochs=4,
        store="runs",
    )
    print(exp.plan())
    exp.run()
    print(exp.compare("test/accuracy"))

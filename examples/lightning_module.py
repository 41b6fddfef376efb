"""A Lightning module in a study: Lightning trains; Paribus draws, keys, caches, schedules and compares."""

import logging
import warnings

import lightning
from torch import nn

from paribus import Experiment
from paribus.datasets import digits
from paribus.interventions import InitWeights, SetOption

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch, _):
        images, labels = batch
        loss = nn.functional.cross_entropy(self(images), labels)
        self.log("batch_loss", loss)
        return loss


class Report(lightning.Callback):
    """Hands what the module logs on to the learner."""

    def __init__(self, learner):
        self.learner = learner

    def on_train_batch_end(self, trainer, module, *_):
        self.learner.report(trainer.global_step, **trainer.callback_metrics)


def fit(learner):
    """Train a learner's module with its optimizer, on its batches, for its budget."""
    module = learner.model
    module.configure_optimizers = lambda: learner.optimizer
    module.train_dataloader = lambda: learner.batches(epoch=module.current_epoch)
    warnings.filterwarnings("ignore", "`isinstance", FutureWarning)  # of Lightning's, about torch
    trainer = lightning.Trainer(
        max_epochs=learner.epochs,
        max_steps=learner.steps,
        gradient_clip_val=learner.settings["clip"],
        reload_dataloaders_every_n_epochs=1,
        callbacks=[Report(learner)],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module)


if __name__ == "__main__":
    exp = Experiment(
        model=Classifier,
        dataset=digits(size=8),
        interventions=[
            InitWeights.make_variations(seed=range(3)),
            SetOption.make_variations(clip=(0.0, 0.1)),
        ],
        train=fit,
        epochs=3,
        store="runs",
    )
    print(exp.plan())
    exp.run()
    print(exp.compare("test/loss"))

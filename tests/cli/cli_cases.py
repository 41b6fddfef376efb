"""A small study whose results the command line is tried on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paribus import Experiment, Logger, register_metric
from paribus.datasets import digits
from paribus.interventions import PerturbMomentum
from paribus.loggers import distance
from paribus.models import MLP

LEARNERS, STEPS, WINDOW = 3, 6, (2, 4)


def study(
    store: Path | None = None, hidden: int = 8, learners: int = LEARNERS, logger: Logger | None = None
) -> Experiment:
    """A control and other momenta in a window: one trunk, and forks that end with the window."""
    return Experiment(
        MLP(64, (hidden,)),
        digits(size=8),
        PerturbMomentum.make_variations(
            momentum=lambda m: [m / (i + 1) for i in range(learners)], when=(WINDOW,)
        ),
        steps=STEPS,
        store=store,
        logger=logger,
    )


class Start(Logger):
    """What a run without it did not record at step 0."""

    @register_metric(on="start")
    def norm(self, learner: Any) -> object:
        return learner.model.fc1.weight.norm()


class Apart(Logger):
    @register_metric(on="end", pair="PerturbMomentum")
    def apart(self, learner: Any, other: Any) -> float:
        return distance(learner, other)


NOT_A_STUDY = 3

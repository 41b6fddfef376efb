"""What is trained alone, as far as configurations tell, and why: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from paribus.engine.fusion import Fuse, worth
from paribus.engine.learners.configuration import Configuration
from paribus.interventions.freezing import FreezeWeights
from paribus.interventions.momentum import PerturbMomentum
from paribus.interventions.sites import ActivationsIntervention, SettingIntervention

# Classes that treat each number alone: a step on one flat row has the bits of a step on its tensors.
_ELEMENTWISE: tuple[type[torch.optim.Optimizer], ...] = (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.RMSprop,
    torch.optim.Adagrad,
    torch.optim.Adadelta,
    torch.optim.Adamax,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.Rprop,
    torch.optim.ASGD,
)
# Forms of a step that have other bits than the one on rows, or cannot be taken on them.
FORMS = ("foreach", "fused", "capturable", "differentiable")
# What acts between the operations of a step, and what lets a parameter take no step.
_WITHIN = (ActivationsIntervention, FreezeWeights)


def obstacle_of(configuration: Configuration, step: int, *, opaque: bool) -> str | None:
    """Tell why the segment that begins at a step is trained alone; ``None`` where nothing is against a group.

    Args:
        configuration: The learner's.
        step: The segment's first.
        opaque: Whether the training function is the user's own.
    """
    if opaque:
        return "the training function is the user's own"
    for event in configuration.active(step):
        if isinstance(event.intervention, _WITHIN):
            return f"{type(event.intervention).__name__} acts within the step"
    if any(makes_another(event.intervention) for event in configuration.active(step)):
        return None  # which one, takes long to tell of many: it is seen where it is made
    setting = configuration.optimizer
    return obstacle_in_optimizer(setting.kind, dict(setting.hyperparameters))


def makes_another(intervention: object) -> bool:
    """Tell whether an intervention may set another class of optimizer, or another form of it."""
    sets = isinstance(intervention, SettingIntervention) and intervention.component == "optimizer"
    return sets and not isinstance(intervention, PerturbMomentum)


def obstacle_in_optimizer(
    kind: type[torch.optim.Optimizer], options: Mapping[str, Any], groups: int = 1
) -> str | None:
    """Tell why optimizers of a class cannot step on rows; ``None`` where they can.

    Args:
        kind: The class.
        options: Hyperparameters by name.
        groups: How many parameter groups they have.
    """
    if kind not in _ELEMENTWISE:
        return f"{kind.__name__} is not known to treat each number alone"
    form = next((form for form in FORMS if options.get(form)), None)
    if form is not None:
        return f"{kind.__name__} has {form}=True"
    return f"{kind.__name__} has parameter groups" if groups > 1 else None


def worthwhile(fuse: Fuse, segments: Iterable[tuple[Configuration, int, int]], *, opaque: bool) -> Fuse:
    """Return ``fuse``, or ``False`` where too few steps of segments may be those of groups.

    Args:
        fuse: How many learners are one group at most.
        segments: Each with its configuration, its first step and the step after its last.
        opaque: Whether the training function is the user's own.
    """
    if fuse is False:
        return False
    free = (s for s in segments if obstacle_of(s[0], s[1], opaque=opaque) is None)
    return worth(fuse, sum(stop - start for _, start, stop in free))

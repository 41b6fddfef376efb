"""The optimizer of a learner at a step: its class, its parameter groups, its hyperparameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from paribus.engine.learners.configuration import Configuration, setting_at
from paribus.interventions.selection import selected_parameters
from paribus.interventions.settings import OptimizerSetting


def make_optimizer(
    model: nn.Module, setting: OptimizerSetting, base: OptimizerSetting | None = None
) -> torch.optim.Optimizer:
    """Make the optimizer over the trainable parameters.

    Args:
        model: Whose parameters.
        setting: What holds: each parameter group has its own hyperparameters.
        base: What the class is made with, where a window's values are such as it may refuse.
    """
    chosen = base if base is not None and base.kind is setting.kind else setting
    groups = parameter_groups(model, setting)
    make: Any = setting.kind
    given = [{"params": parameters, **own} for parameters, own in groups]
    alone = groups[0][0] if len(groups) == 1 and not groups[0][1] else given
    optimizer: torch.optim.Optimizer = make(alone, **dict(chosen.hyperparameters))
    for group, (_, own) in zip(optimizer.param_groups, groups, strict=True):
        values = dict(setting.hyperparameters) | own
        group.update({name: value for name, value in values.items() if name in group})
    return optimizer


def optimizer_at(model: nn.Module, configuration: Configuration, step: int) -> torch.optim.Optimizer:
    """Make the optimizer as it is at a step, before the schedule's factor."""
    return make_optimizer(model, setting_at(configuration, step), configuration.optimizer)


def starts_empty(configuration: Configuration, step: int) -> bool:
    """Tell whether the optimizer's class is another one from a step on: then it keeps nothing of before."""
    before, now = setting_at(configuration, step - 1), setting_at(configuration, step)
    return before.kind is not now.kind


def parameter_groups(
    model: nn.Module, setting: OptimizerSetting
) -> list[tuple[list[nn.Parameter], dict[str, Any]]]:
    """Part the trainable parameters by the hyperparameters of their own, in the model's order."""
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    own: dict[str, dict[str, Any]] = {name: {} for name in trainable}
    for layers, values in setting.groups:
        for name in selected_parameters(trainable, layers, "SetParameterGroup"):
            own[name].update(values)
    groups: list[tuple[list[nn.Parameter], dict[str, Any]]] = []
    for name, parameter in trainable.items():
        for members, common in groups:
            if common == own[name]:
                members.append(parameter)
                break
        else:
            groups.append(([parameter], own[name]))
    return groups or [([], {})]

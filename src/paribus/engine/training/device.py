"""Which devices this machine has, and how those that it lacks are refused."""

from __future__ import annotations

from dataclasses import replace

import torch

from paribus.engine.learners.configuration import Component, Configuration
from paribus.errors import ConfigurationError


def is_here(device: str) -> bool:
    """Tell whether torch can compute on a device in this process."""
    wanted = torch.device(device)
    if wanted.type == "cpu":
        return True
    found = torch.accelerator.current_accelerator(check_available=True)
    return found is not None and found.type == wanted.type


def check_here(device: str) -> None:
    """Refuse a device that this machine does not have.

    Raises:
        ConfigurationError: It does not.
    """
    if not is_here(device):
        found = torch.accelerator.current_accelerator(check_available=True)
        have = "cpu" if found is None else f"cpu and {torch.accelerator.device_count()} × {found.type}"
        raise ConfigurationError(
            f"Experiment: device={device!r} is not on this machine, where torch has {have}; go where it is, "
            "or train there with executor=Ray(gpus=…)"
        )


def at_hand(configuration: Configuration) -> Configuration:
    """Return a configuration that can be tried here: on the CPU, where its device is elsewhere."""
    if is_here(configuration.numerics.device):
        return configuration
    here = Component.of(replace(configuration.numerics, device="cpu"))
    return replace(configuration, components={**configuration.components, "numerics": here})

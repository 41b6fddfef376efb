"""The generators that a model draws from in a step, seeded from the step alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import numpy as np
import torch

from paribus.engine.building.data import seed_others


class LateDraw(Exception):  # noqa: N818  # no error: a reason to train again
    """A model drew from Python's or NumPy's generator in a later step, and not in the first."""


@final
class Draws:
    """Seeds the generators that a model draws from in a step.

    Python's and NumPy's take a while to seed beside a small model's step: they are seeded in the first step,
    and after it only if that step drew from them. Where a later one does, the segment is trained again with
    all of them seeded: the bits must not depend on where segments are cut.
    """

    def __init__(self, device: torch.device, *, always: bool) -> None:
        self._device = device
        self._others: bool | None = True if always else None
        self._seed = 0

    @contextmanager
    def of(self, seed: int) -> Iterator[None]:
        """Seed the generators for the block."""
        seed_torch(seed, self._device)
        if self._others is not False:
            seed_others(seed)
        yield
        if self._others is None:
            self._others, self._seed = _have_drawn(seed), seed
        elif self._others:  # what a metric draws then must not show where the segment began
            seed_others(seed)

    def check(self) -> None:
        """Raise where a step drew from a generator that was not seeded for it."""
        if self._others is False and _have_drawn(self._seed):
            raise LateDraw


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's generators, of the CPU and of the device."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


@contextmanager
def preserved_draws_on(device: torch.device) -> Iterator[None]:
    """Put the global generator of a device that is not the CPU back."""
    if device.type == "cpu":
        yield
        return
    module = torch.get_device_module(device)
    saved = module.get_rng_state()
    try:
        yield
    finally:
        module.set_rng_state(saved)


def _have_drawn(seed: int) -> bool:
    """Tell whether anybody drew from Python's or NumPy's generator since they were seeded; seed them anew.

    What comes next is compared, and not their states: NumPy's takes as long to read as a small layer's step.
    """
    following = random.random(), np.random.random_sample()
    seed_others(seed)
    first = random.random(), np.random.random_sample()
    seed_others(seed)
    return following != first

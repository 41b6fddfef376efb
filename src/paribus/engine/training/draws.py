"""The generators that a model draws from in a step, seeded from the step alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import numpy as np
import torch

from paribus.engine.building.data import other_generators


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
        self._unmoved: object = None

    @contextmanager
    def of(self, seed: int) -> Iterator[None]:
        """Seed the generators for the block."""
        seed_torch(seed, self._device)
        if self._others is not False:
            random.seed(seed)
            np.random.seed(seed % 2**32)
        before = other_generators() if self._others is None else None
        yield
        if before is not None:
            self._unmoved = other_generators()
            self._others = self._unmoved != before

    def check(self) -> None:
        """Raise where a step drew from a generator that was not seeded for it."""
        if self._others is False and other_generators() != self._unmoved:
            raise LateDraw


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's generators, of the CPU and of the device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)

"""Interventions on how samples are taken: in which order, under which draws, and how many at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, final

from paribus.errors import LevelError
from paribus.interventions.base import Reader
from paribus.interventions.checks import Window, check_count, check_window
from paribus.interventions.designs import Components, Product
from paribus.interventions.settings import Seeds, Training
from paribus.interventions.sites import SeedsIntervention, TrainingIntervention


def _batch_size(components: Components, name: str) -> int:
    training: Training = components["training"]
    return training.batch_size


@final
@dataclass(frozen=True)
class SetSeeds(SeedsIntervention):
    """Draw the order of samples, dropout or augmentation from other seeds, from the start or in a window.

    Two learners with ``when=(100, None)`` share everything before step 100, and see different orders after
    it. Where the order changes inside an epoch, the samples that the epoch has not had yet go on in the order
    in which the new seed has them; each sample still comes once in each epoch.

    Attributes:
        order: Seed of the order of the training samples; ``None``: as it is.
        forward: Seed of dropout, and of whatever else the model draws in training.
        augment: Seed of random transforms in the data set.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> SetSeeds.make_variations(order=range(3), when=(100, None)).axes["when"]
        ((100, None),)
    """

    order: int | None = None
    forward: int | None = None
    augment: int | None = None
    when: Window | None = None
    replicates: ClassVar[frozenset[str]] = frozenset({"order", "forward", "augment"})

    def __post_init__(self) -> None:
        check_window("SetSeeds", self.when)
        for name, seed in self._given().items():
            check_count("SetSeeds", name, seed)
            object.__setattr__(self, name, int(seed))

    def edit(self, setting: Seeds) -> Seeds:
        """Return the seeds with those given."""
        return dataclasses.replace(setting, **self._given())

    def _given(self) -> dict[str, int]:
        seeds = {"order": self.order, "forward": self.forward, "augment": self.augment}
        return {name: seed for name, seed in seeds.items() if seed is not None}


@final
@dataclass(frozen=True)
class SetBatchSize(TrainingIntervention):
    """Train with batches of another size, from the start or in a window.

    Where the size changes inside an epoch, the epoch goes on with the samples that it has not had yet.
    ``epochs=`` of an experiment stay passes over the data: how many steps they take follows from the sizes.

    Attributes:
        batch_size: Samples per step; the last batch of an epoch holds what is left.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> SetBatchSize.make_variations(batch_size=(32, 64), when=(100, None)).axes["batch_size"]
        (32, 64)
    """

    batch_size: int
    when: Window | None = None
    modifies: ClassVar[Mapping[str, Reader]] = {"batch_size": _batch_size}

    def __post_init__(self) -> None:
        check_count("SetBatchSize", "batch_size", self.batch_size, least=1)
        check_window("SetBatchSize", self.when)
        object.__setattr__(self, "batch_size", int(self.batch_size))

    def edit(self, setting: Training) -> Training:
        """Return the setting with this size."""
        return dataclasses.replace(setting, batch_size=self.batch_size)

    @classmethod
    def on_schedule(cls, sizes: Mapping[int, int]) -> Product:
        """Write a schedule: from each step on, batches of a size.

        Args:
            sizes: Size by the first step that has it.

        Raises:
            LevelError: There is no size, or a step or size is no whole number.

        Example:
            >>> SetBatchSize.on_schedule({100: 64, 200: 128}).factors[0]
            SetBatchSize(batch_size=64, when=(100, 200))
        """
        if not sizes:
            raise LevelError(
                "SetBatchSize: the schedule is empty; give sizes by step, as in {100: 64, 200: 128}"
            )
        for step in sizes:
            check_count("SetBatchSize", "step", step)
        starts: list[Any] = [*sorted(sizes), None]
        return Product(tuple(cls(sizes[window[0]], window) for window in pairwise(starts)))

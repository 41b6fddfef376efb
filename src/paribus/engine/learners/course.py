"""Where in the data each step stands: a pure function of how samples were taken before it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from paribus.engine.learners.once import once
from paribus.identity import generator

if TYPE_CHECKING:
    import torch


def order(seed: int, epoch: int, samples: int) -> torch.Tensor:
    """Return the order of the training samples in an epoch, ``(samples,)`` int64: a pure function."""
    import torch

    return torch.randperm(samples, generator=generator(seed, "order", epoch))


@final
@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of steps in which samples are taken in one way.

    Attributes:
        start: Its first step; it lasts until the next one starts.
        order: Seed of the ``order`` stream.
        augment: Seed of the ``augment`` stream.
        batch_size: Samples per step.
    """

    start: int
    order: int
    augment: int
    batch_size: int


@final
@dataclass(frozen=True)
class Course:
    """The walk over the training samples, epoch by epoch, each sample once in each.

    Where a phase begins inside an epoch, the samples that the epoch has not had yet go on in the order in
    which the new phase's own order of this epoch has them, in batches of the new size. So a phase that
    changes nothing moves no sample.

    Attributes:
        samples: Number of training samples.
        phases: By their starts, which ascend from 0.
    """

    samples: int
    phases: tuple[Phase, ...]

    def walk(self, start: int, stop: int) -> Iterator[tuple[Phase, int, torch.Tensor]]:
        """Yield phase, epoch and indices, ``(batch,)`` int64, for each step in ``[start, stop)``."""
        number = -1
        epoch, taken = self.place(start)
        for step in range(start, stop):
            if number < 0 or self._starts(number + 1) == step or not taken:
                number = self._number(step)
                sequence = self._sequence(number, epoch)
            phase = self.phases[number]
            yield phase, epoch, sequence[taken : taken + phase.batch_size]
            taken += phase.batch_size
            if taken >= self.samples:
                epoch, taken = epoch + 1, 0

    def place(self, step: int) -> tuple[int, int]:
        """Return how many epochs are over at a step, and how many samples of the running one are taken."""
        number = max(self._number(step - 1), 0)
        return self._advanced(number, step)

    def epoch(self, step: int) -> float:
        """Return the epochs taken at a step, with their fraction: of the steps that an epoch has now."""
        epoch, taken = self.place(step)
        whole = self._padded(self.phases[max(self._number(step - 1), 0)])
        return (epoch * whole + taken) / whole

    def end_of(self, epochs: int) -> int:
        """Return the step after the last one of so many epochs."""
        for number, phase in enumerate(self.phases):
            epoch, taken = self._places[number]
            first = math.ceil((self.samples - taken) / phase.batch_size)
            whole = math.ceil(self.samples / phase.batch_size)
            end = phase.start + first + (epochs - epoch - 1) * whole
            if end <= self._starts(number + 1):
                break
        return end

    def ends(self, total: int) -> tuple[int, ...]:
        """Return the steps up to the last one at which an epoch is over."""
        epochs, _ = self.place(total)
        return tuple(self.end_of(epoch) for epoch in range(1, epochs + 1))

    @once
    def _places(self) -> tuple[tuple[int, int], ...]:
        """The place at the start of each phase."""
        places = [(0, 0)]
        for number, phase in enumerate(self.phases[1:]):
            places.append(self._from(places[-1], self.phases[number], phase.start))
        return tuple(places)

    def _advanced(self, number: int, step: int) -> tuple[int, int]:
        return self._from(self._places[number], self.phases[number], step)

    def _from(self, place: tuple[int, int], phase: Phase, step: int) -> tuple[int, int]:
        epoch, taken = place
        steps, size = step - phase.start, phase.batch_size
        first = math.ceil((self.samples - taken) / size)
        if steps < first:
            return epoch, taken + steps * size
        epochs, rest = divmod(steps - first, math.ceil(self.samples / size))
        return epoch + 1 + epochs, rest * size

    def _number(self, step: int) -> int:
        return bisect_right(self.phases, step, key=lambda phase: phase.start) - 1

    def _starts(self, number: int) -> float:
        return self.phases[number].start if number < len(self.phases) else math.inf

    def _padded(self, phase: Phase) -> int:
        return math.ceil(self.samples / phase.batch_size) * phase.batch_size

    def _sequence(self, number: int, epoch: int) -> torch.Tensor:
        """Return the order of an epoch as a phase sees it: first what was taken before the phase."""
        import torch  # here, so that a store can be looked at without it

        own = order(self.phases[number].order, epoch, self.samples)
        begun, taken = self._places[number]
        if begun != epoch or not taken:
            return own
        before = self._sequence(number - 1, epoch)[:taken]
        left = torch.ones(self.samples, dtype=torch.bool)
        left[before] = False
        return torch.cat([before, own[left[own]]])

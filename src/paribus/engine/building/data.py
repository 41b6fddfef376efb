"""The data path: where batches come from.

Batches are gathered from tensors once the data is known to be deterministic and to fit in memory; otherwise
they come from a ``DataLoader`` whose every random draw is a function of (seed, epoch, sample), so that the
number of workers changes no bit.
"""

from __future__ import annotations

import copy
import random
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset, default_collate

from paribus.engine.building.nested import cast, map_leaves, map_tensors, tensors_of
from paribus.engine.learners.course import Course
from paribus.engine.learners.once import once
from paribus.errors import DataError, LevelError
from paribus.identity import derive_seed, fingerprint
from paribus.interventions.splits import Change, Split

EVALUATION_BATCH = 1024


class Source(Split):
    """One split, and how batches of it are made."""

    @property
    @abstractmethod
    def contents(self) -> Any:
        """The data itself: the collated tensors, or the data set that is streamed."""

    @abstractmethod
    def placed(self, device: torch.device, dtype: torch.dtype) -> Source:
        """Return the split whose batches are on a device, floating tensors in a dtype."""

    @abstractmethod
    def training(self, course: Course, start: int, stop: int) -> Iterator[Any]:
        """Yield the batches of the steps ``[start, stop)``, each a function of the course and the step."""


@final
@dataclass(frozen=True, eq=False)
class InMemory(Source):
    """A deterministic split as tensors.

    Attributes:
        tensors: The collated split: what ``default_collate`` makes of all samples, leaves ``(samples, …)``.
        columns: The names of a table's inputs.
        kept: Where its samples were in the split as it was given; ``None``: there.
        dataset: What it was read from, where that has an ``ablate_feature``.
    """

    tensors: Any
    columns: tuple[str, ...] = ()
    kept: torch.Tensor | None = None
    dataset: Any = None
    _placed: dict[tuple[torch.device, torch.dtype], InMemory] = field(default_factory=dict, repr=False)

    @property
    def samples(self) -> int:
        """The number of samples."""
        return len(next(tensors_of(self.tensors)))

    @property
    def ids(self) -> torch.Tensor:
        """Where each sample was in the split as it was given."""
        return torch.arange(self.samples) if self.kept is None else self.kept

    @property
    def first(self) -> Any:
        """A batch of the first sample."""
        return self.gather(torch.zeros(1, dtype=torch.int64))

    @property
    def contents(self) -> Any:
        """The collated tensors."""
        return self.tensors

    def placed(self, device: torch.device, dtype: torch.dtype) -> InMemory:
        """Return the split on a device; it is moved once."""
        if (device, dtype) not in self._placed:
            self._placed[device, dtype] = InMemory(cast(self.tensors, device, dtype))
        return self._placed[device, dtype]

    def training(self, course: Course, start: int, stop: int) -> Iterator[Any]:
        """Gather the batches of the steps ``[start, stop)``."""
        for _, _, indices in course.walk(start, stop):
            yield self.gather(indices)

    def gather(self, places: torch.Tensor) -> Any:
        """Return the samples at places, ``(batch,)`` int64, as a batch."""
        return map_tensors(lambda t: t.index_select(0, places.to(t.device)), self.tensors)

    def evaluation(self) -> Iterator[Any]:
        """Yield slices of the tensors."""
        for start in range(0, self.samples, EVALUATION_BATCH):
            yield map_tensors(lambda t, s=start: t[s : s + EVALUATION_BATCH], self.tensors)  # type: ignore[misc]

    def subset(self, places: torch.Tensor) -> InMemory:
        """Return the samples at places."""
        dataset = None if self.dataset is None else Subset(self.dataset, places.tolist())
        return InMemory(self.gather(places), self.columns, self.ids[places], dataset)

    def mapped(self, change: Change, columns: tuple[str, ...] | None = None) -> InMemory:
        """Change all samples as one batch."""
        tensors = change(self.tensors, torch.arange(self.samples))
        for tensor in tensors_of(tensors):
            if tensor.ndim == 0 or len(tensor) != self.samples:
                raise DataError(
                    f"{type(change).__name__}: it gave a tensor {tuple(tensor.shape)} for {self.samples} "
                    "samples; change each sample alone, and return tensors (batch, …)"
                )
        dataset = None if self.dataset is None else Changed(self.dataset, change)
        return InMemory(tensors, self.columns if columns is None else columns, self.kept, dataset)

    def ablated(self, feature: str) -> InMemory | None:
        """Read the data set again, without the feature."""
        if self.dataset is None:
            return None
        dataset = without(self.dataset, feature)
        tensors = default_collate([dataset[index] for index in range(len(dataset))])
        return InMemory(tensors, self.columns, self.kept, dataset)


@final
@dataclass(frozen=True, eq=False)
class Streamed(Source):
    """A split that is read sample by sample, because it draws random numbers or does not fit.

    Attributes:
        dataset: The data set.
        workers: Processes that read it; never part of the identity.
        columns: The names of a table's inputs.
        kept: Where its samples were in the split as it was given; ``None``: there.
        device: Where its batches are moved to; ``None``: they stay as they are read.
        dtype: Of their floating tensors, where they are moved.
    """

    dataset: Dataset[Any]
    workers: int = 0
    columns: tuple[str, ...] = ()
    kept: torch.Tensor | None = None
    device: torch.device | None = None
    dtype: torch.dtype = torch.float32

    @property
    def samples(self) -> int:
        """The number of samples."""
        return len(self.dataset)  # type: ignore[arg-type]

    @property
    def ids(self) -> torch.Tensor:
        """Where each sample was in the split as it was given."""
        return torch.arange(self.samples) if self.kept is None else self.kept

    @once
    def first(self) -> Any:
        """A batch of the first sample."""
        return self.gather(torch.zeros(1, dtype=torch.int64))

    @property
    def contents(self) -> Any:
        """The data set."""
        return self.dataset

    def placed(self, device: torch.device, dtype: torch.dtype) -> Streamed:
        """Return the split that moves its batches, one by one."""
        return replace(self, device=device, dtype=dtype)

    def training(self, course: Course, start: int, stop: int) -> Iterator[Any]:
        """Read the batches of the steps ``[start, stop)``."""
        plan = (
            [(phase.augment, epoch, index) for index in indices.tolist()]
            for phase, epoch, indices in course.walk(start, stop)
        )
        return self._read(_Seeded(self.dataset, "augment"), plan)

    def gather(self, places: torch.Tensor) -> Any:
        """Read the samples at places; random transforms draw what they draw in the evaluation."""
        dataset = _Seeded(self.dataset, "evaluation")
        return default_collate([dataset[0, 0, index] for index in places.tolist()])

    def evaluation(self) -> Iterator[Any]:
        """Read the split in order; random transforms draw the same numbers each time."""
        starts = range(0, self.samples, EVALUATION_BATCH)
        plan = ([(0, 0, i) for i in range(s, min(s + EVALUATION_BATCH, self.samples))] for s in starts)
        return self._read(_Seeded(self.dataset, "evaluation"), plan)

    def subset(self, places: torch.Tensor) -> Streamed:
        """Return the samples at places."""
        return replace(self, dataset=Subset(self.dataset, places.tolist()), kept=self.ids[places])

    def mapped(self, change: Change, columns: tuple[str, ...] | None = None) -> Streamed:
        """Change each sample when it is read."""
        columns = self.columns if columns is None else columns
        return replace(self, dataset=Changed(self.dataset, change), columns=columns)

    def ablated(self, feature: str) -> Streamed | None:
        """Return the split of the data set without the feature."""
        if not ablates(self.dataset):
            return None
        return replace(self, dataset=without(self.dataset, feature))

    def _read(self, dataset: Dataset[Any], plan: Iterable[list[tuple[int, int, int]]]) -> Iterator[Any]:
        draws = torch.Generator()  # the loader would draw its base seed from the global generator
        loader = DataLoader(dataset, batch_sampler=plan, num_workers=self.workers, generator=draws)
        device = self.device
        return iter(loader) if device is None else (cast(batch, device, self.dtype) for batch in loader)


@final
class _Seeded(Dataset[Any]):
    """Reads sample ``(seed, epoch, index)`` under draws that depend on nothing else."""

    def __init__(self, dataset: Dataset[Any], stream: str) -> None:
        self._dataset = dataset
        self._stream = stream

    def __getitem__(self, at: tuple[int, int, int]) -> Any:
        seed, epoch, index = at
        with drawing_from(derive_seed(seed, self._stream, epoch, index)):
            return self._dataset[index]


@final
@dataclass(frozen=True, eq=False)
class Changed(Dataset[Any]):
    """A data set whose samples are changed when they are read, as batches of one."""

    dataset: Any
    change: Change

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        batch = default_collate([self.dataset[index]])
        return map_leaves(lambda leaf: leaf[0], self.change(batch, torch.tensor([index])))


def ablates(dataset: Any) -> bool:
    """Say whether a data set knows how to leave a feature out."""
    if isinstance(dataset, Subset | Changed):
        return ablates(dataset.dataset)
    return callable(getattr(dataset, "ablate_feature", None))


def without(dataset: Any, feature: str) -> Any:
    """Return a copy of a data set without a feature: what its own method returns, or leaves of the copy.

    Raises:
        LevelError: The method changed nothing.
    """
    match dataset:
        case Subset():
            return Subset(without(dataset.dataset, feature), dataset.indices)
        case Changed():
            return replace(dataset, dataset=without(dataset.dataset, feature))
        case _:
            own = copy.deepcopy(dataset)
            given = own.ablate_feature(feature)
            left = own if given is None else given
            if fingerprint(left).digest == fingerprint(dataset).digest:
                raise LevelError(
                    f"{type(dataset).__name__}.ablate_feature({feature!r}): the data set is the same after "
                    "it; give the name of a feature that it has"
                )
            return left


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch's CPU, and put them back afterwards."""
    with preserved_draws():
        seed_draws(seed)
        yield


def seed_draws(seed: int, *, others: bool = True) -> None:
    """Seed the global generators of torch's CPU and, as the ``others``, of Python and NumPy."""
    torch.default_generator.manual_seed(seed)
    if others:
        seed_others(seed)


def seed_others(seed: int) -> None:
    """Seed the global generators of Python and NumPy."""
    random.seed(seed)
    np.random.seed(seed % 2**32)


@contextmanager
def preserved_draws(*, others: bool = True) -> Iterator[None]:
    """Put the global generators of torch's CPU and, as the ``others``, of Python and NumPy back."""
    saved = torch.default_generator.get_state()
    saved_others = (random.getstate(), np.random.get_state()) if others else None
    try:
        yield
    finally:
        torch.default_generator.set_state(saved)
        if saved_others is not None:
            random.setstate(saved_others[0])
            np.random.set_state(saved_others[1])


def other_generators() -> tuple[object, ...]:
    """Return the states of the global generators of Python and NumPy, to compare."""
    numpy_state: Any = np.random.get_state()
    return random.getstate(), numpy_state[1].tobytes(), numpy_state[2]

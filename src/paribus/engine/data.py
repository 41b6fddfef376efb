"""The data path: named splits, the order of samples, and where batches come from.

Batches are gathered from tensors once the data is known to be deterministic and to fit in memory; otherwise
they come from a ``DataLoader`` whose every random draw is a function of (seed, epoch, sample), so that the
number of workers changes no bit.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, default_collate

from paribus.engine.nested import cast, leaves_of, map_tensors, tensors_of
from paribus.errors import DataError
from paribus.identity import derive_seed, generator
from paribus.interventions.checks import check_count
from paribus.interventions.settings import Seeds

EVALUATION_BATCH = 1024
_PROBED_ITEMS = 8


def named_splits(dataset: object, *, test_fraction: float, seed: int) -> dict[str, Dataset[Any]]:
    """Read what a user gives as data: a data set, ``(train, test)``, or data sets by name.

    A single data set is split at random, by the ``split`` stream.

    Raises:
        DataError: It is none of these, has no length, is empty, or has no split named ``train``.
    """
    if isinstance(dataset, Mapping):
        splits = dict(dataset)
    elif isinstance(dataset, tuple | list) and len(dataset) == 2:
        splits = {"train": dataset[0], "test": dataset[1]}
    else:
        splits = {"dataset": dataset}
    for name, split in splits.items():
        _check_dataset(name, split)
    if "dataset" in splits:
        return _split_at_random(splits["dataset"], test_fraction, seed)
    if "train" not in splits:
        raise DataError(f"dataset: got the splits {tuple(splits)}; expected one named 'train'")
    return splits


def _check_dataset(name: str, split: object) -> None:
    if not hasattr(split, "__getitem__") or not hasattr(split, "__len__"):
        raise DataError(
            f"{name}: {type(split).__name__} has no length or no indexing, so its samples cannot be named; "
            "give a map-style Dataset with __len__ and __getitem__, or load it into a TensorDataset"
        )
    if len(split) == 0:
        raise DataError(f"{name}: the data set is empty; give at least one sample")


def _split_at_random(dataset: Any, test_fraction: float, seed: int) -> dict[str, Dataset[Any]]:
    if not 0 < test_fraction < 1:
        raise DataError(f"test_fraction={test_fraction!r}; expected a share between 0 and 1, as in 0.2")
    count = len(dataset)
    held_out = round(count * test_fraction)
    if not 0 < held_out < count:
        raise DataError(
            f"dataset: {count} samples cannot be split with test_fraction={test_fraction}; "
            "give more samples or (train, test)"
        )
    shuffled = torch.randperm(count, generator=generator(seed, "split")).tolist()
    test, train = sorted(shuffled[:held_out]), sorted(shuffled[held_out:])
    return {"train": Subset(dataset, train), "test": Subset(dataset, test)}


def order(seed: int, epoch: int, samples: int) -> torch.Tensor:
    """Return the order of the training samples in an epoch, ``(samples,)`` int64: a pure function."""
    return torch.randperm(samples, generator=generator(seed, "order", epoch))


class Source(ABC):
    """One split, and how batches of it are made."""

    @property
    @abstractmethod
    def samples(self) -> int:
        """The number of samples."""

    @property
    @abstractmethod
    def contents(self) -> Any:
        """The data itself: the collated tensors, or the data set that is streamed."""

    @abstractmethod
    def placed(self, device: torch.device, dtype: torch.dtype) -> Source:
        """Return the split whose batches are on a device, floating tensors in a dtype."""

    @abstractmethod
    def training(self, seeds: Seeds, batch_size: int, start: int, stop: int) -> Iterator[Any]:
        """Yield the batches of the steps ``[start, stop)``, each a function of the seeds and the step."""

    @abstractmethod
    def evaluation(self) -> Iterator[Any]:
        """Yield batches over the whole split in its own order, the same ones each time."""


@final
@dataclass(frozen=True, eq=False)
class InMemory(Source):
    """A deterministic split as tensors.

    Attributes:
        tensors: The collated split: what ``default_collate`` makes of all samples, leaves ``(samples, …)``.
    """

    tensors: Any
    _placed: dict[tuple[torch.device, torch.dtype], InMemory] = field(default_factory=dict, repr=False)

    @property
    def samples(self) -> int:
        """The number of samples."""
        return len(next(tensors_of(self.tensors)))

    @property
    def contents(self) -> Any:
        """The collated tensors."""
        return self.tensors

    def placed(self, device: torch.device, dtype: torch.dtype) -> InMemory:
        """Return the split on a device; it is moved once."""
        if (device, dtype) not in self._placed:
            self._placed[device, dtype] = InMemory(cast(self.tensors, device, dtype))
        return self._placed[device, dtype]

    def training(self, seeds: Seeds, batch_size: int, start: int, stop: int) -> Iterator[Any]:
        """Gather the batches of the steps ``[start, stop)``."""
        for _, indices in walk(seeds.order, self.samples, batch_size, start, stop):
            yield self.gather(indices)

    def gather(self, indices: torch.Tensor) -> Any:
        """Return the samples at the indices, ``(batch,)`` int64, as a batch."""
        return map_tensors(lambda t: t.index_select(0, indices.to(t.device)), self.tensors)

    def evaluation(self) -> Iterator[Any]:
        """Yield slices of the tensors."""
        for start in range(0, self.samples, EVALUATION_BATCH):
            yield map_tensors(lambda t, s=start: t[s : s + EVALUATION_BATCH], self.tensors)  # type: ignore[misc]


@final
@dataclass(frozen=True, eq=False)
class Streamed(Source):
    """A split that is read sample by sample, because it draws random numbers or does not fit.

    Attributes:
        dataset: The data set.
        workers: Processes that read it; never part of the identity.
        device: Where its batches are moved to; ``None``: they stay as they are read.
        dtype: Of their floating tensors, where they are moved.
    """

    dataset: Dataset[Any]
    workers: int = 0
    device: torch.device | None = None
    dtype: torch.dtype = torch.float32

    @property
    def samples(self) -> int:
        """The number of samples."""
        return len(self.dataset)  # type: ignore[arg-type]

    @property
    def contents(self) -> Any:
        """The data set."""
        return self.dataset

    def placed(self, device: torch.device, dtype: torch.dtype) -> Streamed:
        """Return the split that moves its batches, one by one."""
        return replace(self, device=device, dtype=dtype)

    def training(self, seeds: Seeds, batch_size: int, start: int, stop: int) -> Iterator[Any]:
        """Read the batches of the steps ``[start, stop)``."""
        plan = (
            [(epoch, index) for index in indices.tolist()]
            for epoch, indices in walk(seeds.order, self.samples, batch_size, start, stop)
        )
        return self._read(_Seeded(self.dataset, seeds.augment, "augment"), plan)

    def evaluation(self) -> Iterator[Any]:
        """Read the split in order; random transforms draw the same numbers each time."""
        starts = range(0, self.samples, EVALUATION_BATCH)
        plan = ([(0, i) for i in range(s, min(s + EVALUATION_BATCH, self.samples))] for s in starts)
        return self._read(_Seeded(self.dataset, 0, "evaluation"), plan)

    def _read(self, dataset: Dataset[Any], plan: Iterable[list[tuple[int, int]]]) -> Iterator[Any]:
        draws = torch.Generator()  # the loader would draw its base seed from the global generator
        loader = DataLoader(dataset, batch_sampler=plan, num_workers=self.workers, generator=draws)
        device = self.device
        return iter(loader) if device is None else (cast(batch, device, self.dtype) for batch in loader)


def walk(
    seed: int, samples: int, batch_size: int, start: int, stop: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield ``(epoch, indices)`` for each step in ``[start, stop)``; an epoch's order is drawn once."""
    per_epoch = math.ceil(samples / batch_size)
    current, permutation = -1, torch.empty(0, dtype=torch.int64)
    for step in range(start, stop):
        epoch, position = divmod(step, per_epoch)
        if epoch != current:
            current, permutation = epoch, order(seed, epoch, samples)
        yield epoch, permutation[position * batch_size : (position + 1) * batch_size]


@final
class _Seeded(Dataset[Any]):
    """Reads sample ``(epoch, index)`` under draws that depend on nothing else."""

    def __init__(self, dataset: Dataset[Any], seed: int, stream: str) -> None:
        self._dataset = dataset
        self._seed = seed
        self._stream = stream

    def __getitem__(self, at: tuple[int, int]) -> Any:
        with drawing_from(derive_seed(self._seed, self._stream, *at)):
            return self._dataset[at[1]]


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch's CPU, and put them back afterwards."""
    with preserved_draws():
        seed_draws(seed)
        yield


def seed_draws(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch's CPU."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


@contextmanager
def preserved_draws() -> Iterator[None]:
    """Put the global generators of Python, NumPy and torch's CPU back afterwards."""
    saved = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(saved[0])
        np.random.set_state(saved[1])
        torch.default_generator.set_state(saved[2])


def load(name: str, dataset: Any, *, memory: int, workers: int) -> Source:
    """Choose the data path of a split.

    Args:
        name: Name of the split, for messages.
        dataset: A map-style data set.
        memory: Bytes that the split may take in memory.
        workers: Processes that read it where it is streamed.

    Raises:
        ConfigurationError: The workers are no whole number.
        DataError: A sample is no tensor, number, or nested structure of them.
    """
    check_count("Experiment", "loaders", workers)
    if type(dataset) is TensorDataset:
        return InMemory(tuple(dataset.tensors))
    if isinstance(dataset, Subset) and type(dataset.dataset) is TensorDataset:
        indices = torch.as_tensor(dataset.indices)
        return InMemory(tuple(t.index_select(0, indices) for t in dataset.dataset.tensors))
    first = _collated(name, [dataset[0]])
    size = sum(t.numel() * t.element_size() for t in tensors_of(first)) * len(dataset)
    gathered = all(isinstance(leaf, torch.Tensor) for leaf in leaves_of(first))  # words are not
    if size > memory or not gathered or _draws_random_numbers(name, dataset):
        return Streamed(dataset, workers)
    return InMemory(_collated(name, [dataset[index] for index in range(len(dataset))]))


def _draws_random_numbers(name: str, dataset: Any) -> bool:
    """Read a few samples under two seeds each, and see whether they differ or any generator moves.

    Raises:
        DataError: A sample differs under one seed.
    """
    places = sorted({round(i * (len(dataset) - 1) / (_PROBED_ITEMS - 1)) for i in range(_PROBED_ITEMS)})
    readings = []
    moved = False
    for seed in (1, 2, 1):
        with drawing_from(seed):
            before = _generator_states()
            readings.append([_collated(name, [dataset[index]]) for index in places])
            moved = moved or _generator_states() != before
    first, other, again = readings
    if not all(map(_equal, first, again)):
        raise DataError(
            f"{name}: a sample differs each time it is read, whatever the seed; draw from the generators "
            "of torch, NumPy or Python, which are seeded for each sample, and not from a generator of its own"
        )
    return moved or not all(map(_equal, first, other))


def _generator_states() -> tuple[object, ...]:
    return *other_generators(), torch.get_rng_state().tolist()


def other_generators() -> tuple[object, ...]:
    """Return the states of the global generators of Python and NumPy, to compare."""
    numpy_state: Any = np.random.get_state()
    return random.getstate(), numpy_state[1].tobytes(), numpy_state[2]


def _equal(one: Any, other: Any) -> bool:
    pairs = zip(tensors_of(one), tensors_of(other), strict=True)
    return all(torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)) for a, b in pairs)


def sample_of(name: str, dataset: Any) -> Any:
    """Return a batch of the first sample; the caller's generators do not move.

    Raises:
        DataError: The sample cannot be put into a batch.
    """
    with preserved_draws():
        return _collated(name, [dataset[0]])


def _collated(name: str, samples: list[Any]) -> Any:
    try:
        batch = default_collate(samples)
    except (TypeError, RuntimeError) as error:
        raise DataError(
            f"{name}: a sample of type {type(samples[0]).__name__} cannot be put into a batch ({error}); "
            "give tensors, numbers, or tuples and dicts of them, as transforms.ToTensor() makes"
        ) from error
    if next(tensors_of(batch), None) is None:
        raise DataError(
            f"{name}: a sample holds no tensor or number; give tensors, or tuples and dicts of them"
        )
    return batch

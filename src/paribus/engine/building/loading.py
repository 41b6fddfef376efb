"""From what a user gives as data to splits: named, and held in memory where that is possible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import Dataset, Subset, TensorDataset, default_collate

from paribus.datasets import FrameDataset
from paribus.engine.building.data import (
    InMemory,
    Source,
    Streamed,
    ablates,
    drawing_from,
    other_generators,
    preserved_draws,
)
from paribus.engine.building.nested import leaves_of, tensors_of
from paribus.errors import DataError
from paribus.identity import generator
from paribus.interventions.checks import check_count

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
    columns = columns_of(dataset)
    whole: Any = dataset.dataset if isinstance(dataset, Subset) else dataset
    if type(whole) in (TensorDataset, FrameDataset):
        held = InMemory(tuple(whole.tensors), columns)
        return held if whole is dataset else InMemory(held.gather(torch.as_tensor(dataset.indices)), columns)
    first = _collated(name, [dataset[0]])
    size = sum(t.numel() * t.element_size() for t in tensors_of(first)) * len(dataset)
    gathered = all(isinstance(leaf, torch.Tensor) for leaf in leaves_of(first))  # words are not
    if size > memory or not gathered or _draws_random_numbers(name, dataset):
        return Streamed(dataset, workers, columns)
    tensors = _collated(name, [dataset[index] for index in range(len(dataset))])
    return InMemory(tensors, columns, dataset=dataset if ablates(dataset) else None)


def columns_of(dataset: Any) -> tuple[str, ...]:
    """Return the names of a table's inputs; of data that is no table, none."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset.columns if isinstance(dataset, FrameDataset) else ()


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

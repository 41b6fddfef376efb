"""Datasets: by the code that reads a sample, and by content."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.utils.data import IterableDataset

from paribus.identity import files, marks, objects
from paribus.identity.graph import Form, Node
from paribus.identity.objects import NoIdentityError

if TYPE_CHECKING:
    from paribus.identity.walk import Walk

_LOADING = ("dataset", "batch_size", "drop_last", "sampler", "batch_sampler", "collate_fn")


def dataset_form(walk: Walk, dataset: Any) -> Form:
    """Describe a dataset: its class, and its attributes by content; a path counts as what lies there.

    Raises:
        NoIdentityError: it gives another stream of samples each time, or has no length.
    """
    if isinstance(dataset, IterableDataset):
        raise NoIdentityError(dataset, "an iterable dataset has no samples to count, only a stream")
    if not isinstance(dataset, Sized):
        raise NoIdentityError(dataset, "a dataset without a length has no samples to count")
    node = Node("dataset")
    walk.enter(dataset, node)
    node.edges.append(("class", walk.at("class", type(dataset))))
    without = {*marks.of(dataset).without, *(("root",) if _holds_samples(dataset) else ())}
    before, walk.reading_files = walk.reading_files, True
    for name, value in sorted(objects.state(dataset)):
        if name not in without:
            node.edges.append((name, walk.at(name, value)))
    walk.reading_files = before
    return node


def _holds_samples(dataset: Any) -> bool:
    """Say whether a dataset of torchvision holds its samples, or their paths, beside its root."""
    if not any(base.__module__.startswith("torchvision.") for base in type(dataset).__mro__):
        return False
    if isinstance(getattr(dataset, "data", None), Tensor | np.ndarray):
        return True
    size = len(dataset)
    lists = [item for item in vars(dataset).values() if isinstance(item, list) and len(item) == size]
    return any(files.names_a_file(item[0]) for item in lists if item)


def loader_form(walk: Walk, loader: Any) -> Form:
    """Describe a loader: its data and batches; the number of workers changes no sample."""
    node = Node("loader")
    walk.enter(loader, node)
    for name in _LOADING:
        node.edges.append((name, walk.at(name, getattr(loader, name))))
    return node

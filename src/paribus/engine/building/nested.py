"""Batches and items as nested tuples, lists and dicts of tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import torch


def map_tensors(function: Callable[[torch.Tensor], torch.Tensor], tree: Any) -> Any:
    """Apply a function to each tensor of a nested structure; leave everything else as it is."""
    if isinstance(tree, torch.Tensor):
        return function(tree)
    if isinstance(tree, tuple | list):
        mapped = [map_tensors(function, value) for value in tree]
        return type(tree)(*mapped) if hasattr(tree, "_fields") else type(tree)(mapped)  # a named tuple has
    if isinstance(tree, Mapping):
        return _like(tree, {name: map_tensors(function, value) for name, value in tree.items()})
    return tree


def _like(tree: Mapping[Any, Any], entries: dict[Any, Any]) -> Any:
    """Return a mapping of the type of another, with what else that one has as attributes."""
    if type(tree) is dict or not isinstance(tree, MutableMapping):
        return entries
    new = copy.copy(tree)
    for name, entry in entries.items():  # not update: transformers' ModelOutput refuses it
        new[name] = entry
    return new


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """Apply a function to each leaf of a batch: its tensors, and its words as one list or tuple."""
    if isinstance(tree, Mapping):
        return {name: map_leaves(function, value) for name, value in tree.items()}
    if isinstance(tree, tuple | list) and not all(isinstance(item, str | bytes) for item in tree):
        mapped = [map_leaves(function, value) for value in tree]
        return type(tree)(*mapped) if hasattr(tree, "_fields") else type(tree)(mapped)
    return function(tree)


def leaves_of(tree: Any) -> Iterator[Any]:
    """Yield what a nested structure holds, tensors and everything else."""
    if isinstance(tree, Mapping):
        for value in tree.values():
            yield from leaves_of(value)
    elif isinstance(tree, tuple | list):
        for value in tree:
            yield from leaves_of(value)
    else:
        yield tree


def tensors_of(tree: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of a nested structure."""
    return (leaf for leaf in leaves_of(tree) if isinstance(leaf, torch.Tensor))


def cast(tree: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Move tensors to a device; floating ones take the dtype, integer ones (targets, tokens) keep theirs."""
    return map_tensors(lambda t: t.to(device, dtype) if t.is_floating_point() else t.to(device), tree)

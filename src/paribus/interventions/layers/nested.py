"""Nested values: the tensors in them, in order, and the same nesting with other leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

Shape = tuple[int, ...]
Structure = pytree.TreeSpec


def flattened(value: Any) -> tuple[list[Any], Structure]:
    """Return the leaves in order, and the nesting."""
    return pytree.tree_flatten(value)


def unflattened(leaves: list[Any], structure: Structure) -> Any:
    """Return the nesting with these leaves."""
    return pytree.tree_unflatten(leaves, structure)


def tensors(value: Any) -> list[torch.Tensor]:
    """Return the tensors among the leaves, in order."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def mapped(function: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """Return the nesting with each tensor replaced."""
    return pytree.tree_map_only(torch.Tensor, function, value)


def layout(value: Any) -> tuple[Any, ...]:
    """Return what must stay of an output: nesting, shapes and dtypes."""
    leaves, structure = flattened(value)
    return structure, tuple(
        (tuple(leaf.shape), leaf.dtype) if isinstance(leaf, torch.Tensor) else type(leaf) for leaf in leaves
    )


def shapes(value: Any) -> tuple[Shape, ...]:
    """Return the shapes of the tensors."""
    return tuple(tuple(tensor.shape) for tensor in tensors(value))


def batch_size(batch: Any) -> int:
    """Return the size that most tensors lead with; 0 where there are none."""
    sizes = [tensor.shape[0] for tensor in tensors(batch) if tensor.ndim]
    return max(sizes, key=lambda size: (sizes.count(size), -sizes.index(size)), default=0)


def resized(batch: Any) -> Any:
    """Return the batch with one sample less, or, of one or two samples, with the first one twice."""
    size = batch_size(batch)

    def change(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.ndim or tensor.shape[0] != size:
            return tensor
        return tensor[:-1] if size > 2 else torch.cat([tensor, tensor[:1]])

    return mapped(change, batch)

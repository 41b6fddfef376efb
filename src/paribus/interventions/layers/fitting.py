"""The parameter-free adapter: a tensor brought to another shape by averages and repetitions."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import final

import torch

from paribus.interventions.layers.nested import Shape


@final
@dataclass(frozen=True)
class Fit:
    """How a tensor is brought to a shape, at any batch size.

    Attributes:
        move: The batch axis of the tensor, and the one of the result.
        sizes: For each axis of the result its size; ``None``: as it comes; a fraction: of what comes.
    """

    move: tuple[int, int]
    sizes: tuple[int | Fraction | None, ...]

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the tensor in the shape; what is averaged or repeated are neighbours along an axis."""
        result = _with_axes(tensor.movedim(*self.move) if tensor.ndim else tensor, len(self.sizes))
        for axis, size in enumerate(self.sizes):
            if isinstance(size, Fraction):
                result = _resized(result, axis, int(result.shape[axis] * size))
            elif size is not None:
                result = _resized(result, axis, size)
        return result


def fit(source: Shape, target: Shape, other_source: Shape | None, other_target: Shape | None) -> Fit:
    """Find the way from one shape to another.

    Args:
        source: Of the tensor that is there.
        target: Of the tensor that is wanted.
        other_source: As ``source``, at another batch size; ``None`` where it is not known.
        other_target: As ``target``, at another batch size.
    """
    taken, given = _varying(source, other_source), _varying(target, other_target)
    known = taken is not None and given is not None
    move = (taken, min(given, len(source) - 1)) if taken is not None and given is not None else (0, 0)
    came = tuple(_with_axes(torch.empty(source, device="meta").movedim(*move), len(target)).shape)
    sizes: list[int | Fraction | None] = []
    for axis, (have, want) in enumerate(zip(came, target, strict=True)):
        if have == want:
            sizes.append(None)
        else:
            sizes.append(Fraction(want, have) if known and axis == given and have else want)
    return Fit(move, tuple(sizes))


def _varying(shape: Shape, other: Shape | None) -> int | None:
    if other is None or len(other) != len(shape):
        return None
    return next((axis for axis, (a, b) in enumerate(zip(shape, other, strict=True)) if a != b), None)


def _with_axes(tensor: torch.Tensor, count: int) -> torch.Tensor:
    if tensor.ndim > count:
        return tensor.flatten(count - 1) if count else tensor.mean()
    return tensor.reshape(*tensor.shape, *(1,) * (count - tensor.ndim))


def _resized(tensor: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    length = tensor.shape[axis]
    if length == size or not length:
        return tensor
    if not tensor.is_floating_point():
        index = torch.arange(size, device=tensor.device) * length // size
        return tensor.index_select(axis, index)
    return (tensor.movedim(axis, -1) @ _averages(length, size).to(tensor).T).movedim(-1, axis)


def _averages(length: int, size: int) -> torch.Tensor:
    """Return the matrix (size, length) whose row i averages the i-th of ``size`` equal parts."""
    row = torch.arange(size).unsqueeze(1)
    column = torch.arange(length).unsqueeze(0)
    inside = (column >= row * length // size) & (column < -(-(row + 1) * length // size))
    return inside / inside.sum(1, keepdim=True)

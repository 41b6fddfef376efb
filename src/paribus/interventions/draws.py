"""What interventions draw: on the CPU and in one dtype, so that the numbers do not depend on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paribus.identity import generator

if TYPE_CHECKING:
    import torch


def normal(like: torch.Tensor, seed: int, stream: str, *at: int | str) -> torch.Tensor:
    """Draw from N(0, 1), one number for each entry of a tensor, in its dtype and on its device."""
    import torch

    draws = generator(seed, stream, *at)
    return torch.randn(like.shape, generator=draws, dtype=torch.float32).to(like)


def chosen(like: torch.Tensor, share: float, seed: int, stream: str, *at: int | str) -> torch.Tensor:
    """Choose each entry of a tensor with a probability, bool in its shape.

    What is chosen at a share is chosen at every larger one.
    """
    import torch

    draws = generator(seed, stream, *at)
    return (torch.rand(like.shape, generator=draws, dtype=torch.float32) < share).to(like.device)


def permutation(count: int, seed: int, stream: str, *at: int | str) -> torch.Tensor:
    """Draw a permutation, ``(count,)`` int64, on the CPU."""
    import torch

    return torch.randperm(count, generator=generator(seed, stream, *at))

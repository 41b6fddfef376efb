"""What stands in a removed module's place, and what a kept module's output is replaced by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn

from paribus.interventions.layers.fitting import Fit
from paribus.interventions.layers.nested import Structure, flattened, mapped, tensors, unflattened


@final
@dataclass(frozen=True)
class Leaf:
    """How one leaf of a removed module's output is made from its inputs.

    Attributes:
        source: Which of the tensors it is given, floating ones first; ``None``: none.
        fit: How that is brought to the leaf's shape; ``None``: as it is.
        zero: Whether only the shape is taken, and all is zero.
        dtype: Of the leaf; ``None``: as it comes.
        other: What is no tensor, or zeros where nothing is given.
        argument: Which leaf of the arguments is handed on as it is: a cache, say; ``None``: none.
    """

    source: int | None
    fit: Fit | None = None
    zero: bool = False
    dtype: torch.dtype | None = None
    other: Any = None
    argument: int | None = None

    def __call__(self, given: list[torch.Tensor], arguments: list[Any]) -> Any:
        """Return the leaf."""
        if self.argument is not None:
            return arguments[self.argument]
        if self.source is None or self.source >= len(given):
            return mapped(torch.Tensor.clone, self.other)
        tensor = given[self.source]
        tensor = self.fit(tensor) if self.fit else tensor
        if self.zero:
            return torch.zeros(tensor.shape, dtype=self.dtype or tensor.dtype, device=tensor.device)
        # A copy: what follows may write to it in place, and a shortcut, or the user's batch, may be it.
        return tensor.to(self.dtype or tensor.dtype, copy=True)


@final
class Removed(nn.Module):
    """A module that is no more: it hands on what it is given.

    It has no parameters. What the model reads of the one that it stands for (``batch_first``, a dtype) is
    still told. Where that one drew random numbers it draws them still, and drops them: the draws of
    what comes after stay as they were.

    Args:
        module: The module removed.
        leaves: How its output is made.
        structure: How its output is nested.
        draws: Whether it draws.
    """

    def __init__(
        self, module: nn.Module, leaves: tuple[Leaf, ...], structure: Structure, draws: bool
    ) -> None:
        super().__init__()
        self.leaves, self.structure, self.draws = leaves, structure, draws
        self.was = (module,)  # in a tuple: no submodule
        self.training = module.training
        self.register_forward_hook(_seen)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what stands for the output."""
        if self.draws:
            with torch.no_grad():
                copied_args, copied_kwargs = mapped(torch.Tensor.clone, (args, kwargs))
                self.was[0].train(self.training)(*copied_args, **copied_kwargs)
        given = sorted(tensors((args, kwargs)), key=lambda tensor: not tensor.is_floating_point())
        arguments = flattened((args, kwargs))[0]
        return unflattened([leaf(given, arguments) for leaf in self.leaves], self.structure)

    def extra_repr(self) -> str:
        """Name what was removed."""
        return repr(self.was[0]).partition("\n")[0]

    def __getattr__(self, name: str) -> Any:
        was = self.__dict__.get("was")
        if was is None or name.startswith("__"):
            raise AttributeError(name)
        return getattr(was[0], name)


def _seen(module: nn.Module, given: Any, output: Any) -> None:
    """Do nothing: torch's fused encoder layers call their submodules only where one has a hook."""


Change = Callable[[torch.Tensor], torch.Tensor]


@final
@dataclass(frozen=True)
class Silence:
    """A forward hook that replaces what a module gives; nothing is learned through it.

    Attributes:
        mode: ``"zero"``; ``"mean"``, over the batch; ``"resample"``: of the sample before it in the batch,
            whose order is random already, so that nothing is drawn.
        axis: The batch axis.
    """

    mode: str
    axis: int = 0

    def __call__(self, module: nn.Module, given: Any, output: Any) -> Any:
        """Return the replacement of each floating tensor."""
        return mapped(self._replaced, output)

    def _replaced(self, tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point():
            return tensor
        tensor = tensor.detach()
        if self.mode == "zero" or not tensor.ndim:
            return torch.zeros_like(tensor)
        axis = min(self.axis, tensor.ndim - 1)
        if self.mode == "mean":
            return tensor.mean(axis, keepdim=True).expand_as(tensor).contiguous()
        return tensor.roll(1, axis)


@final
@dataclass(frozen=True)
class SilenceHeads:
    """A hook that zeroes the part of the last axis that some attention heads write.

    Attributes:
        heads: Which heads.
        count: How many there are.
    """

    heads: tuple[int, ...]
    count: int

    def mask(self, width: int) -> torch.Tensor:
        """Return ones, with zeros where the heads write, ``(width,)``."""
        kept = torch.ones(self.count, width // self.count)
        kept[list(self.heads)] = 0
        return kept.flatten()

    def __call__(self, module: nn.Module, given: Any, output: Any = None) -> Any:
        """Zero the heads in the first tensor of the output; before the call, of what is given."""
        value = given if output is None else output
        first = tensors(value)[0]
        masked = first * self.mask(first.shape[-1]).to(first)
        return mapped(lambda tensor: masked if tensor is first else tensor, value)


@final
class Masked(nn.Module):
    """A parametrization: the columns of a weight that some heads feed are zero.

    Args:
        kept: Ones and zeros, ``(columns,)``.
    """

    kept: torch.Tensor

    def __init__(self, kept: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("kept", kept, persistent=False)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight ``(out, columns)`` without those columns."""
        return weight * self.kept

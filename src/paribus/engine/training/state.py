"""The whole state of a run at a step: parameters, buffers, optimizer state, and the step. No generator."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, final

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import nn

from paribus.errors import ConfigurationError, CorruptObjectError

_HEADER = "paribus"
_PLAIN = (bool, int, float, str, type(None))
_SMALL = 1024
_SUMMED = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@final
@dataclass(frozen=True, eq=False)
class State:
    """A run at a step, detached from any model.

    Attributes:
        step: Optimizer steps taken.
        tensors: By name, on the CPU: ``model/<parameter or buffer>``, ``optimizer/<parameter>/<entry>`` and,
            where an optimizer keeps more than hyperparameters in a parameter's group,
            ``group/<parameter>/<entry>``; ``kept/<event>/<name>``: what a constraint in force keeps.
        plain: The optimizer's entries that are no tensors, by the same names.
    """

    step: int
    tensors: Mapping[str, torch.Tensor]
    plain: Mapping[str, Any]

    @property
    def finite(self) -> bool:
        """Whether every number of the model is finite."""
        return all(
            _is_finite(t)
            for name, t in self.tensors.items()
            if name.startswith("model/") and t.is_floating_point()
        )

    def to_bytes(self) -> bytes:
        """Write the state as safetensors; equal states give equal bytes."""
        # One entry: safetensors writes several in no fixed order.
        header = json.dumps({"step": self.step, "plain": self.plain}, sort_keys=True)
        return safetensors.torch.save(dict(self.tensors), metadata={_HEADER: header})

    @classmethod
    def from_bytes(cls, payload: bytes) -> State:
        """Read a state.

        Raises:
            CorruptObjectError: The bytes are no state.
        """
        try:
            length = int.from_bytes(payload[:8], "little")
            header = json.loads(json.loads(payload[8 : 8 + length])["__metadata__"][_HEADER])
            return cls(header["step"], safetensors.torch.load(payload), header["plain"])
        except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise CorruptObjectError(
                f"state: the stored bytes cannot be read ({error}); run again"
            ) from error


Kept = Mapping[str, Mapping[str, torch.Tensor]]


def capture(step: int, model: nn.Module, optimizer: torch.optim.Optimizer, kept: Kept | None = None) -> State:
    """Copy the state out of a model and its optimizer.

    Args:
        step: Optimizer steps taken.
        model: The model.
        optimizer: Its optimizer.
        kept: What constraints keep, by the digest of their event in hex.

    Raises:
        ConfigurationError: The optimizer keeps something that is neither a tensor nor a plain value.
    """
    tensors = {f"model/{name}": _copied(tensor) for name, tensor in named_tensors(model).items()}
    for event, of_one in (kept or {}).items():
        tensors.update({f"kept/{event}/{name}": _copied(tensor) for name, tensor in of_one.items()})
    plain: dict[str, Any] = {}
    for path, value in _entries(model, optimizer):
        if isinstance(value, torch.Tensor):
            tensors[path] = _copied(value)
        elif isinstance(value, _PLAIN):
            plain[path] = value
        else:
            raise ConfigurationError(
                f"{type(optimizer).__name__}: its state {path!r} is a {type(value).__name__}, which cannot "
                "be stored; use an optimizer whose state is tensors and numbers"
            )
    return State(step, tensors, plain)


def _entries(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Any]]:
    """Yield what an optimizer keeps by parameter, and what it keeps in its groups beside hyperparameters."""
    content, names = optimizer.state_dict(), _names(model, optimizer)
    for index, entries in content["state"].items():
        yield from ((f"optimizer/{names[index]}/{name}", value) for name, value in entries.items())
    given = _given(type(optimizer))  # type: ignore[arg-type]
    for group in content["param_groups"]:
        besides = {name: value for name, value in group.items() if name not in given}
        for index in group["params"] if besides else ():
            yield from ((f"group/{names[index]}/{name}", value) for name, value in besides.items())


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Name the optimizer's parameters, in the order in which it numbers them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


@cache
def _given(kind: type[torch.optim.Optimizer]) -> frozenset[str]:
    return frozenset({"params", *inspect.signature(kind).parameters})


def restore(
    state: State, model: nn.Module, optimizer: torch.optim.Optimizer, *, model_only: bool = False
) -> None:
    """Copy a state into a model and its optimizer, which then share no memory with it.

    Args:
        state: The state.
        model: A model of its architecture.
        optimizer: An optimizer over it; its parameter groups may be others than those that the state had.
        model_only: Whether the optimizer is left empty.
    """
    with torch.no_grad():
        for name, tensor in named_tensors(model).items():
            tensor.copy_(state.tensors[f"model/{name}"])
    if model_only:
        return
    numbers = {name: number for number, name in enumerate(_names(model, optimizer))}
    kept: dict[int, dict[str, Any]] = {}
    groups = optimizer.state_dict()["param_groups"]
    place_of = {number: place for place, group in enumerate(groups) for number in group["params"]}
    for path, value in {**state.tensors, **state.plain}.items():
        room, _, rest = path.partition("/")
        name, _, entry = rest.rpartition("/")
        if room in ("optimizer", "group") and name in numbers:
            number = numbers[name]
            into = kept.setdefault(number, {}) if room == "optimizer" else groups[place_of[number]]
            into[entry] = _copied(value) if isinstance(value, torch.Tensor) else value
    optimizer.load_state_dict({"state": kept, "param_groups": groups})


def kept_in(state: State, device: torch.device) -> dict[str, dict[str, torch.Tensor]]:
    """Return what constraints keep in a state, on a device, by the digest of their event in hex."""
    kept: dict[str, dict[str, torch.Tensor]] = {}
    for path, tensor in sorted(state.tensors.items(), key=lambda item: item[0]):
        room, _, rest = path.partition("/")
        event, _, name = rest.partition("/")
        if room == "kept":
            kept.setdefault(event, {})[name] = tensor.to(device)
    return kept


def named_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return parameters and buffers (non-persistent ones too) by name, tied ones once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def bits_of(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Copy tensors into one row per dtype and device: quick to make and to compare."""
    groups: dict[object, list[torch.Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.dtype, tensor.device), []).append(tensor.detach().reshape(-1))
    return [torch.cat(group) for group in groups.values()]


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether two tensors have the same shape, dtype and bits."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    one, other = (t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (one, other))
    if one.device.type != "cpu" or one.numel() < _SMALL:
        return torch.equal(one, other)
    return np.array_equal(one.numpy(), other.numpy())  # on many bytes thirty times as quick


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _is_finite(tensor: torch.Tensor) -> bool:
    # A sum is quicker, and finite only where each number is; where it is not, it may itself have overflowed.
    summed = tensor.dtype in _SUMMED and math.isfinite(tensor.sum().item())
    return summed or bool(torch.isfinite(tensor).all())

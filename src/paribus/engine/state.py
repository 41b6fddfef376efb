"""The whole state of a run at a step: parameters, buffers, optimizer state, and the step. No generator."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, final

import safetensors
import safetensors.torch
import torch
from torch import nn

from paribus.errors import ConfigurationError, CorruptObjectError
from paribus.interventions.settings import OptimizerSetting

_HEADER = "paribus"
_PLAIN = (bool, int, float, str, type(None))


@final
@dataclass(frozen=True, eq=False)
class State:
    """A run at a step, detached from any model.

    Attributes:
        step: Optimizer steps taken.
        tensors: By name: ``model/<parameter or buffer>``, ``optimizer/<index>/<entry>`` and, where an
            optimizer keeps more than hyperparameters in its groups, ``group/<index>/<entry>``; on the CPU.
        plain: The optimizer's entries that are no tensors, by the same names.
    """

    step: int
    tensors: Mapping[str, torch.Tensor]
    plain: Mapping[str, Any]

    @property
    def finite(self) -> bool:
        """Whether every number of the model is finite."""
        return all(
            bool(torch.isfinite(t).all())
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


def capture(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Copy the state out of a model and its optimizer.

    Raises:
        ConfigurationError: The optimizer keeps something that is neither a tensor nor a plain value.
    """
    tensors = {f"model/{name}": _copied(tensor) for name, tensor in named_tensors(model).items()}
    plain: dict[str, Any] = {}
    for path, value in _entries(optimizer):
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


def _entries(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Any]]:
    """Yield what an optimizer keeps by parameter, and what it keeps in its groups beside hyperparameters."""
    content = optimizer.state_dict()
    for index, entries in content["state"].items():
        yield from ((f"optimizer/{index}/{name}", value) for name, value in entries.items())
    given = _given(type(optimizer))  # type: ignore[arg-type]
    for index, group in enumerate(content["param_groups"]):
        yield from ((f"group/{index}/{name}", value) for name, value in group.items() if name not in given)


@cache
def _given(kind: type[torch.optim.Optimizer]) -> frozenset[str]:
    return frozenset({"params", *inspect.signature(kind).parameters})


def restore(state: State, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Copy a state into a model and its optimizer, which then share no memory with it."""
    with torch.no_grad():
        for name, tensor in named_tensors(model).items():
            tensor.copy_(state.tensors[f"model/{name}"])
    entries: dict[int, dict[str, Any]] = {}
    groups = optimizer.state_dict()["param_groups"]
    for path, value in {**state.tensors, **state.plain}.items():
        place, *within = path.split("/", 2)
        if place != "model":
            kept = groups[int(within[0])] if place == "group" else entries.setdefault(int(within[0]), {})
            kept[within[1]] = _copied(value) if isinstance(value, torch.Tensor) else value
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


def named_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return parameters and buffers (non-persistent ones too) by name, tied ones once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def bits_of(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Copy the bits of tensors into one row of bytes per dtype and device: quick to make and to compare."""
    groups: dict[object, list[torch.Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.dtype, tensor.device), []).append(tensor.detach().reshape(-1))
    return [torch.cat(group).view(torch.uint8) for group in groups.values()]


def same_bits(rows: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> bool:
    """Tell whether what ``bits_of`` gave is the same."""
    return len(rows) == len(others) and all(map(torch.equal, rows, others))


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def make_optimizer(model: nn.Module, setting: OptimizerSetting) -> torch.optim.Optimizer:
    """Make the optimizer over the trainable parameters."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    make: Any = setting.kind
    optimizer: torch.optim.Optimizer = make(trainable, **dict(setting.hyperparameters))
    return optimizer

"""How an operation is called so that it writes into buffers that are there before."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

from paribus.engine.fusion.rules import Call, is_known

# Torch has functions of its own for these, which begin in half the time that the overloads take.
_OWN = frozenset(
    "mm bmm addmm baddbmm sum mean _softmax _log_softmax _log_softmax_backward_data".split()  # noqa: SIM905
)


def writing(call: Call, buffers: Sequence[torch.Tensor]) -> tuple[Any, dict[str, Any]]:
    """Return what writes into buffers, with its keywords."""
    if not hasattr(call.function, "_schema"):
        return call.function, {**call.keywords, "out": tuple(buffers) if len(buffers) > 1 else buffers[0]}
    overload = out_of(call.function)
    if call.flat:
        buffers = [buffer.view(-1, *buffer.shape[2:]) for buffer in buffers]
    if overload is None:
        return _copying, {"function": call.function, "into": tuple(buffers), "keywords": dict(call.keywords)}
    return overload[0], {**call.keywords, **dict(zip(overload[1], buffers, strict=True))}


def _copying(*arguments: Any, function: Any, into: Sequence[torch.Tensor], keywords: Any) -> None:
    for buffer, result in zip(into, listed(function(*arguments, **keywords)), strict=True):
        buffer.copy_(result)


@cache
def out_of(function: Any) -> tuple[Any, tuple[str, ...], bool] | None:
    """Return the overload that writes into given tensors, their names, and whether it copies to do so."""
    if function._schema.name == "aten::relu":
        return _relu, ("out",), False
    if not is_known(function._schema.name):  # some, as losses, resize what they are given to write to
        return None
    wanted = [(a.name, str(a.type)) for a in function._schema.arguments]
    for name in function.overloadpacket.overloads():
        other = getattr(function.overloadpacket, name)
        outs = tuple(a.name for a in other._schema.arguments if a.is_out)
        if outs and [(a.name, str(a.type)) for a in other._schema.arguments if not a.is_out] == wanted:
            bare = function._schema.name.removeprefix("aten::")
            called = getattr(torch, bare) if bare in _OWN and outs == ("out",) else other
            return called, outs, torch.Tag.generated in other.tags
    return None


def _relu(stack: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    return torch.clamp_min(stack, 0, out=out)  # which it is: ATen's own is this, and has no place to write to


def listed(given: Any) -> Sequence[Any]:
    """Return what an operation gave as a sequence."""
    return given if isinstance(given, tuple | list) else (given,)

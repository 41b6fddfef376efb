"""Rules for learners that need not be exact: the same numbers, rounded otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from paribus.engine.fusion.rules import Call, Rule, widened

# Between two roundings of one step in single precision; of a wrong rule, numbers differ by far more.
_RELATIVE, _ABSOLUTE = 1e-3, 1e-5
# Classes whose fused form reads each number once.
FUSED: tuple[type[torch.optim.Optimizer], ...] = (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.Adagrad,
)


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether two tensors hold the same numbers but for their rounding."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.allclose(one, other, _RELATIVE, _ABSOLUTE, equal_nan=True)


def loosely_stacked(name: str, call: Call, shape: tuple[int, ...]) -> Call | None:
    """Return an operation for K learners, as `rules.stacked` does, where other bits are allowed."""
    rule = _RULES.get(name.removeprefix("aten::"))
    return None if rule is None else rule(call, shape)


def _addmm(call: Call, shape: tuple[int, ...]) -> Call | None:
    bias, left, right = call.arguments
    return None if call.keywords else Call(torch.ops.aten.baddbmm.default, (widened(bias, 2), left, right))


def _mm(call: Call, shape: tuple[int, ...]) -> Call | None:
    return Call(torch.ops.aten.bmm.default, call.arguments)


def _elementwise(call: Call, shape: tuple[int, ...]) -> Call | None:
    return Call(call.function, tuple(widened(leaf, len(shape)) for leaf in call.arguments), call.keywords)


def _layer_norm(call: Call, shape: tuple[int, ...]) -> Call | None:
    return Call(_normalised, call.arguments)


def _layer_norm_backward(call: Call, shape: tuple[int, ...]) -> Call | None:
    return Call(_normalised_backward, call.arguments) if all(call.arguments[-1]) else None


def _normalised(
    stack: torch.Tensor,
    shape: list[int],
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
    out: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    result, mean, scale = torch.native_layer_norm(stack, shape, None, None, eps)
    if weight is not None:
        result = result.mul_(_beside(weight, stack))
    if bias is not None:
        result = result.add_(_beside(bias, stack))
    for into, each in zip(out, (result, mean, scale), strict=True):
        into.copy_(each)


def _normalised_backward(
    gradient: torch.Tensor,
    stack: torch.Tensor,
    shape: list[int],
    mean: torch.Tensor,
    scale: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    wanted: list[bool],
    out: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    samples = list(range(1, stack.ndim - len(shape)))
    torch.sum(((stack - mean) * scale).mul_(gradient), samples, out=out[1])
    torch.sum(gradient, samples, out=out[2])
    scaled = gradient * _beside(weight, stack)
    only = [True, False, False]
    found = torch.ops.aten.native_layer_norm_backward(scaled, stack, shape, mean, scale, None, None, only)
    out[0].copy_(found[0])


def _beside(parameter: torch.Tensor, stack: torch.Tensor) -> torch.Tensor:
    """Align the learners' parameters ``(K, *shape)`` with their samples ``(K, …, *shape)``."""
    return parameter.view(len(parameter), *(1,) * (stack.ndim - parameter.ndim), *parameter.shape[1:])


_ELEMENTWISE: Mapping[str, Rule] = dict.fromkeys(
    """exp log tanh tanh_backward sigmoid sigmoid_backward gelu gelu_backward silu silu_backward elu
    elu_backward softplus softplus_backward pow rsqrt reciprocal erf sin cos add sub log1p expm1""".split(),  # noqa: SIM905
    _elementwise,
)
_RULES: Mapping[str, Callable[[Call, tuple[int, ...]], Call | None]] = {
    **_ELEMENTWISE,
    "addmm": _addmm,
    "mm": _mm,
    "native_layer_norm": _layer_norm,
    "native_layer_norm_backward": _layer_norm_backward,
}

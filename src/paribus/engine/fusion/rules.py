"""How an operation is written for K learners at once: a table of those whose bits stay the same.

Tensors of K learners are stacks ``(K, *shape)``. What has no rule, or does not fulfil the conditions of its
rule, is computed learner by learner, which is exact by construction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch

from paribus.engine.fusion.trace import mapped

# MKL's batched product is taken from here on; below, ATen has a loop of its own with other bits.
_LEAST_PRODUCT = 400
# Elementwise kernels have other code for the rest of a row that fills no two vectors of the widest CPU.
ROW = 32


@final
@dataclass(frozen=True)
class Call:
    """An operation on stacks.

    Attributes:
        function: What is called: an overload of ATen, or a function here, which takes ``out=``.
        arguments: With stacks in place of the learners' tensors.
        keywords: Likewise.
        flat: Whether the learners' samples are one dimension, in arguments and results.
    """

    function: Any
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any] = field(default_factory=dict)
    flat: bool = False

    def tensors(self) -> list[torch.Tensor]:
        """List the stacks."""
        found: list[torch.Tensor] = []
        mapped(
            lambda leaf: found.append(leaf) if isinstance(leaf, torch.Tensor) else None,
            (self.arguments, dict(self.keywords)),
        )
        return found


Rule = Callable[[Call, tuple[int, ...]], Call | None]


def stacked(name: str, call: Call, shape: tuple[int, ...]) -> Call | None:
    """Return an operation for K learners, or ``None`` where it has no rule.

    Args:
        name: The operation's, as in ``aten::mm``.
        call: It, with stacks for arguments.
        shape: Of one learner's first result.
    """
    bare = name.removeprefix("aten::")
    if bare in _ROUNDED_ONCE or bare in _ELEMENTWISE:
        return _aligned(call, shape, whole=bare in _ELEMENTWISE or not _plain(call))
    rule = _RULES.get(bare)
    return None if rule is None else rule(call, shape)


def is_known(name: str) -> bool:
    """Tell whether an operation is one of the table, or what one of it becomes."""
    bare = name.removeprefix("aten::")
    return bare in _ROUNDED_ONCE or bare in _ELEMENTWISE or bare in _RULES or bare == "baddbmm"


def _plain(call: Call) -> bool:
    """Tell whether an addition has no factor, with which it would be rounded twice, or once, as compiled."""
    return call.keywords.get("alpha", 1) == 1 and call.keywords.get("rounding_mode") is None


def _aligned(call: Call, shape: tuple[int, ...], *, whole: bool) -> Call | None:
    """Elementwise: align the learners' dimensions with those of the result."""
    stacks = call.tensors()
    if len({t.dtype for t in stacks if t.is_floating_point()}) > 1:
        return None  # a tensor without dimensions has no say in the type of the result, a stack of them has
    if whole and (math.prod(shape) % ROW or any(not _dense(t, shape) for t in stacks)):
        return None
    return Call(
        call.function,
        mapped(lambda leaf: widened(leaf, len(shape)), call.arguments),
        mapped(lambda leaf: widened(leaf, len(shape)), dict(call.keywords)),
    )


def _dense(stack: torch.Tensor, shape: tuple[int, ...]) -> bool:
    return tuple(stack.shape[1:]) == shape and stack.is_contiguous()


def widened(leaf: Any, rank: int) -> Any:
    """Align the dimensions of one learner's tensor with those of a result of some rank; others stay."""
    if not isinstance(leaf, torch.Tensor):
        return leaf
    return leaf[(slice(None), *(None,) * (rank - leaf.ndim + 1))]


def _addmm(call: Call, shape: tuple[int, ...]) -> Call | None:
    bias, left, right = call.arguments
    if call.keywords or not _large(left, right):
        return None
    return Call(torch.ops.aten.baddbmm.default, (widened(bias, 2), left, right))


def _mm(call: Call, shape: tuple[int, ...]) -> Call | None:
    left, right = call.arguments
    return Call(torch.ops.aten.bmm.default, (left, right)) if _large(left, right) else None


def _bmm(call: Call, shape: tuple[int, ...]) -> Call | None:
    left, right = (_flat(each) for each in call.arguments)
    if left is None or right is None or not _large(left, right):
        return None
    return Call(call.function, (left, right), flat=True)


def _large(left: torch.Tensor, right: torch.Tensor) -> bool:
    return math.prod((*left.shape[-2:], right.shape[-1])) >= _LEAST_PRODUCT


def _flat(stack: torch.Tensor) -> torch.Tensor | None:
    """Return all learners' samples in one dimension, where no copy is needed for it."""
    try:
        return stack.view(-1, *stack.shape[2:])
    except RuntimeError:
        return None


def _samples(call: Call, shape: tuple[int, ...]) -> Call | None:
    """What treats each sample alone: the learners' samples are one batch."""
    flat = [(_flat(t) if t.ndim > 4 else None) for t in call.tensors()]
    if any(t is None for t in flat):
        return None
    rest = iter(flat)
    swap = lambda leaf: next(rest) if isinstance(leaf, torch.Tensor) else leaf  # noqa: E731
    return Call(call.function, mapped(swap, call.arguments), mapped(swap, dict(call.keywords)), flat=True)


def _reduced(call: Call, shape: tuple[int, ...]) -> Call | None:
    """Sums and means over some dimensions, or over all: those of one learner."""
    stack, *rest = call.arguments
    if not rest and stack.ndim > 1:
        return Call(_OVER[call.function._schema.name], (stack, list(range(1, stack.ndim))), call.keywords)
    if not rest or not rest[0]:
        return None
    dims, *rest = rest
    return Call(call.function, (stack, [_shifted(d) for d in dims], *rest), call.keywords)


_OVER = {"aten::sum": torch.ops.aten.sum.dim_IntList, "aten::mean": torch.ops.aten.mean.dim}


def _along(place: int) -> Rule:
    """What goes along one dimension, named by the argument at a place."""

    def rule(call: Call, shape: tuple[int, ...]) -> Call | None:
        arguments = list(call.arguments)
        arguments[place] = _shifted(arguments[place])
        return Call(call.function, tuple(arguments), call.keywords)

    return rule


def _shifted(dimension: int) -> int:
    return dimension + 1 if dimension >= 0 else dimension


def _nll_forward(call: Call, shape: tuple[int, ...]) -> Call | None:
    if not _is_mean_of_classes(call.arguments, 2):
        return None
    return Call(_mean_nll, (call.arguments[0], call.arguments[1], call.arguments[4]))


def _nll_backward(call: Call, shape: tuple[int, ...]) -> Call | None:
    gradient, scores, targets, weight, reduction, ignored, total = call.arguments
    if not _is_mean_of_classes((scores, targets, weight, reduction), 2):
        return None
    return Call(_mean_nll_backward, (gradient, scores, targets, ignored, total))


def _is_mean_of_classes(arguments: Any, rank: int) -> bool:
    scores, _, weight, reduction = arguments[:4]
    return scores.ndim == rank + 1 and weight is None and reduction == 1


def _mean_nll(
    scores: torch.Tensor, targets: torch.Tensor, ignored: int, out: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """Mean negative log-likelihood of each learner, summed in another order than alone: nothing reads it."""
    loss, total = out
    if _counts_all(targets, ignored):
        torch.sum(scores.gather(2, targets.unsqueeze(2)), (1, 2), out=loss)
        total.fill_(targets.shape[1])
    else:
        left = targets == ignored
        found = scores.gather(2, targets.masked_fill(left, 0).unsqueeze(2)).squeeze(2)
        torch.sum(left.logical_not(), 1, dtype=scores.dtype, out=total)
        torch.sum(found.masked_fill_(left, 0), 1, out=loss)
    loss.neg_().div_(total)


def _mean_nll_backward(
    gradient: torch.Tensor,
    scores: torch.Tensor,
    targets: torch.Tensor,
    ignored: int,
    total: torch.Tensor,
    out: torch.Tensor,
) -> None:
    each = (gradient / total).neg_().unsqueeze(1).expand(targets.shape)
    if not _counts_all(targets, ignored):
        left = targets == ignored
        each, targets = each.masked_fill(left, 0), targets.masked_fill(left, 0)
    out.zero_().scatter_(2, targets.unsqueeze(2), each.unsqueeze(2))


def _counts_all(targets: torch.Tensor, ignored: int) -> bool:
    """Tell whether no sample is left out, where that is quick to see: no other device is waited for."""
    return targets.device.type == "cpu" and ignored < 0 and int(targets.min()) >= 0


# Rounded once, or not at all: the same bits wherever an element stands.
_ROUNDED_ONCE = frozenset(
    """relu relu_ threshold_backward neg abs mul mul_ div div_ sqrt where clamp clamp_min clamp_max maximum
    minimum add add_ sub sub_ eq ne lt gt le ge masked_fill clone copy_ leaky_relu leaky_relu_backward
    hardtanh hardtanh_backward _to_copy""".split()  # noqa: SIM905
)
# Other code for the rest of a row: only where there is none.
_ELEMENTWISE = frozenset(
    """exp log tanh tanh_backward sigmoid sigmoid_backward gelu gelu_backward silu silu_backward elu
    elu_backward softplus softplus_backward pow rsqrt reciprocal hardswish hardswish_backward hardsigmoid
    hardsigmoid_backward mish mish_backward erf sin cos addcmul addcdiv log1p expm1
    log_sigmoid_forward""".split()  # noqa: SIM905
)
_RULES: Mapping[str, Rule] = {
    "addmm": _addmm,
    "mm": _mm,
    "bmm": _bmm,
    "sum": _reduced,
    "mean": _reduced,
    "_log_softmax": _along(1),
    "_softmax": _along(1),
    "_safe_softmax": _along(1),
    "_log_softmax_backward_data": _along(2),
    "_softmax_backward_data": _along(2),
    "cat": _along(1),
    "nll_loss_forward": _nll_forward,
    "nll_loss_backward": _nll_backward,
    "max_pool2d_with_indices": _samples,
    "max_pool2d_with_indices_backward": _samples,
    "avg_pool2d": _samples,
    "avg_pool2d_backward": _samples,
    "_adaptive_avg_pool2d": _samples,
    "_adaptive_avg_pool2d_backward": _samples,
}

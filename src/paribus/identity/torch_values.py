"""Tensors, modules and the other values of torch; imported when one of them is first met."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from xxhash import xxh3_128

from paribus.identity import data, marks, objects
from paribus.identity.grammar import WRITERS, integer, label, octets, plain, sequence
from paribus.identity.graph import Form, Node
from paribus.identity.objects import NoIdentityError

if TYPE_CHECKING:
    from paribus.identity.walk import Walk

_PIECE = 2**26


def _named(value: Any) -> bytes:
    return b"k" + label("torch") + label(str(value)) + label("")


WRITERS[torch.dtype] = WRITERS[torch.layout] = WRITERS[torch.memory_format] = _named
WRITERS[torch.device] = _named
WRITERS[torch.Size] = lambda value: sequence(b"t", [integer(size) for size in value])


def content_digest(tensor: Tensor) -> bytes:
    """Hash the elements of a tensor in C order, in place where they lie so, else piece by piece."""
    hasher = xxh3_128()
    _feed(hasher, tensor.detach().resolve_conj().resolve_neg())
    return hasher.digest()


def _feed(hasher: Any, tensor: Tensor) -> None:
    size = tensor.numel() * tensor.element_size()
    if size <= _PIECE or (tensor.is_contiguous() and tensor.device.type == "cpu"):
        if size:
            hasher.update(tensor.contiguous().view(-1).view(torch.uint8).cpu().numpy())
        return
    rows = max(1, len(tensor) * _PIECE // size)
    for start in range(0, len(tensor), rows):
        piece = tensor[start : start + rows]
        _feed(hasher, piece[0] if len(piece) == 1 else piece)


def tensor_form(walk: Walk, tensor: Tensor) -> Form:
    """Describe a tensor: type of elements, shape, `requires_grad`, and the hash of its elements.

    A weight of a model that is a template is told by its place among the weights.
    """
    if id(tensor) in walk.weights:
        return _weight_form(walk, tensor)
    if tensor.layout is not torch.strided:
        return _sparse_form(walk, tensor)
    if tensor.is_quantized or tensor.device.type == "meta":
        raise NoIdentityError(tensor, "a tensor without elements of its own")
    return Node(_tensor_head(tensor) + octets(b"b", content_digest(tensor)), text=lambda: _shape(tensor))


def _tensor_head(tensor: Tensor) -> bytes:
    kind = str(tensor.dtype).removeprefix("torch.")
    return label("tensor") + label(kind) + plain(tuple(tensor.shape)) + plain(tensor.requires_grad)


def _shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _sparse_form(walk: Walk, tensor: Tensor) -> Form:
    if tensor.layout is not torch.sparse_coo:
        raise NoIdentityError(tensor, f"a tensor of layout {tensor.layout}")
    whole = tensor.detach().coalesce()
    node = Node(label("sparse") + plain(tuple(tensor.shape)))
    walk.enter(tensor, node)
    node.edges += [("indices", walk.form(whole.indices())), ("values", walk.form(whole.values()))]
    return node


def _weight_form(walk: Walk, weight: Tensor) -> Form:
    """Describe a weight: equal places are tied weights; its content only where contents count."""
    if isinstance(weight, nn.parameter.UninitializedTensorMixin):
        head = label("lazy weight") + label(str(weight.dtype))
    else:
        head = label("weight") + _tensor_head(weight)
    node = Node(head + integer(walk.weights[id(weight)]), text=lambda: _shape(weight))
    walk.enter(weight, node)
    if walk.contents:
        node.edges.append(("content", octets(b"b", content_digest(weight))))
    for place, hook in enumerate((weight._backward_hooks or {}).values()):
        node.edges.append((f"hook[{place}]", walk.at(f"hook {place}", hook)))
    return node


_HOOKS = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_backward_pre_hooks",
    "_backward_hooks",
)
_BOOKKEEPING = frozenset(vars(nn.Module())) | {
    "_flat_weights",
    "_flat_weight_refs",
    "_version",
    marks.ATTRIBUTE,
}


def module_form(walk: Walk, module: nn.Module) -> Form:
    """Describe a module: its class, its tree in the order of registration, weights, buffers, hooks, attributes.

    Whether it stands in training mode, and its gradients, are not its identity.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise NoIdentityError(module, "a scripted module hides its code; give the module it was made of")
    own = module.__dict__
    node = Node(label("module"))
    walk.enter(module, node)
    _register(walk, module)
    edges, without = node.edges, marks.of(module).without
    edges.append(("class", walk.at("class", type(module))))
    for name, child in own["_modules"].items():
        if name not in without:
            edges.append((name, walk.at(name, child)))
    for name, weight in own["_parameters"].items():
        edges.append((name, walk.at(name, weight)))
    fleeting = own["_non_persistent_buffers_set"]
    for name, buffer in own["_buffers"].items():
        if name not in without:
            edges.append((f"{name}, fleeting" if name in fleeting else name, walk.at(name, buffer)))
    for name, value in sorted(item for item in own.items() if item[0] not in _BOOKKEEPING):
        if name not in without:
            edges.append((f".{name}", walk.at(name, value)))
    for family in _HOOKS:
        for place, hook in enumerate(own[family].values()):
            edges.append((f"{family[1:-1]}[{place}]", walk.at(f"{family[1:-1]} {place}", hook)))
    return node


def _register(walk: Walk, module: nn.Module) -> None:
    """Number the weights from here on, before any is met as an attribute of something."""
    stack = [module]
    while stack:
        own = stack.pop().__dict__
        for weight in own["_parameters"].values():
            if weight is not None:
                walk.weights.setdefault(id(weight), len(walk.weights))
        stack.extend(child for child in own["_modules"].values() if child is not None)


def _no_generator(walk: Walk, value: object) -> Form:
    raise NoIdentityError(value, objects.RANDOM)


def describer(kind: type) -> Callable[..., Form] | None:
    """Choose how values of one of torch's types are described; None where as any other."""
    families: list[tuple[type, Callable[..., Form]]] = [
        (Tensor, tensor_form),
        (nn.Module, module_form),
        (DataLoader, data.loader_form),
        (Dataset, data.dataset_form),
        (torch.Generator, _no_generator),
    ]
    return next((describe for family, describe in families if issubclass(kind, family)), None)

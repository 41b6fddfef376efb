"""Tensors, modules and the other values of torch; imported when one of them is first met."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.hooks import RemovableHandle
from xxhash import xxh3_128

from paribus.identity import data, marks, objects
from paribus.identity.grammar import WRITERS, NotPlainError, count, integer, label, plain, reference, sequence
from paribus.identity.graph import Form, Node, flat, leaf
from paribus.identity.objects import NoIdentityError
from paribus.identity.rows import rows, rows_of_bytes

if TYPE_CHECKING:
    from paribus.identity.walk import Walk

_PIECE = 2**26
_Traits = tuple[tuple[str, bytes], ...]


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
    pieces = [*_traits(tensor), ("content", reference(content_digest(tensor)))]
    return Node("tensor", [*pieces], text=lambda: _rows(tensor.detach()))


def _rows(tensor: Tensor) -> str:
    if tensor.ndim and tensor.numel() and tensor.is_contiguous() and tensor.device.type == "cpu":
        flat: Any = tensor.view(-1).view(torch.uint8).numpy()
        return rows_of_bytes(memoryview(flat), len(tensor))
    return rows(tensor, content_digest)


def _traits(tensor: Tensor) -> _Traits:
    return _written_traits(tensor.dtype, tensor.shape, tensor.requires_grad)


@lru_cache(maxsize=4096)
def _written_traits(dtype: torch.dtype, shape: torch.Size, learns: bool) -> _Traits:
    name = str(dtype).removeprefix("torch.")
    return ("dtype", label(name)), ("shape", plain(tuple(shape))), ("requires_grad", plain(learns))


def _sparse_form(walk: Walk, tensor: Tensor) -> Form:
    if tensor.layout is not torch.sparse_coo:
        raise NoIdentityError(tensor, f"a tensor of layout {tensor.layout}")
    whole = tensor.detach().coalesce()
    node = Node("sparse", [("shape", plain(tuple(tensor.shape)))])
    walk.enter(tensor, node)
    node.edges += [("indices", walk.form(whole.indices())), ("values", walk.form(whole.values()))]
    return node


def _weight_form(walk: Walk, weight: Tensor) -> Form:
    """Describe a weight: equal places are tied weights; its content only where contents count."""
    place = walk.weights[id(weight)]
    shape = None if type(weight) is nn.UninitializedParameter else weight.shape
    if not walk.contents and not weight._backward_hooks and not weight.__dict__:
        return _template_weight(weight.dtype, shape, weight.requires_grad, place)
    node = Node("weight", [*_weight_traits(weight.dtype, shape, weight.requires_grad, place)])
    walk.enter(weight, node)
    if walk.contents:
        node.edges.append(("content", reference(content_digest(weight))))
        node.text = lambda: _rows(weight.detach())
    for name, value in sorted(weight.__dict__.items()):
        node.edges.append((f".{name}", walk.at(name, value)))
    for number, hook in enumerate((weight._backward_hooks or {}).values()):
        node.edges.append((f"hook[{number}]", walk.at(f"hook {number}", hook)))
    return node


def _weight_traits(dtype: torch.dtype, shape: torch.Size | None, learns: bool, place: int) -> _Traits:
    traits = (("dtype", label(str(dtype))),) if shape is None else _written_traits(dtype, shape, learns)
    return (*traits, ("place", integer(place)))


@lru_cache(maxsize=65536)
def _template_weight(dtype: torch.dtype, shape: torch.Size | None, learns: bool, place: int) -> bytes:
    return leaf("weight", *_weight_traits(dtype, shape, learns, place))


_HOOKS = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_backward_pre_hooks",
    "_backward_hooks",
)
_BOOKKEEPING = frozenset(vars(nn.Module())) | {
    "_flat_weights",
    "_flat_weight_refs",
    marks.ATTRIBUTE,
}


def module_form(walk: Walk, module: nn.Module) -> Form:
    """Describe a module: class, tree in the order of registration, weights, buffers, hooks, attributes.

    Whether it stands in training mode, and its gradients, are not its identity.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise NoIdentityError(module, "a scripted module hides its code; give the module it was made of")
    _unscripted.add(type(module))
    simple = _simple_form(walk, module, module.__dict__)
    if simple is not None:
        return simple
    node = Node("module")
    walk.enter(module, node)
    if id(module) not in walk.modules:
        _register(walk, module)
    own, edges, without = module.__dict__, node.edges, marks.of(module).without
    edges.append(("class", walk.at("class", type(module))))
    for name, child in own["_modules"].items():
        if name not in without:
            simple = _simple_form(walk, child, child.__dict__) if type(child) in _unscripted else None
            edges.append((name, simple or walk.at(name, child)))
    for name, weight in own["_parameters"].items():
        edges.append((name, b"N" if weight is None else _weight_form(walk, weight)))
    fleeting = own["_non_persistent_buffers_set"]
    for name, buffer in own["_buffers"].items():
        if name not in without:
            edges.append((f"{name}, fleeting" if name in fleeting else name, walk.at(name, buffer)))
    for name in sorted(own.keys() - _BOOKKEEPING):
        if name not in without:
            edges.append((f".{name}", walk.at(name, own[name])))
    if any(map(own.__getitem__, _HOOKS)):
        _add_hooks(walk, own, edges)
    return flat(node)


def _simple_form(walk: Walk, module: nn.Module, own: dict[str, Any]) -> bytes | None:
    """Write a module without children, buffers, hooks and declarations; most modules are such.

    It is what `module_form` writes, sooner; None where the module is not simple.
    """
    if walk.contents or walk.reading_files or own["_modules"] or own["_buffers"]:
        return None
    if marks.ATTRIBUTE in own or any(map(own.__getitem__, _HOOKS)):
        return None
    if id(module) not in walk.modules:
        _register(walk, module)
    opening, attributes, names = _frame(tuple(own), tuple(own["_parameters"]))
    weights = own["_parameters"].values()
    forms = [walk.kind(type(module))]
    forms += [b"N" if weight is None else _weight_form(walk, weight) for weight in weights]
    try:
        forms += [WRITERS[type(own[name])](own[name]) for name in attributes]
    except NotPlainError:
        return None
    pieces = [opening]
    for name, form in zip(names, forms, strict=True):
        if not isinstance(form, bytes):
            return None
        pieces.append(name)
        pieces.append(form)
    return b"".join(pieces)


_unscripted: set[type] = set()


@lru_cache(maxsize=4096)
def _frame(own: tuple[str, ...], weights: tuple[str, ...]) -> tuple[bytes, list[str], list[bytes]]:
    """Write what precedes the pieces of a simple module, and name its attributes and all of its pieces."""
    attributes = sorted({*own} - _BOOKKEEPING)
    names = [label(name) for name in ("class", *weights, *(f".{name}" for name in attributes))]
    return b"n" + label("module") + count(len(names)), attributes, names


def _add_hooks(walk: Walk, own: dict[str, Any], edges: list[tuple[str, Form]]) -> None:
    for family in _HOOKS:
        for place, hook in enumerate(own[family].values()):
            edges.append((f"{family[1:-1]}[{place}]", walk.at(f"{family[1:-1]} {place}", hook)))


def _register(walk: Walk, module: nn.Module) -> None:
    """Number the weights from here on, before any is met as an attribute of something."""
    stack = [module]
    while stack:
        inner = stack.pop()
        walk.modules.add(id(inner))
        own = inner.__dict__
        for weight in own["_parameters"].values():
            if weight is not None:
                walk.weights.setdefault(id(weight), len(walk.weights))
        children = own["_modules"].values()
        stack.extend(child for child in children if child is not None and id(child) not in walk.modules)


def _no_generator(walk: Walk, value: object) -> Form:
    raise NoIdentityError(value, objects.RANDOM)


def describer(kind: type) -> Callable[..., Form] | None:
    """Choose how values of one of torch's types are described; None where as any other."""
    return next((describe for family, describe in _FAMILIES if issubclass(kind, family)), None)


_FAMILIES: list[tuple[type, Callable[..., Form]]] = [
    (Tensor, tensor_form),
    (nn.Module, module_form),
    (DataLoader, data.loader_form),
    (Dataset, data.dataset_form),
    (torch.Generator, _no_generator),
    (RemovableHandle, lambda walk, value: leaf("handle")),
]

"""A submodule with another constructor argument, or with another attribute."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from paribus.errors import LevelError, NoEffect, Opaque, suggest
from paribus.identity import derive_seed
from paribus.interventions.layers.rebuilding import redraw
from paribus.interventions.layers.surgery import put
from paribus.interventions.layers.trace import is_closed, kept_draws

_PLACES = ("device", "dtype")


def reformed(model: nn.Module, path: str, values: Mapping[str, Any], seed: int) -> nn.Module:
    """Give a submodule other values.

    Args:
        model: The caller's own.
        path: Of the submodule; ``""``: the model itself.
        values: By name of a constructor's argument, or of an attribute.
        seed: Of the ``init`` stream.

    Raises:
        LevelError: There is no such argument or attribute.
        NoEffect: It has these values already.
        Opaque: The module is scripted or compiled.
    """
    module = model.get_submodule(path)
    if is_closed(module):
        raise Opaque(f"SetModule: {path!r} is scripted or compiled; give the model unscripted and uncompiled")
    arguments = _arguments(module)
    known = {*arguments, *vars(module), *module._modules, *_properties(module)}
    for name in values:
        if (
            name not in known
            or name.startswith("_")
            or (name in module._parameters and name not in arguments)
        ):
            shown = sorted(n for n in known if not n.startswith("_") and n != "training")
            raise LevelError(
                f"SetModule: {name!r} is no argument or attribute of {path or 'the model'!r}, a "
                f"{type(module).__name__} {suggest(name, shown)}"
            )
    given = {**arguments, **values}
    if _readable(module, arguments) and all(name in arguments for name in values):
        if all(_same(arguments[name], value) for name, value in values.items()):
            raise NoEffect(f"SetModule: {path!r} has {dict(values)!r} already; leave it out")
        return _replaced(model, path, _constructed(module, given, derive_seed(seed, "init", path)))
    for name, value in values.items():
        _set(module, path, name, value, seed)
    return model


_UNKNOWN = object()


def _arguments(module: nn.Module) -> dict[str, Any]:
    """Return what the constructor was given, as far as attributes of the same names tell it."""
    found: dict[str, Any] = {}
    for name, parameter in _signature(module).items():
        if name in ("self", *_PLACES) or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        value = getattr(module, name, _UNKNOWN)
        if name == "bias" and (value is None or isinstance(value, torch.Tensor)):
            value = value is not None
        if value is not _UNKNOWN and not isinstance(value, torch.Tensor | nn.Module):
            found[name] = value
    return found


def _signature(module: nn.Module) -> dict[str, inspect.Parameter]:
    """Return the constructor's arguments; torch's recurrent layers write theirs in their base only."""
    kind = nn.RNNBase if isinstance(module, nn.LSTM | nn.GRU) else type(module)
    found = dict(inspect.signature(kind.__init__).parameters)
    return {name: p for name, p in found.items() if kind is type(module) or name != "mode"}


def _readable(module: nn.Module, arguments: Mapping[str, Any]) -> bool:
    """Tell whether all arguments are known, and give a module with the same parameters."""
    signature = _signature(module)
    needed = [n for n, p in signature.items() if n not in ("self", *_PLACES) and n not in arguments]
    variadic = [p for p in signature.values() if p.kind is p.VAR_POSITIONAL]
    own = type(module).__module__.startswith("torch.nn")
    needed = [n for n in needed if signature[n].kind is not signature[n].VAR_KEYWORD]
    if needed or variadic or (not own and next(module.children(), None) is not None):
        return False
    try:
        twin = _constructed(module, arguments, 0)
    except (TypeError, ValueError, AttributeError):
        return False
    shapes = [{n: p.shape for n, p in one.named_parameters()} for one in (module, twin)]
    return shapes[0] == shapes[1]


def _constructed(module: nn.Module, arguments: Mapping[str, Any], seed: int) -> nn.Module:
    with kept_draws():
        torch.manual_seed(seed)
        new: nn.Module = type(module)(**arguments)
    some = next(module.parameters(), None)
    new = new.to(some.device, some.dtype if some.is_floating_point() else None) if some is not None else new
    old = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, tensor in (*new.named_parameters(), *new.named_buffers()):
            if name in old and old[name].shape == tensor.shape:
                tensor.copy_(old[name])
                tensor.requires_grad_(old[name].requires_grad)
    return new.train(module.training)


def _set(module: nn.Module, path: str, name: str, value: Any, seed: int) -> None:
    old = getattr(module, name, None)
    if isinstance(old, nn.Module):
        value = value() if isinstance(value, type) else copy.deepcopy(value)
        if isinstance(value, nn.Module):
            for part, child in value.named_modules(prefix=f"{path}.{name}".lstrip(".")):
                redraw(child, derive_seed(seed, "init", part))
    elif _same(old, value):
        raise NoEffect(f"SetModule: {path!r} has {name}={value!r} already; leave it out")
    setattr(module, name, value)


def _replaced(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    if not path:
        return module
    put(model, path, module)
    return model


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and bool(one == other))


def _properties(module: nn.Module) -> set[str]:
    return {name for name, value in inspect.getmembers(type(module)) if isinstance(value, property)}

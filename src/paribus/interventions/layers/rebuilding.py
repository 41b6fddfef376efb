"""Layers of torch, rebuilt for inputs of another width."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from paribus.identity import derive_seed
from paribus.interventions.layers.nested import Shape
from paribus.interventions.layers.trace import kept_draws


@final
@dataclass(frozen=True)
class Rebuild:
    """A layer that takes inputs of another width.

    Attributes:
        path: Of the layer.
        attributes: Its new arguments, by name.
        shapes: New shapes of parameters and buffers, by name.
    """

    path: str
    attributes: tuple[tuple[str, Any], ...]
    shapes: tuple[tuple[str, Shape], ...]


def rebuild(path: str, module: nn.Module, shape: Shape) -> Rebuild | None:
    """Return how a layer is rebuilt for an input of a shape; ``None`` where nobody can tell."""
    found = _resized(module, shape)
    if found is None or not callable(getattr(module, "reset_parameters", None)):
        return None
    attributes, sizes = found
    own = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
    changed = {n: size for n, size in sizes.items() if own.get(n) is not None and tuple(own[n].shape) != size}
    if not changed:
        return None
    return Rebuild(path, tuple(attributes.items()), tuple(changed.items()))


def rebuilt(module: nn.Module, how: Rebuild, seed: int, *, sliced: bool) -> nn.Module:
    """Return the rebuilt layer, drawn from its own stream.

    Args:
        module: The layer as it is.
        how: What changes.
        seed: Of the ``init`` stream.
        sliced: Whether the weights that fit are kept.
    """
    new = copy.deepcopy(module)
    for name, value in how.attributes:
        setattr(new, name, value)
    for name, size in how.shapes:
        old = getattr(new, name)
        empty = old.detach().new_zeros(size)
        fresh = nn.Parameter(empty, requires_grad=old.requires_grad) if name in new._parameters else empty
        setattr(new, name, fresh)
    redraw(new, derive_seed(seed, "init", how.path))
    if sliced:
        with torch.no_grad():
            for name, parameter in new.named_parameters(recurse=False):
                old = getattr(module, name)
                common = tuple(slice(min(a, b)) for a, b in zip(parameter.shape, old.shape, strict=True))
                parameter[common] = old[common]
    return new


def redraw(module: nn.Module, seed: int) -> None:
    """Let a module draw its own parameters from a seed."""
    reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    if callable(reset):
        with kept_draws():
            torch.manual_seed(seed)
            reset()


def _resized(module: nn.Module, shape: Shape) -> tuple[dict[str, Any], dict[str, Shape]] | None:
    match module:
        case nn.Linear() if shape:
            return {"in_features": shape[-1]}, {"weight": (module.out_features, shape[-1])}
        case _ConvNd():
            axes = len(module.kernel_size)
            return _convolution(module, shape[-axes - 1]) if len(shape) > axes else None
        case _NormBase() if len(shape) > 1:
            names = ("weight", "bias", "running_mean", "running_var")
            return {"num_features": shape[1]}, dict.fromkeys(names, (shape[1],))
        case nn.GroupNorm() if len(shape) > 1:
            groups = math.gcd(module.num_groups, shape[1])
            return {"num_channels": shape[1], "num_groups": groups}, _both((shape[1],))
        case nn.LayerNorm() | nn.RMSNorm():
            size = tuple(shape[-len(module.normalized_shape) :])
            return {"normalized_shape": size}, _both(size)
        case nn.RNNBase() if shape:
            first = [name for name in module._flat_weights_names if "weight_ih_l0" in name]
            rows = getattr(module, first[0]).shape[0]
            return {"input_size": shape[-1]}, dict.fromkeys(first, (rows, shape[-1]))
        case nn.RNNCellBase() if shape:
            return {"input_size": shape[-1]}, {"weight_ih": (module.weight_ih.shape[0], shape[-1])}
        case nn.PReLU() if module.num_parameters > 1 and len(shape) > 1:
            return {"num_parameters": shape[1]}, {"weight": (shape[1],)}
    return None


def _convolution(module: _ConvNd, width: int) -> tuple[dict[str, Any], dict[str, Shape]]:
    groups = math.gcd(module.groups, width)
    if isinstance(module, _ConvTransposeNd):
        size = (width, module.out_channels // groups, *module.kernel_size)
    else:
        size = (module.out_channels, width // groups, *module.kernel_size)
    return {"in_channels": width, "groups": groups}, {"weight": size}


def _both(size: Shape) -> dict[str, Shape]:
    return {"weight": size, "bias": size}

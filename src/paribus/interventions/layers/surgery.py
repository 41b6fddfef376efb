"""A planned change of a model, and its application: fast, and the same each time."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn
from torch.nn.utils import parametrize

from paribus.identity import derive_seed, generator
from paribus.interventions.layers.nested import Structure
from paribus.interventions.layers.rebuilding import Rebuild, rebuilt, redraw
from paribus.interventions.layers.replacements import Leaf, Masked, Removed, Silence, SilenceHeads


@final
@dataclass(frozen=True)
class Removal:
    """A submodule that is replaced by what hands its input on.

    Attributes:
        path: Of the submodule.
        leaves: How its output is made.
        structure: How its output is nested.
        draws: Whether it goes on drawing random numbers for those that come after it.
    """

    path: str
    leaves: tuple[Leaf, ...]
    structure: Structure
    draws: bool


@final
@dataclass(frozen=True)
class Surgery:
    """All that is done to a model.

    Attributes:
        way: In words.
        removals: Submodules that go.
        zeroed: Parameters that become zeros, and no parameters.
        rebuilds: Neighbours that are made anew.
        sliced: Whether those keep the weights that fit.
        silences: Submodules whose output is replaced.
        before: Submodules whose input loses attention heads.
        masked: Weights, by path, whose columns lose attention heads.
        frozen: Parameters that stay as they are drawn.
        redrawn: Submodules whose parameters are drawn anew, from another seed.
        seed: That seed.
        warnings: What the user should know.
    """

    way: str
    removals: tuple[Removal, ...] = ()
    zeroed: tuple[str, ...] = ()
    rebuilds: tuple[Rebuild, ...] = ()
    sliced: bool = False
    silences: tuple[tuple[str, Silence | SilenceHeads], ...] = ()
    before: tuple[tuple[str, SilenceHeads], ...] = ()
    masked: tuple[tuple[str, SilenceHeads], ...] = ()
    frozen: tuple[str, ...] = ()
    redrawn: tuple[str, ...] = ()
    seed: int = 0
    warnings: tuple[str, ...] = ()


def operate(model: nn.Module, surgery: Surgery, seed: int) -> nn.Module:
    """Carry out a surgery on the model given.

    Args:
        model: The caller's own.
        surgery: The plan.
        seed: Of the ``init`` stream, from which rebuilt neighbours draw.
    """
    for removal in surgery.removals:
        was = model.get_submodule(removal.path)
        put(model, removal.path, Removed(was, removal.leaves, removal.structure, removal.draws))
        _leave_fused(model, removal.path)
    for path in surgery.zeroed:
        _zero(model, path)
    for how in surgery.rebuilds:
        put(model, how.path, rebuilt(model.get_submodule(how.path), how, seed, sliced=surgery.sliced))
    for path, silence in surgery.silences:
        model.get_submodule(path).register_forward_hook(silence)
        _leave_fused(model, path)
    for path, heads in surgery.before:
        model.get_submodule(path).register_forward_pre_hook(heads)
    for path, heads in surgery.masked:
        owner, weight = model.get_submodule(path), model.get_parameter(f"{path}.weight")
        parametrize.register_parametrization(owner, "weight", Masked(heads.mask(weight.shape[1]).to(weight)))
    for path in surgery.frozen:
        model.get_parameter(path).requires_grad_(False)
    for path in surgery.redrawn:
        for name, module in model.get_submodule(path).named_modules(prefix=path):
            redraw(module, derive_seed(seed, "AblateLayers", surgery.seed, name))
    return model


def shared(model: nn.Module) -> nn.Module:
    """Return a copy whose parameters and buffers are the model's own: for trials that change none."""
    own: list[torch.Tensor] = [*model.parameters(), *model.buffers(), *_computed(model)]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in own})


def copied(model: nn.Module) -> nn.Module:
    """Return a copy with parameters and buffers of its own."""
    return copy.deepcopy(model, {id(tensor): tensor.detach().clone() for tensor in _computed(model)})


def _computed(model: nn.Module) -> list[torch.Tensor]:
    """Return attributes computed from parameters, as ``weight_norm`` keeps one: torch copies none."""
    values = (value for module in model.modules() for value in vars(module).values())
    return [value for value in values if isinstance(value, torch.Tensor) and not value.is_leaf]


def randomised(model: nn.Module, seed: int) -> nn.Module:
    """Return a copy with other parameters, none of them zero: what starts at zero hides what is behind it."""
    changed = copied(model)
    with torch.no_grad():
        for name, parameter in changed.named_parameters():
            if parameter.is_floating_point():
                draws = torch.randn(parameter.shape, generator=generator(seed, "layers", name))
                matrix = parameter.ndim > 1
                scale = (2 / max(1, parameter[0].numel())) ** 0.5 if matrix else 0.3
                parameter.copy_((draws * scale + (0 if matrix else 1)).to(parameter))
    return changed


def _zero(model: nn.Module, path: str) -> None:
    owner, _, name = path.rpartition(".")
    module = model.get_submodule(owner)
    zeros = torch.zeros_like(getattr(module, name), requires_grad=False)
    delattr(module, name)
    module.register_buffer(name, zeros)


def put(model: nn.Module, path: str, module: nn.Module) -> None:
    """Replace a submodule at every path at which it is."""
    was = model.get_submodule(path)
    for owner in model.modules():
        for name, child in owner._modules.items():
            if child is was:
                owner._modules[name] = module


def _leave_fused(model: nn.Module, path: str) -> None:
    """Keep torch's encoder from fused code, which reads weights without calling what has them."""
    parts = path.split(".")
    for length in range(len(parts)):
        owner: Any = model.get_submodule(".".join(parts[:length]))
        if isinstance(owner, nn.TransformerEncoder):
            owner.use_nested_tensor = False

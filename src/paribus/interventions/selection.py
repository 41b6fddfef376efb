"""Which submodules and parameters an intervention means: globs over dotted names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING

from paribus.errors import LevelError, suggest

if TYPE_CHECKING:
    import torch
    from torch import nn

    from paribus.interventions.states import LearnerState

Globs = str | tuple[str, ...]


def as_globs(layers: Globs) -> tuple[str, ...]:
    """Return one glob, or several, as a tuple."""
    return (layers,) if isinstance(layers, str) else tuple(layers)


def selected_modules(model: nn.Module, layers: Globs, name: str) -> dict[str, nn.Module]:
    """Return the submodules whose paths match, in the model's own order.

    Args:
        model: The model.
        layers: Globs over submodule paths, as in ``"encoder.*"``; ``"*"`` matches dots too.
        name: Of the intervention, for the message.

    Raises:
        LevelError: A glob matches no submodule.
    """
    modules = {path: module for path, module in model.named_modules() if path}
    chosen = _matching(layers, modules, name, "submodule")
    return {path: module for path, module in modules.items() if path in chosen}


def selected_parameters(names: Iterable[str], layers: Globs, name: str) -> set[str]:
    """Return the parameters that globs mean: by their own name, or by that of a submodule that has them.

    Raises:
        LevelError: A glob matches no parameter.
    """
    paths: dict[str, set[str]] = {}
    for parameter in names:
        for path in _prefixes(parameter):
            paths.setdefault(path, set()).add(parameter)
    return {p for path in _matching(layers, paths, name, "parameter or layer") for p in paths[path]}


@lru_cache(maxsize=1024)
def matching_parameters(names: tuple[str, ...], layers: Globs) -> frozenset[str]:
    """Return those of some parameters that globs mean, perhaps none: not each has a gradient in each step."""
    return frozenset(
        name
        for name in names
        if any(fnmatchcase(path, glob) for path in _prefixes(name) for glob in as_globs(layers))
    )


def selected_tensors(state: LearnerState, layers: Globs, name: str) -> dict[str, torch.Tensor]:
    """Return the parameters that globs mean, and the buffers of the same layers.

    Raises:
        LevelError: A glob matches no parameter.
    """
    chosen = selected_parameters(state.parameters, layers, name)
    chosen |= matching_parameters(tuple(state.buffers), layers)
    return {n: tensor for n, tensor in {**state.parameters, **state.buffers}.items() if n in chosen}


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _matching(layers: Globs, known: Mapping[str, object], name: str, what: str) -> set[str]:
    chosen: set[str] = set()
    for glob in as_globs(layers):
        found = {path for path in known if fnmatchcase(path, glob)}
        if not found:
            raise LevelError(f"{name}: {glob!r} matches no {what} of the model {suggest(glob, known)}")
        chosen |= found
    return chosen

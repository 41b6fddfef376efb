"""Which submodules a change means: paths, globs, types, indices, and groups of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from paribus.errors import LevelError

if TYPE_CHECKING:
    from torch import nn

Selector = str | int | type | tuple[str | int | type, ...]


def select(model: nn.Module, layers: Selector, name: str = "select") -> tuple[str, ...]:
    """Return the paths of what is meant, in the model's own order.

    As levels, the paths are components left out one by one; in a tuple of their own, they are one group.

    Args:
        model: The model.
        layers: A path (of a submodule, or of a parameter), a glob over paths, a class of modules, the index
            of a child of the model (negative: from the end), or a tuple of these.
        name: Of the intervention, for the message.

    Raises:
        LevelError: There is no such submodule; the near ones are listed.

    Example:
        >>> from paribus.models import LeNet5
        >>> select(LeNet5(), ("conv*", -1))
        ('conv1', 'conv2', 'fc3')
    """
    modules = {path: module for path, module in model.named_modules(remove_duplicate=False) if path}
    parameters = [path for path, _ in model.named_parameters(remove_duplicate=False)]
    wanted = layers if isinstance(layers, tuple) else (layers,)
    found = {path for one in wanted for path in _matching(model, modules, parameters, one, name)}
    return tuple(path for path in (*modules, *parameters) if path in found)


def _matching(
    model: nn.Module, modules: dict[str, nn.Module], parameters: list[str], one: object, name: str
) -> Iterator[str]:
    match one:
        case str() if one in modules or one in parameters:
            yield one
        case str():
            found = [path for path in modules if fnmatchcase(path, one)]
            if not found:
                near = difflib.get_close_matches(one, [*modules, *parameters], n=5, cutoff=0.4)
                told = f"near are {', '.join(map(repr, near))}" if near else f"there are {_some(modules)}"
                raise LevelError(f"{name}: {one!r} is no submodule of {type(model).__name__}; {told}")
            yield from found
        case bool():
            raise LevelError(f"{name}: layers={one!r}; expected a path, a glob, a class or an index")
        case int():
            children = [path for path, _ in model.named_children()]
            if not -len(children) <= one < len(children):
                raise LevelError(
                    f"{name}: there is no layer {one}: {type(model).__name__} has {len(children)} children; "
                    f"give an index from 0 to {len(children) - 1}, or a path"
                )
            yield children[one]
        case type():
            found = [path for path, module in modules.items() if isinstance(module, one)]
            if not found:
                kinds = ", ".join(sorted({type(module).__name__ for module in modules.values()}))
                raise LevelError(
                    f"{name}: there is no {one.__name__} in {type(model).__name__}; it has {kinds}"
                )
            yield from found
        case _:
            raise LevelError(f"{name}: layers={one!r}; expected a path, a glob, a class or an index")


def _some(modules: dict[str, nn.Module]) -> str:
    names = list(modules)
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")

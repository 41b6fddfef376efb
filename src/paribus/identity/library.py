"""Whose code is it: the user's, which is read, or a library's, which enters by name and version."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import sysconfig
from functools import cache

from paribus.identity.grammar import label

_SITE = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_STDLIB = tuple(
    os.path.join(os.path.realpath(sysconfig.get_path(kind)), "") for kind in ("stdlib", "platstdlib")
)
_OURSELVES = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "")


@cache
def is_user_file(filename: str) -> bool:
    """Say whether a file, or a cell, holds the user's own code."""
    if filename.startswith("<"):
        return not filename.startswith("<frozen")
    path = os.path.realpath(filename)
    return not (any(part in path for part in _SITE) or path.startswith((*_STDLIB, _OURSELVES)))


@cache
def _holds_user_code(name: str, file: str | None, builtin: bool) -> bool:
    return name == "__main__" if file is None and not builtin else not builtin and is_user_file(str(file))


def is_user_module(name: str | None) -> bool:
    """Say whether the module of this name holds the user's own code."""
    if name is None or name == "builtins":
        return False
    module = sys.modules.get(name)
    if module is None:  # made by exec, or removed since: nobody's library
        return name.partition(".")[0] not in sys.stdlib_module_names
    if name == "__main__":
        return True
    paths = getattr(module, "__path__", None)
    file = getattr(module, "__file__", None) or (next(iter(paths), None) if paths else None)
    return _holds_user_code(name, file, name.partition(".")[0] in sys.builtin_module_names)


def tops(kind: type) -> set[str]:
    """Name the packages that a class and its bases come from."""
    return {str(base.__module__).partition(".")[0] for base in kind.__mro__}


def qualified(module: str | None, name: str) -> bytes:
    """Write the name of a piece of a library, with the library's version.

    The standard library and Paribus enter by name only: keys outlive their versions.
    """
    return b"k" + label(module_name(module)) + label(name) + label(version((module or "").partition(".")[0]))


def module_name(module: str | None) -> str:
    """Name a module as it enters a key; in the standard library only its top, which its versions agree on."""
    module = module or "builtins"
    top = module.partition(".")[0]
    return top.lstrip("_") or top if top in sys.stdlib_module_names else module


def version(top: str) -> str:
    """Give a library's version as major.minor; empty for Python itself and for Paribus."""
    if not top or top in sys.stdlib_module_names or top in ("paribus", "__main__"):
        return ""
    told = getattr(sys.modules.get(top), "__version__", None)
    whole = told if isinstance(told, str) else _recorded_version(top)
    return ".".join(whole.partition("+")[0].split(".")[:2])


@cache
def _recorded_version(top: str) -> str:
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        names = importlib.metadata.packages_distributions().get(top)
        return importlib.metadata.version(names[0]) if names else "unknown"


def class_name(kind: type) -> bytes:
    """Write the name of a class of a library; Paribus's own may tell a `version` of what they do."""
    told = getattr(kind, "version", None) if kind.__module__.startswith("paribus.") else None
    if not isinstance(told, int):
        return qualified(kind.__module__, kind.__qualname__)
    return b"k" + label(kind.__module__) + label(kind.__qualname__) + label(str(told))

"""Remember the text of the user's files as they were when they were imported.

Running code keeps no text. A file that is edited after its import could be told from the code that runs,
but the syntax of that code would be lost; so it is read when the module is.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from paribus.identity.library import is_user_file

_seen: dict[str, list[str]] = {}


def texts(filename: str) -> list[str]:
    """List the texts that a file or a cell has had, the present one first."""
    linecache.checkcache(filename)
    _keep(filename, "".join(linecache.getlines(filename)))
    return _seen.get(filename, [])


def signature(filename: str) -> tuple[int, int] | None:
    """Give what changes when a file is edited; None for what is no file."""
    try:
        told = os.stat(filename)
    except (OSError, ValueError):
        return None
    return told.st_mtime_ns, told.st_size


def _keep(filename: str, text: str) -> None:
    if not text:
        return
    known = _seen.setdefault(filename, [])
    if text in known:
        known.remove(text)
    known.insert(0, text)


class _Witness:
    """Read the text of each of the user's modules as it is found, in the place of `PathFinder`."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin and spec.origin.endswith(".py") and is_user_file(spec.origin):
            texts(spec.origin)
        return spec


def stand() -> None:
    """Remember what is imported already, and from now on what will be; once in a process."""
    if _Witness in sys.meta_path:
        return
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py") and is_user_file(file):
            texts(file)
    if PathFinder in sys.meta_path:
        sys.meta_path.insert(sys.meta_path.index(PathFinder), _Witness)

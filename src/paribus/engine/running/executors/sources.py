"""Whether a process that has been warm for a while has imported the user's code as it is today."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress


def sources() -> dict[str, int]:
    """Return when the files of the user's modules that are imported here were changed, in nanoseconds."""
    libraries = (sys.prefix, sys.base_prefix)
    changed = {}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and not path.startswith(libraries):
            with suppress(OSError):
                changed[path] = os.stat(path).st_mtime_ns
    return changed


def are_current(before: Mapping[str, int], now: Mapping[str, int]) -> bool:
    """Tell whether no file that was there before has changed."""
    return all(now.get(path, changed) == changed for path, changed in before.items())

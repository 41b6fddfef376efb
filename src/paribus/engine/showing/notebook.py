"""Notebooks: whether there is one, and places in it that are drawn over and over."""

from __future__ import annotations

import sys
from typing import Any, final


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook; IPython is not imported to find out."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


@final
class Place:
    """A place in a notebook's output, in which each thing that is shown replaces the one before."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, thing: object) -> None:
        """Show something, by its own representation."""
        from IPython.display import display

        if self._handle is None:
            self._handle = display(thing, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(thing)

"""Notebooks: whether there is one, and places in it that are drawn over and over."""

from __future__ import annotations

import sys
from typing import Any, final


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook; IPython is not imported to find out."""
    return getattr(_shell(), "kernel", None) is not None


def _shell() -> Any:
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return get_ipython()


def tell(thing: object) -> None:
    """Show how a run ended: in a notebook as itself, elsewhere as text."""
    if not in_notebook():
        print(thing)
        return
    from IPython.display import display

    display(thing)  # type: ignore[no-untyped-call]


@final
class Once:
    """What is shown once in a cell, though it is told there and is the cell's last expression too."""

    def __init__(self) -> None:
        self._shown: tuple[object, int] | None = None

    def show(self, thing: Any) -> None:
        """Show something by its own representations, unless it was the last thing shown in this cell."""
        from IPython.display import display

        cell = getattr(_shell(), "execution_count", 0)
        if self._shown is not None and self._shown[0] is thing and self._shown[1] == cell:
            return
        self._shown = thing, cell
        texts = {"text/plain": repr(thing), "text/html": thing._repr_html_()}
        display(texts, raw=True)  # type: ignore[no-untyped-call]


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

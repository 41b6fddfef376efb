"""What a parameter of an intervention may be; everything else is refused before training."""

from __future__ import annotations

import math

import numpy as np

from paribus.errors import LevelError

Window = tuple[int, int | None]


def check_window(name: str, when: object) -> None:
    """Refuse what is no window of steps.

    Raises:
        LevelError: ``when`` is neither ``None`` nor ``(start, stop)`` with ``0 <= start <= stop``.
    """
    if when is None:
        return
    if not isinstance(when, tuple) or not is_window(when):
        raise LevelError(
            f"{name}: when={when!r} is no window; expected (start, stop) in steps, as in when=(0, 100)"
        )
    start: int = when[0]
    stop: int | None = when[1]
    if start < 0 or (stop is not None and stop < start):
        raise LevelError(f"{name}: the window {when!r} runs backwards; expected 0 <= start <= stop, in steps")


def check_count(name: str, parameter: str, value: object, *, least: int = 0) -> None:
    """Refuse what is no whole number of at least ``least``.

    Raises:
        LevelError: The value is no integer, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise LevelError(f"{name}: {parameter}={value!r} is no whole number >= {least}; give an integer")


def check_number(name: str, parameter: str, value: object) -> None:
    """Refuse what is no real number.

    Raises:
        LevelError: The value is no number, or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise LevelError(f"{name}: {parameter}={value!r} is no number; give a float such as 0.1")


def is_window(value: object) -> bool:
    """Tell whether a value is written as a window ``(start, stop)``."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    return isinstance(value[0], int) and isinstance(value[1], int | None)

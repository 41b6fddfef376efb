"""What a parameter of an intervention may be; everything else is refused before training."""

from __future__ import annotations

import math
from typing import Any

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


def check_share(name: str, parameter: str, value: object) -> None:
    """Refuse what is no share.

    Raises:
        LevelError: The value is no number between 0 and 1.
    """
    check_number(name, parameter, value)
    if not 0 <= value <= 1:  # type: ignore[operator]
        raise LevelError(f"{name}: {parameter}={value!r} is no share; give a number between 0 and 1")


def check_size(name: str, parameter: str, value: object) -> None:
    """Refuse what is no size: a norm, a bound, a deviation.

    Raises:
        LevelError: The value is no number, or negative.
    """
    check_number(name, parameter, value)
    if value < 0:  # type: ignore[operator]
        raise LevelError(f"{name}: {parameter}={value!r} is negative; give a number of at least 0")


def canonical_layers(name: str, layers: object) -> str | tuple[str, ...]:
    """Return globs in one form, however they are written: a text, or several in order.

    Raises:
        LevelError: They are no texts, or there are none.
    """
    globs = (layers,) if isinstance(layers, str) else layers
    if not isinstance(globs, tuple | list) or not globs or not all(isinstance(g, str) and g for g in globs):
        raise LevelError(
            f"{name}: layers={layers!r}; expected a path or glob such as 'encoder.*', or a tuple of them"
        )
    found = tuple(sorted(set(globs)))
    return found[0] if len(found) == 1 else found


def layers_or_none(name: str, layers: object) -> str | tuple[str, ...]:
    """Return globs in one form; ``()`` stands for no layer, the null form of what acts on layers alone.

    Raises:
        LevelError: They are no texts.
    """
    return () if isinstance(layers, tuple | list) and not layers else canonical_layers(name, layers)


def check_choice(name: str, parameter: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse what is none of a few values.

    Raises:
        LevelError: The value is another one.
    """
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        listed = ", ".join(map(repr, choices))
        raise LevelError(f"{name}: {parameter}={value!r} is none of {listed}; give one of these")


def settle_place(intervention: Any) -> None:
    """Check ``when`` and ``layers`` of a new intervention, and put the layers into one form.

    Raises:
        LevelError: The window is none, or the layers are no globs.
    """
    name = type(intervention).__name__
    check_window(name, intervention.when)
    object.__setattr__(intervention, "layers", canonical_layers(name, intervention.layers))


def settle_noise(intervention: Any, relative: tuple[object, ...] = (None, "norm")) -> None:
    """Check ``epsilon``, ``relative`` and ``seed`` of a new intervention, and put them into one form.

    Args:
        intervention: It draws noise.
        relative: What the noise may be relative to; ``()``: it has no such parameter.

    Raises:
        LevelError: A parameter is out of its range.
    """
    name = type(intervention).__name__
    check_number(name, "epsilon", intervention.epsilon)
    if relative:
        check_choice(name, "relative", intervention.relative, relative)
    check_count(name, "seed", intervention.seed)
    object.__setattr__(intervention, "epsilon", float(intervention.epsilon))
    object.__setattr__(intervention, "seed", int(intervention.seed))

"""Seconds, bytes and counts, as people write and read them."""

from __future__ import annotations

import re

from paribus.errors import ConfigurationError

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BINARY = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]+)")


def parse_duration(text: str) -> float:
    """Read a duration in seconds.

    >>> parse_duration("30d")
    2592000.0

    Raises:
        ConfigurationError: It is none.
    """
    return _parsed(text, _SECONDS, "a duration", "30d")


def parse_size(text: str) -> int:
    """Read a number of bytes.

    >>> parse_size("10GB")
    10000000000

    Raises:
        ConfigurationError: It is none.
    """
    return int(_parsed(text, {**_BYTES, **_BINARY}, "a size", "10GB"))


def duration(seconds: float) -> str:
    """Write seconds in the largest unit that fits.

    >>> duration(7300)
    '2 h'
    """
    unit = next((u for u in reversed(_SECONDS) if seconds >= _SECONDS[u]), "s")
    return f"{max(seconds, 0) / _SECONDS[unit]:.0f} {unit}"


def size(count: int | None) -> str:
    """Write bytes in the largest unit that fits; nothing for ``None``.

    >>> size(11_480)
    '11.5 kB'
    """
    if count is None:
        return ""
    unit = next((u for u in reversed(_BYTES) if count >= _BYTES[u]), "B")
    return f"{count} B" if unit == "B" else f"{count / _BYTES[unit]:.1f} {unit}"


def counted(number: int, noun: str) -> str:
    """Write a number of things.

    >>> counted(1, "record"), counted(1200, "record")
    ('1 record', '1,200 records')
    """
    return f"{number:,} {noun}{'s'[: number != 1]}"


def _parsed(text: str, units: dict[str, int], what: str, example: str) -> float:
    known = {unit.lower(): factor for unit, factor in units.items()}
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2].lower() not in known:
        raise ConfigurationError(f"{text!r} is not {what}; write a number and {', '.join(units)}: {example}")
    return float(match[1]) * known[match[2].lower()]

"""What metrics recorded, as columns: a layout, which many records share, and the bare numbers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, final

SCALAR = -1
NUMBER_BYTES = 8


@final
@dataclass(frozen=True, slots=True)
class Recording:
    """The shape of what one metric recorded.

    Attributes:
        metric: Digest of the metric, in hex.
        name: Name of the metric.
        steps: Steps at which it was recorded.
        widths: For each value by name, for each step: the length of a vector, ``SCALAR`` for a number,
            ``None`` where there is no value.
    """

    metric: str
    name: str
    steps: tuple[int, ...]
    widths: Mapping[str, tuple[int | None, ...]]

    @property
    def size(self) -> int:
        """How many numbers it takes."""
        return sum(map(numbers_in, (width for column in self.widths.values() for width in column)))


@final
@dataclass(frozen=True, slots=True)
class Layout:
    """The shape of all that a record holds; equal where records recorded the same at the same steps.

    Attributes:
        text: Its JSON.
        recordings: One for each metric; the numbers follow their order.
        steps: For each metric by digest, the steps at which it was recorded.
        size: How many numbers there are.
    """

    text: str
    recordings: tuple[Recording, ...] = field(compare=False)
    steps: Mapping[str, frozenset[int]] = field(compare=False)
    size: int = field(compare=False)


@final
@dataclass(frozen=True, slots=True)
class Columns:
    """Numbers in a layout.

    Attributes:
        layout: What they are.
        numbers: Little-endian float64, value after value, step after step.
        place: Where they begin in the object that they are a view of.
    """

    layout: Layout
    numbers: bytes | memoryview
    place: int = field(default=0, compare=False, repr=False)


# A grid has few layouts and many records: each is read once, and is one object then.
@lru_cache(maxsize=4096)
def read_layout(text: str) -> Layout:
    """Read a layout.

    Raises:
        ValueError: The text is no layout.
    """
    try:
        recordings = tuple(_recording(entry) for entry in json.loads(text))
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{text[:40]!r} is no layout") from error
    steps = {recording.metric: frozenset(recording.steps) for recording in recordings}
    return Layout(text, recordings, steps, sum(recording.size for recording in recordings))


def read_columns(layout: str, numbers: bytes) -> Columns:
    """Read columns.

    Raises:
        ValueError: The text is no layout, or the numbers are not as many as it says.
    """
    read = read_layout(layout)
    if len(numbers) != NUMBER_BYTES * read.size:
        raise ValueError(f"{len(numbers)} bytes for {read.size} numbers")
    return Columns(read, numbers)


def pack(recordings: Mapping[str, Mapping[str, Any]]) -> Columns:
    """Write what metrics recorded as columns.

    Args:
        recordings: For each metric by digest: its ``name``, its ``steps``, and its ``values``: for each name
            a list with a number, a list of numbers or ``None`` for each step.

    >>> kept = pack({"0" * 32: {"name": "norm", "steps": [0, 9], "values": {"norm": [0.5, None]}}})
    >>> len(kept.numbers), unpack(kept)["0" * 32]["values"]
    (8, {'norm': [0.5, None]})
    """
    entries = [
        {
            "metric": digest,
            "name": recording["name"],
            "steps": list(recording["steps"]),
            "values": {name: _folded(map(_width, column)) for name, column in recording["values"].items()},
        }
        for digest, recording in recordings.items()
    ]
    columns = (column for recording in recordings.values() for column in recording["values"].values())
    numbers = [number for column in columns for value in column for number in _flat(value)]
    layout = read_layout(json.dumps(entries, separators=(",", ":")))
    return Columns(layout, struct.pack(f"<{len(numbers)}d", *numbers))


def unpack(columns: Columns) -> dict[str, dict[str, Any]]:
    """Read back what was packed."""
    numbers = iter(struct.unpack(f"<{columns.layout.size}d", columns.numbers))
    return {
        recording.metric: {
            "name": recording.name,
            "steps": list(recording.steps),
            "values": {
                name: [_taken(width, numbers) for width in widths]
                for name, widths in recording.widths.items()
            },
        }
        for recording in columns.layout.recordings
    }


def numbers_in(width: int | None) -> int:
    """Count the numbers of one value."""
    return 0 if width is None else abs(width)


def _recording(entry: Mapping[str, Any]) -> Recording:
    steps = tuple(entry["steps"])
    widths = {
        name: len(steps) * (found,) if isinstance(found, int) else tuple(found)
        for name, found in entry["values"].items()
    }
    if not (isinstance(entry["metric"], str) and isinstance(entry["name"], str)):
        raise TypeError("a metric's name is no text")
    if not all(type(step) is int for step in steps):
        raise TypeError("a step is no whole number")
    if not all(len(column) == len(steps) and all(map(_is_width, column)) for column in widths.values()):
        raise TypeError("a column does not fit its steps")
    return Recording(entry["metric"], entry["name"], steps, widths)


def _is_width(width: object) -> bool:
    return width is None or (type(width) is int and width >= SCALAR)


def _width(value: object) -> int | None:
    if value is None:
        return None
    return len(value) if isinstance(value, list) else SCALAR


def _folded(widths: Iterable[int | None]) -> int | list[int | None]:
    """Write one width for all steps where it is the same: of scalars, and of most vectors."""
    listed = list(widths)
    same = listed[0] if listed and len(set(listed)) == 1 else None
    return listed if same is None else same


def _flat(value: Any) -> Iterable[float]:
    if value is None:
        return ()
    return value if isinstance(value, list) else (value,)


def _taken(width: int | None, numbers: Any) -> float | list[float] | None:
    if width is None:
        return None
    if width == SCALAR:
        return float(next(numbers))
    return [next(numbers) for _ in range(width)]

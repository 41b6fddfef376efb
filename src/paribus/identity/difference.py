"""What differs between two fingerprints, in words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

_WORD = re.compile(r"\w+|[^\w\s]")
_ROWS = "rows"
_LONG = 60


def difference(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Say what changed between the parts of two fingerprints, one sentence a part, sorted by path.

    >>> difference({"forward": "x * 2"}, {"forward": "x * 3"})
    ['forward changed (2 → 3)']
    """
    return [
        sentence for path in sorted({*old, *new}) for sentence in _changed(path, old.get(path), new.get(path))
    ]


def _changed(path: str, old: str | None, new: str | None) -> Iterator[str]:
    name = path.replace("/", ".") or "it"
    if old == new:
        return
    if old is None:
        yield f"{name} is new ({_short(str(new))})"
    elif new is None:
        yield f"{name} is gone (was {_short(old)})"
    elif path.rpartition("/")[2] == _ROWS:
        yield f"{name.rpartition('.')[0] or 'it'}: {_rows(old.split(), new.split())}"
    else:
        yield f"{name} changed ({words(old, new)})"


def _rows(old: list[str], new: list[str]) -> str:
    """Count rows that differ: the first word is how many rows each of the others stands for."""
    each, before = int(old[0]), old[1:]
    if old[0] != new[0] or len(old) != len(new):
        return f"{each * len(before)} rows before, {int(new[0]) * (len(new) - 1)} now"
    differing = sum(a != b for a, b in zip(before, new[1:], strict=True))
    unit = "rows" if each == 1 else f"blocks of {each} rows"
    return f"{differing} of {len(before)} {unit}"


def words(old: str, new: str) -> str:
    """Show the words in which two texts differ, each with the words before it on its line.

    >>> words("self.conv = Conv2d(1, 6, kernel_size=3)", "self.conv = Conv2d(1, 6, kernel_size=5)")
    'kernel_size 3 → 5'
    """
    before, after = _WORD.findall(old), _WORD.findall(new)
    told = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            left, right = " ".join(before[a:b]) or "nothing", " ".join(after[c:d]) or "nothing"
            context = before[a - 2] if a > 1 and before[a - 1] == "=" else ""
            told.append(f"{context} {_short(left)} → {_short(right)}".strip())
    return "; ".join(told[:4]) + ("; …" if len(told) > 4 else "")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONG else f"{line[: _LONG - 1]}…"

"""What differs between two fingerprints, in words: few sentences, each about a cause."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

_WORD = re.compile(r"\d+\.\d+|\w+|[<>=!]=|\*\*|//|[^\w\s]")
_LIBRARY = re.compile(r"([\w.]+) (\d+\.\d+)")
_TARGET = re.compile(r"\s*(?:self\.)?(\w+)(?:: [^=]+)? = ")
_NOISE = re.compile(
    r"([^/]+/)?dataset(/|$)|(class|function)(/|$)|__init__/(?=.)|"
    r"(base|field|staticmethod|classmethod|member) "
)
_ROWS = "rows"
_SAMPLES = ("inputs", "labels")
_WHOLE = 40
_LONG = 60
_MOST = 4

Parts = Mapping[str, str]


def difference(old: Parts, new: Parts, of: str = "") -> list[str]:
    """Say what changed between the parts of two fingerprints, one sentence a cause, sorted by path.

    What follows from another change is left out: what new code refers to, shapes that a new setting gives.

    Args:
        old: The parts before.
        new: The parts now.
        of: What the parts are of; the sentences begin with it.

    >>> difference({"forward": "x * 2"}, {"forward": "x * 3"}, "model")
    ['model.forward changed (x * 2 → x * 3)']
    """
    old, new = _without_moved(old, new), _without_moved(new, old)
    changed = {path for path in old.keys() & new.keys() if old[path] != new[path]}
    sentences = dict.fromkeys(_versions(changed, old, new))
    causes = {path for path in changed if not _follows(path, changed) and not _version(old[path], new[path])}
    for path in sorted(causes):
        sentences |= dict.fromkeys(_changed(path, old[path], new[path], of))
    for word, here, there in (("gone (was {})", old, new), ("new ({})", new, old)):
        for path in sorted(_tops(here, there)):
            if not any({above, f"{above}/class".lstrip("/")} & causes for above in _above(path)):
                what = _what(here, path)
                sentences[f"{_name(path, of)} is {word.format(what) if what else word.split()[0]}"] = None
    return list(sentences)


def _without_moved(one: Parts, other: Parts) -> Parts:
    """Leave out what stands in the other too, elsewhere: code that is met first by another way."""
    places: dict[tuple[str, str], None] = dict.fromkeys((_last(p), text) for p, text in other.items())
    return {path: text for path, text in one.items() if path in other or (_last(path), text) not in places}


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _above(path: str) -> list[str]:
    """List the paths that lead to a path, the whole first."""
    steps = path.split("/")[:-1]
    return ["", *accumulate(steps, lambda above, step: f"{above}/{step}")] if path else []


def _follows(path: str, changed: Iterable[str]) -> bool:
    """Say whether a change is what others make of it: rows with their array, shapes with settings."""
    place, _, name = path.rpartition("/")
    if name == _ROWS:
        return place in changed
    beside = {_last(other) for other in changed if other.rpartition("/")[0] == place and other != path}
    private = name.startswith("_") and not name.startswith("__")
    settings = {other for other in beside if not other.startswith("_") and other not in ("weight", "bias")}
    return bool(settings) and (private or name in ("weight", "bias"))


def _versions(changed: Iterable[str], old: Parts, new: Parts) -> Iterator[str]:
    """Tell each library whose version changed once."""
    for path in sorted(changed):
        if found := _version(old[path], new[path]):
            yield "{} {} → {}".format(*found)


def _version(old: str, new: str) -> tuple[str, str, str] | None:
    before, after = _LIBRARY.fullmatch(old), _LIBRARY.fullmatch(new)
    if before is None or after is None or before[1] != after[1]:
        return None
    return before[1].partition(".")[0], before[2], after[2]


def _tops(here: Parts, there: Parts) -> set[str]:
    """Find the shortest paths that only one side has anything at."""
    known = {above for path in there for above in (*_above(path), path)}
    return {
        next(step for step in (*_above(path), path) if step not in known)
        for path in here
        if path not in known and _last(path) != _ROWS
    }


def _what(parts: Parts, path: str) -> str:
    """Describe what is new or gone: itself, or its class."""
    for place in (path, f"{path}/class", f"{path}/class/name", f"{path}/__init__"):
        if place in parts:
            return _short(parts[place])
    return ""


def _name(path: str, of: str) -> str:
    """Name a path as it would be reached: without what leads from an instance to its class."""
    name = _NOISE.sub("", path).strip("/").replace("/", ".").rstrip("=")
    return ".".join(filter(None, (of, name))) or "it"


def _changed(path: str, old: str, new: str, of: str) -> Iterator[str]:
    place, name = path.rpartition("/")[::2]
    if name == _ROWS:
        split, kind = place.rpartition("/")[::2]
        if kind in _SAMPLES:
            where = _NOISE.sub("", split).strip("/").replace("/", ".")
            yield f"{_rows(old.split(), new.split(), kind)}{f' of {where}' if where else ''}"
        else:
            yield f"{_name(place, of)}: {_rows(old.split(), new.split(), 'rows')}"
    elif old.endswith("…") or new.endswith("…"):
        yield f"{_name(path, of)} changed"
    elif max(len(old), len(new)) <= _WHOLE and "\n" not in old + new:
        yield f"{_name(path, of)} changed ({old} → {new})"
    else:
        yield f"{_name(path, of)} changed ({words(old, new)})"


def _rows(old: list[str], new: list[str], unit: str) -> str:
    """Count rows that differ: the first word is how many rows each of the others stands for."""
    each = int(old[0])
    differing = sum(a != b for a, b in zip(old[1:], new[1:], strict=True))
    return f"{differing} of {len(old) - 1} {unit if each == 1 else f'blocks of {each} {unit}'}"


def words(old: str, new: str) -> str:
    """Show the words in which two texts differ, each with what it is given to.

    >>> words("self.conv = Conv2d(1, 6, kernel_size=3)", "self.conv = Conv2d(1, 6, kernel_size=5)")
    'conv kernel_size 3 → 5'
    """
    before, after = old.splitlines(), new.splitlines()
    told: list[str] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "replace" and b - a == d - c:
            for one, other in zip(before[a:b], after[c:d], strict=True):
                told += _words_of_line(one, other)
        elif tag != "equal":
            told.append(_replaced("\n".join(before[a:b]), "\n".join(after[c:d])))
    return "; ".join(told[:_MOST]) + ("; …" if len(told) > _MOST else "")


def _words_of_line(old: str, new: str) -> Iterator[str]:
    before, after = list(_WORD.finditer(old)), list(_WORD.finditer(new))
    matcher = difflib.SequenceMatcher(None, [w[0] for w in before], [w[0] for w in after], autojunk=False)
    hunks = [(a, b, c, d) for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal"]
    if not all(re.search(r"\w", _cut(old, before[a:b]) + _cut(new, after[c:d])) for a, b, c, d in hunks):
        hunks = [(hunks[0][0], hunks[-1][1], hunks[0][2], hunks[-1][3])]  # brackets say nothing alone
    for a, b, c, d in hunks:
        keyword = before[a - 2][0] if a > 1 and before[a - 1][0] == "=" else ""
        context = dict.fromkeys(filter(None, (_target(old, new), keyword)))
        yield " ".join([*context, _replaced(_cut(old, before[a:b]), _cut(new, after[c:d]))])


def _target(old: str, new: str) -> str:
    """Name what both lines assign to."""
    before, after = _TARGET.match(old), _TARGET.match(new)
    return before[1] if before and after and before[1] == after[1] else ""


def _cut(line: str, found: list[re.Match[str]]) -> str:
    return line[found[0].start() : found[-1].end()] if found else ""


def _replaced(old: str, new: str) -> str:
    if not old or not new:
        return f"{_short(old or new)} {'added' if new else 'removed'}"
    return f"{_short(old)} → {_short(new)}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONG else f"{line[: _LONG - 1]}…"

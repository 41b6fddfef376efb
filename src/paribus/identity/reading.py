"""Read canonical bytes back, as short text."""

from __future__ import annotations

from struct import error, unpack_from

from paribus.identity.grammar import label

_LONG = 120


def text(form: bytes) -> str:
    """Write a form as it would be in code; what is long is cut.

    >>> from paribus.identity.grammar import plain
    >>> text(plain({"lr": 0.1}))
    "{'lr': 0.1}"
    """
    try:
        words = _read(form, 0)[0]
    except (IndexError, UnicodeDecodeError, KeyError, error):
        return form.hex()
    return words if len(words) <= _LONG else f"{words[: _LONG - 1]}…"


def _length(form: bytes, at: int) -> int:
    return int(unpack_from(">Q", form, at)[0])


def _read(form: bytes, at: int) -> tuple[str, int]:
    """Read one form at a place; give its text, and the place after it."""
    tag, at = form[at : at + 1], at + 1
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], at
    match tag:
        case b"i":
            return str(unpack_from(">q", form, at)[0]), at + 8
        case b"f":
            return repr(unpack_from(">d", form, at)[0]), at + 8
        case b"c":
            return repr(complex(*unpack_from(">dd", form, at))), at + 16
        case b"r" | b"L":
            start, at = _read(form, at)
            stop, at = _read(form, at)
            step, at = _read(form, at)
            return f"{'range' if tag == b'r' else 'slice'}({start}, {stop}, {step})", at
        case b"h":
            return form[at : at + 16].hex()[:8], at + 16
        case b"k":
            module, at = _read(form, at)
            name, at = _read(form, at)
            version, at = _read(form, at)
            path = ".".join(filter(None, (_bare(module), _bare(name))))
            return f"{path} {_bare(version)}".strip(), at
    if tag == b"n":
        return _node(form, at)
    if tag in b"sbBI":
        end = at + 8 + _length(form, at)
        payload = form[at + 8 : end]
        if tag == b"I":
            return str(int.from_bytes(payload, "big", signed=True)), end
        return (repr(payload.decode("utf-8", "surrogatepass")) if tag == b"s" else payload.hex()), end
    if tag in _BRACKETS:
        return _several(form, at, tag)
    raise KeyError(tag)


def module_pieces(form: bytes) -> dict[str, bytes] | None:
    """Take a module's form apart into its named pieces; None for any other form."""
    opening = b"n" + label("module")
    if not form.startswith(opening):
        return None
    at = len(opening)
    number, at = _length(form, at), at + 8
    pieces = {}
    for _ in range(number):
        name, start = _read(form, at)
        at = _read(form, start)[1]
        pieces[_bare(name)] = form[start:at]
    return pieces


def _node(form: bytes, at: int) -> tuple[str, int]:
    kind, at = _read(form, at)
    number, at = _length(form, at), at + 8
    pieces: dict[str, str] = {}
    for _ in range(number):
        name, at = _read(form, at)
        pieces[_bare(name)], at = _read(form, at)
    if _bare(kind) not in ARRAYS:
        return f"{_bare(kind)}({', '.join(f'{name}={words}' for name, words in pieces.items())})", at
    known = (_bare(pieces["dtype"]), pieces.get("shape", ""))
    learns = "frozen" if pieces.get("requires_grad") == "False" and "place" in pieces else ""
    place = f"weight {pieces['place']}" if "place" in pieces else ""
    return " ".join(filter(None, (*known, learns, place))), at


def _bare(words: str) -> str:
    """Take the quotes off."""
    return words[1:-1]


def _several(form: bytes, at: int, tag: bytes) -> tuple[str, int]:
    number, at = _length(form, at), at + 8
    pieces = []
    for _ in range(number):
        words, at = _read(form, at)
        if tag == b"d":
            item, at = _read(form, at)
            words = f"{words}: {item}"
        pieces.append(words)
    opening, closing = tuple(_BRACKETS[tag])
    return f"{opening}{', '.join(pieces)}{',' if tag == b't' and number == 1 else ''}{closing}", at


_CONSTANTS = {b"N": "None", b"T": "True", b"F": "False", b"E": "...", b"?": "missing"}
ARRAYS = ("tensor", "weight", "array")
_BRACKETS = {b"t": "()", b"l": "[]", b"S": "{}", b"Z": "{}", b"d": "{}"}

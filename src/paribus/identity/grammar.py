"""The canonical bytes of plain values, written so that equal bytes mean equal values.

Every form is a tag byte and its content; lengths and counts are 8 bytes, big-endian. `docs/identity.md`
has the grammar byte by byte, with test vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from struct import Struct
from typing import Any

from xxhash import xxh3_128_digest

VERSION = b"\x01"

Writer = Callable[[Any], bytes]


class NotPlainError(Exception):
    """A value inside is no plain value; it needs the walk of `paribus.identity.walk`."""


def hash128(form: bytes) -> bytes:
    """Hash a form: 16 bytes of XXH3-128 over the version byte and the form."""
    return xxh3_128_digest(VERSION + form)


def plain(value: object) -> bytes:
    """Write a plain value.

    Raises:
        NotPlainError: the value, or one inside it, is of no plain type.
    """
    return WRITERS[type(value)](value)


def refuse(value: object) -> bytes:
    """Stand as the writer of types that are not plain."""
    raise NotPlainError(type(value).__name__)


class _Writers(dict[type, Writer]):
    """Writers by exact type; one that is not there is looked for once."""

    def __missing__(self, kind: type) -> Writer:
        from paribus.identity import foreign

        self[kind] = write = foreign.writer(kind)
        return write


_count = Struct(">Q").pack
_small = Struct(">q").pack
_float = Struct(">d").pack
_complex = Struct(">dd").pack
_SMALL = range(-(2**63), 2**63)


def count(number: int) -> bytes:
    """Write a length or a count: 8 bytes, big-endian."""
    return _count(number)


def integer(value: int) -> bytes:
    """Write an integer; ``i`` with 8 bytes where they hold it, else ``I`` with as many as needed."""
    if value in _SMALL:
        return b"i" + _small(value)
    payload = value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
    return b"I" + _count(len(payload)) + payload


def string(value: str) -> bytes:
    """Write a string as UTF-8; lone surrogates pass."""
    payload = value.encode("utf-8", "surrogatepass")
    return b"s" + _count(len(payload)) + payload


@lru_cache(maxsize=65536)
def label(value: str) -> bytes:
    """Write a string that recurs (a name, a path), from memory where it was written before."""
    return string(value)


def octets(tag: bytes, payload: bytes) -> bytes:
    """Write a run of bytes under a tag."""
    return tag + _count(len(payload)) + payload


def sequence(tag: bytes, forms: list[bytes]) -> bytes:
    """Write forms in their order under a tag."""
    return tag + _count(len(forms)) + b"".join(forms)


def unordered(tag: bytes, forms: Iterable[bytes]) -> bytes:
    """Write forms, sorted by their hash, under a tag."""
    return sequence(tag, sorted(forms, key=hash128))


def mapping(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write pairs of key and value, sorted by the hash of the key."""
    ordered = sorted(entries, key=lambda entry: hash128(entry[0]))
    return b"d" + _count(len(ordered)) + b"".join(key + value for key, value in ordered)


def reference(digest: bytes) -> bytes:
    """Write the place of a value that has a digest of its own."""
    return b"h" + digest


def _range(value: range) -> bytes:
    return b"r" + integer(value.start) + integer(value.stop) + integer(value.step)


def _slice(value: slice) -> bytes:
    return b"L" + plain(value.start) + plain(value.stop) + plain(value.step)


WRITERS = _Writers(
    {
        type(None): lambda value: b"N",
        bool: lambda value: b"T" if value else b"F",
        type(...): lambda value: b"E",
        int: integer,
        float: lambda value: b"f" + _float(value),
        complex: lambda value: b"c" + _complex(value.real, value.imag),
        str: string,
        bytes: lambda value: octets(b"b", value),
        bytearray: lambda value: octets(b"B", bytes(value)),
        tuple: lambda value: sequence(b"t", [plain(item) for item in value]),
        list: lambda value: sequence(b"l", [plain(item) for item in value]),
        set: lambda value: unordered(b"S", [plain(item) for item in value]),
        frozenset: lambda value: unordered(b"Z", [plain(item) for item in value]),
        dict: lambda value: mapping([(plain(key), plain(item)) for key, item in value.items()]),
        range: _range,
        slice: _slice,
    }
)
"""The writer of every exact type that is plain."""

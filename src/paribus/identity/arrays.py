"""Numpy's arrays and scalars."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from xxhash import xxh3_128

from paribus.identity import objects
from paribus.identity.grammar import WRITERS, integer, label, octets, plain, reference
from paribus.identity.graph import Form, Node, leaf
from paribus.identity.library import qualified
from paribus.identity.rows import rows

if TYPE_CHECKING:
    from paribus.identity.walk import Walk

_PIECE = 2**26

# Scalars with an exact twin among Python's types are that twin; an integer is a number, however wide.
for _kind in {*np.sctypeDict.values()}:
    if issubclass(_kind, np.integer):
        WRITERS[_kind] = lambda value: integer(int(value))
    elif issubclass(_kind, np.bool_ | np.float64 | np.complex128 | np.str_ | np.bytes_):
        WRITERS[_kind] = lambda value: plain(value.item())
    elif issubclass(_kind, np.floating | np.complexfloating):
        WRITERS[_kind] = lambda value: octets(b"u", value.dtype.str.encode()) + octets(b"b", value.tobytes())


def content_digest(array: np.ndarray[Any, Any]) -> bytes:
    """Hash the elements of an array in C order, in place where they lie so, else piece by piece."""
    hasher = xxh3_128()
    _feed(hasher, array)
    return hasher.digest()


def _feed(hasher: Any, array: np.ndarray[Any, Any]) -> None:
    if array.flags.c_contiguous:
        hasher.update(array.reshape(-1).view(np.uint8))
    elif array.nbytes <= _PIECE or array.ndim == 0:
        hasher.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    else:
        rows = max(1, len(array) * _PIECE // array.nbytes)
        for start in range(0, len(array), rows):
            piece = array[start : start + rows]
            _feed(hasher, piece if piece.nbytes <= _PIECE else piece[0])


def array_form(walk: Walk, array: np.ndarray[Any, Any]) -> Form:
    """Describe an array: its type of elements, its shape, and the hash of its elements."""
    if array.dtype.hasobject or (walk.reading_files and array.dtype.kind == "U"):  # of paths, it may be
        node = Node("objects", [("shape", plain(array.shape))])
        walk.enter(array, node)
        node.edges.append(("items", walk.form(array.reshape(-1).tolist())))
        return node
    if array.dtype.names:
        names = array.dtype.names
        node = Node("fields", [("shape", plain(array.shape))])
        walk.enter(array, node)
        node.edges.extend((name, walk.at(name, array[name])) for name in names)
        return node
    if isinstance(array, np.ma.MaskedArray):
        node = Node("masked")
        walk.enter(array, node)
        node.edges += [("data", walk.form(array.filled(0))), ("mask", walk.form(np.ma.getmaskarray(array)))]
        return node
    traits: list[tuple[str, Form]] = [("dtype", label(array.dtype.str)), ("shape", plain(array.shape))]
    content = ("content", reference(content_digest(array)))
    return Node("array", [*traits, content], text=lambda: rows(array, content_digest))


def describer(kind: type) -> Callable[..., Form] | None:
    """Choose how values of one of numpy's types are described; None where as any other."""
    if issubclass(kind, np.ndarray):
        return array_form
    if issubclass(kind, np.dtype):
        return lambda walk, value: leaf(
            "dtype", ("name", label(value.str)), ("fields", plain(str(value.descr)))
        )
    if issubclass(kind, np.ufunc):
        return lambda walk, value: qualified("numpy", value.__name__)
    if issubclass(kind, np.random.Generator | np.random.RandomState | np.random.BitGenerator):
        return objects.no_random
    return None

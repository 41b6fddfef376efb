"""Instances: what their class is, and what they hold."""

from __future__ import annotations

import dataclasses
import enum
import functools
import io
import logging
import pathlib
import random
import re
import typing
from collections.abc import Callable, Iterator
from types import (
    AsyncGeneratorType,
    CoroutineType,
    GeneratorType,
    GenericAlias,
    MemberDescriptorType,
    UnionType,
)
from typing import TYPE_CHECKING, Any

from paribus.identity import library, marks
from paribus.identity.grammar import hash128, label, plain
from paribus.identity.graph import KEY, Form, Node, leaf

if TYPE_CHECKING:
    from paribus.identity.walk import Walk

_LOCKED = "locks, files, iterators and handles of the system have no content of their own"
RANDOM = "a generator of random numbers moves on with every draw; keep its seed instead"


class NoIdentityError(Exception):
    """A value that cannot be told from others; the path to it grows while the walk goes back."""

    def __init__(self, value: object, reason: str) -> None:
        super().__init__(reason)
        self.kind = type(value).__qualname__
        self.reason = reason
        self.path: list[str] = []


def add_entries(walk: Walk, node: Node, entries: Any) -> Node:
    """Add the entries of a dict, by the digest of their keys."""
    keyed = [(walk.key(key), key, item) for key, item in entries.items()]
    for form, key, item in sorted(keyed, key=lambda entry: hash128(entry[0])):
        node.edges.append((KEY, form))
        node.edges.append(
            (f"[{key!r}]" if isinstance(key, str | int) else "item", walk.at(f"[{key!r}]", item))
        )
    return node


def partial_form(walk: Walk, value: functools.partial[Any]) -> Form:
    """Describe a partial: the function, and the arguments that it is given."""
    node = Node("partial")
    walk.enter(value, node)
    node.edges.append(("function", walk.at("function", value.func)))
    for place, item in enumerate(value.args):
        node.edges.append((str(place), walk.at(f"argument {place}", item)))
    for name, item in sorted(value.keywords.items()):
        node.edges.append((f"{name}=", walk.at(f"{name}=", item)))
    return node


def object_form(walk: Walk, value: Any) -> Form:
    """Describe an instance: its class, what it holds as a builtin, and its attributes by name."""
    kind = type(value)
    if (named := _name_in_library(value)) is not None:
        return named
    node = Node("object")
    walk.enter(value, node)
    node.edges.append(("class", walk.at("class", kind)))
    payload = _payload(value)
    if payload is not None:
        node.edges.append(("items", walk.form(payload)))
    without = marks.of(value).without
    for name, item in sorted(state(value)):
        if name not in without:
            node.edges.append((name, walk.at(name, item)))
    return node


def _name_in_library(value: Any) -> bytes | None:
    """Write the name of what a library calls a function, and is of a type of its own."""
    name, module = getattr(value, "__qualname__", None), getattr(value, "__module__", None)
    if not callable(value) or not isinstance(name, str) or not isinstance(module, str):
        return None
    whose = library.is_user_module(module) or library.is_user_module(type(value).__module__)
    return None if whose else library.qualified(module, name)


def state(value: Any) -> Iterator[tuple[str, object]]:
    """Yield the attributes of an instance that are its own; what was computed from others is left out."""
    kind = type(value)
    skipped = {marks.ATTRIBUTE}
    if dataclasses.is_dataclass(kind):
        skipped |= {item.name for item in dataclasses.fields(kind) if item.compare is False}
    for name, item in getattr(value, "__dict__", {}).items():
        if name not in skipped and not isinstance(getattr(kind, name, None), functools.cached_property):
            yield name, item
    for base in kind.__mro__:
        for name, slot in vars(base).items():
            if isinstance(slot, MemberDescriptorType) and name not in skipped and hasattr(value, name):
                yield name, getattr(value, name)


_HEAP_TYPE = 1 << 9  # of a class statement, or made like one
_BUILTINS: tuple[Any, ...] = (int, float, complex, str, bytes, tuple, list, set, frozenset)


def _payload(value: Any) -> object:
    if isinstance(value, dict):
        return list(value.items()) if type(value).__name__ == "OrderedDict" else dict(value)
    for base in _BUILTINS:
        if isinstance(value, base):
            return base(value)
    return _hidden(value)


def _hidden(value: Any) -> object:
    """Give what a type written in C holds besides attributes, as a copy would be made with it."""
    built_in = next(base for base in type(value).__mro__ if not base.__flags__ & _HEAP_TYPE)
    if built_in is object:
        return None
    try:
        parts = value.__reduce_ex__(2)
        return parts if isinstance(parts, str) else [part for part in parts[1] if part is not type(value)]
    except Exception as error:
        raise NoIdentityError(value, _LOCKED) from error


def enum_form(walk: Walk, value: enum.Enum) -> Form:
    """Describe a member of an enum: the enum, and the member's name."""
    node = Node("member", [("name", label(value.name or ""))])
    walk.enter(value, node)
    node.edges.append(("class", walk.at("class", type(value))))
    if value.name is None or isinstance(value, enum.Flag):
        node.edges.append(("value", walk.at("value", value.value)))
    return node


def reduced_form(walk: Walk, value: Any) -> Form:
    """Describe an instance of a type written in C by the parts it would be made of again."""
    if (named := _name_in_library(value)) is not None:
        return named
    try:
        parts = value.__reduce_ex__(2)
    except Exception as error:
        raise NoIdentityError(value, _LOCKED) from error
    if isinstance(parts, str):
        return library.qualified(getattr(value, "__module__", None) or type(value).__module__, parts)
    node = Node("made")
    walk.enter(value, node)
    node.edges.append(("class", walk.at("class", type(value))))
    for place, part in enumerate(parts[1:]):
        part = list(part) if isinstance(part, Iterator) else part
        node.edges.append((str(place), walk.at(f"part {place}", part)))
    return node


def pattern_form(walk: Walk, value: re.Pattern[Any]) -> Form:
    """Describe a compiled pattern by its text and flags."""
    return leaf("pattern", ("pattern", plain(value.pattern)), ("flags", plain(int(value.flags))))


def generic_form(walk: Walk, value: Any) -> Form:
    """Describe a parametrised type: the type, and its arguments."""
    node = Node("generic")
    walk.enter(value, node)
    for place, item in enumerate((typing.get_origin(value), *typing.get_args(value))):
        node.edges.append((str(place), walk.at(f"[{place}]", item)))
    return node


def logger_form(walk: Walk, value: logging.Logger) -> Form:
    """Describe a logger as nothing: what is told to a log changes no result."""
    return leaf("logger")


def _no_path(walk: Walk, value: object) -> Form:
    raise NoIdentityError(value, "a path is a place, not what lies there; File(path) counts its content")


def _no_state(walk: Walk, value: object) -> Form:
    raise NoIdentityError(value, _LOCKED)


def no_random(walk: Walk, value: object) -> Form:
    """Refuse a generator of random numbers."""
    raise NoIdentityError(value, RANDOM)


_FAMILIES: list[tuple[tuple[type, ...], Callable[..., Form]]] = [
    ((enum.Enum,), enum_form),
    ((functools.partial,), partial_form),
    ((re.Pattern,), pattern_form),
    ((GenericAlias, UnionType), generic_form),
    ((logging.Logger, logging.LoggerAdapter), logger_form),
    ((pathlib.PurePath,), _no_path),
    ((random.Random,), no_random),
    ((io.IOBase, GeneratorType, CoroutineType, AsyncGeneratorType), _no_state),
]


def describer(kind: type) -> Callable[..., Form]:
    """Choose how instances of a type are described."""
    for family, describe in _FAMILIES:
        if issubclass(kind, family):
            return describe
    if library.is_user_module(kind.__module__) or hasattr(kind, "__dataclass_fields__"):
        return object_form
    if issubclass(kind, Iterator):
        return _no_state
    if "__dict__" in dir(kind) or issubclass(kind, (*_BUILTINS, dict)) or _has_slots(kind):
        return object_form
    return reduced_form


def _has_slots(kind: type) -> bool:
    return any("__slots__" in vars(base) and vars(base)["__slots__"] for base in kind.__mro__)

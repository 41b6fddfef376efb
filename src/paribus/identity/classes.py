"""Classes as what runs: their attributes as they are now."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from operator import itemgetter
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import TYPE_CHECKING, Any

from paribus.identity import library, marks
from paribus.identity.code import MISSING
from paribus.identity.grammar import label, plain
from paribus.identity.graph import Form, Node
from paribus.identity.reads import Reads

if TYPE_CHECKING:
    from paribus.identity.walk import Walk

_GENERATED = frozenset(
    [
        "__module__",
        "__qualname__",
        "__doc__",
        "__dict__",
        "__weakref__",
        "__annotations__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__firstlineno__",
        "__static_attributes__",
        "__orig_bases__",
        "__parameters__",
        "__type_params__",
        "__abstractmethods__",
        "_abc_impl",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__match_args__",
        "__classcell__",
        "__slotnames__",
        "__protocol_attrs__",
        "__non_callable_proto_members__",
        "_is_protocol",
        "_is_runtime_protocol",
        "__replace__",
    ]
) | {marks.ATTRIBUTE}


def class_form(walk: Walk, kind: type) -> Form:
    """Describe a class: the user's by its attributes as they are now, a library's by name and version."""
    own = library.is_user_module(kind.__module__)
    patched = [] if own else _patches(walk, kind)
    bases = [base for base in kind.__bases__ if own or library.is_user_module(base.__module__)]
    named = label(kind.__name__) if own else library.class_name(kind)
    if not own and not patched and not bases:
        return named
    node = Node("class", [("name", named)])
    walk.enter(kind, node)
    node.reads = reads = Reads()
    reads.bases(kind)
    for base in bases:
        node.edges.append((f"base {base.__name__}", walk.read(reads, f"base {base.__name__}", base)))
    if own and type(kind) is not type:
        node.edges.append(("metaclass", walk.read(reads, "metaclass", type(kind))))
    without = marks.of(kind).without
    for name, value in sorted(_class_attributes(kind), key=itemgetter(0)) if own else patched:
        if name not in without:
            node.edges.append((name, walk.read(reads, name, value)))
    if own and "__dataclass_params__" in vars(kind):
        _add_fields(walk, kind, node)
    return node


def _patches(walk: Walk, kind: type) -> list[tuple[str, FunctionType]]:
    """Find the functions that the user has put into a library's class."""
    known = _unpatched.get(kind)
    if known is not None and walk.holds(known):
        return []
    patches = list(_find_patches(kind))
    if not patches:
        _unpatched[kind] = reads = Reads()
        reads.bases(kind)
    return patches


_unpatched: dict[type, Reads] = {}


def _find_patches(kind: type) -> Iterator[tuple[str, FunctionType]]:
    for base in kind.__mro__[:-1]:
        if base.__module__ != "builtins" and not library.is_user_module(base.__module__):
            for name, value in base.__dict__.items():
                if type(value) is FunctionType and _put_in_by_the_user(value.__code__.co_filename):
                    yield f"{base.__name__}.{name}", value


def _put_in_by_the_user(filename: str) -> bool:
    # What a library makes by exec comes from no file; a cell of a notebook does.
    return library.is_user_file(filename) and (not filename.startswith("<") or "ipython" in filename)


def _class_attributes(kind: type) -> Iterator[tuple[str, object]]:
    if issubclass(kind, enum.Enum):
        yield from ((f"member {name}", member.value) for name, member in kind.__members__.items())
    for name, value in vars(kind).items():
        if name in _GENERATED or isinstance(value, GetSetDescriptorType | MemberDescriptorType):
            continue
        if name == "__hash__" and value is None:
            continue
        if _is_generated(kind, name, value):
            continue
        if isinstance(value, staticmethod | classmethod):
            yield f"{type(value).__name__} {name}", value.__func__
        else:
            yield name, value


def _is_generated(kind: type, name: str, value: object) -> bool:
    """Say whether a class statement's machinery wrote this, out of what is counted anyway."""
    inner = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    inner = getattr(inner, "__wrapped__", inner)
    function = isinstance(inner, FunctionType)
    written = isinstance(inner, FunctionType) and library.is_user_file(inner.__code__.co_filename)
    if issubclass(kind, enum.Enum):
        return not written and not isinstance(value, property)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        plain_field = name in ("_fields", "_field_defaults")
        return name == "__new__" or not (written or plain_field or isinstance(value, property))
    if "__dataclass_params__" in vars(kind) and function and name.startswith("__"):
        return not written or inner.__code__.co_filename == "<string>"  # type: ignore[attr-defined]
    return False


def _add_fields(walk: Walk, kind: Any, node: Node) -> None:
    params = kind.__dataclass_params__
    node.edges.append(("frozen", plain((params.frozen, params.eq, params.order))))
    for item in dataclasses.fields(kind):
        if item.default_factory is not dataclasses.MISSING:
            form = walk.read(node.reads or Reads(), item.name, item.default_factory)
        else:
            form = (
                MISSING
                if item.default is dataclasses.MISSING
                else walk.read(node.reads or Reads(), item.name, item.default)
            )
        node.edges.append((f"field {item.name}", form))
        node.edges.append(
            (f"field {item.name} in init", plain((item.init, item.compare, bool(item.kw_only))))
        )

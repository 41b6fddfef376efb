"""One walk from a value along everything that it refers to."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache, partial
from types import (
    BuiltinFunctionType,
    FunctionType,
    MappingProxyType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

from paribus.identity import code, files, marks, objects, witness
from paribus.identity.grammar import WRITERS, NotPlainError, label, reference, unordered
from paribus.identity.graph import Form, Node, digest_of, reachable
from paribus.identity.objects import NoIdentityError

Describer = Callable[["Walk", Any], Form]


class Walk:
    """What one walk has met: each value once, and the weights by the order in which they stand."""

    def __init__(self, *, contents: bool = False) -> None:
        self.contents = contents
        self.weights: dict[int, int] = {}
        self.reading_files = False
        self._forms: dict[int, Form] = {}
        self._alive: list[object] = []
        self._open: set[int] = set()
        self._signatures: dict[str, tuple[int, int] | None] = {}

    def form(self, value: object) -> Form:
        """Describe a value: canonical bytes, or a node where it refers to others.

        Raises:
            NoIdentityError: the value, or one that it refers to, cannot be told from others.
        """
        kind = type(value)
        if self.reading_files and kind in _MAY_HOLD_PATHS:
            return self._describe(value, files.path_form)
        write = WRITERS.get(kind)
        if write is not None:
            try:
                return write(value)
            except (NotPlainError, RecursionError):
                pass
        known = self._forms.get(id(value))
        if known is not None:
            return known
        return self._describe(value, DESCRIBERS.get(kind) or _describer(kind))

    def at(self, name: str, value: object) -> Form:
        """Describe a value that stands at this name of the one before."""
        try:
            return self.form(value)
        except NoIdentityError as error:
            error.path.append(name)
            raise

    def enter(self, value: object, node: Node) -> None:
        """Note the node of a value before its references are followed: they may lead back to it."""
        self._forms[id(value)] = node
        self._alive.append(value)
        self._open.add(id(node))

    def key(self, value: object) -> bytes:
        """Describe a key of a dict or a member of a set, whose order depends on it."""
        form = self.form(value)
        if isinstance(form, bytes):
            return form
        if any(id(node) in self._open for node in reachable(form)):
            raise NoIdentityError(value, "a key, or a member of a set, that refers back to what holds it")
        return reference(digest_of(form))

    def signature(self, filename: str) -> tuple[int, int] | None:
        """Give what changes when a file is edited, looked up once in a walk."""
        if filename not in self._signatures:
            self._signatures[filename] = witness.signature(filename)
        return self._signatures[filename]

    def _describe(self, value: object, describe: Describer) -> Form:
        mark = marks.of(value)
        form = describe(self, value) if mark is marks.NONE else _declared(self, value, mark, describe)
        self._forms[id(value)] = form
        self._alive.append(value)
        self._open.discard(id(form))
        return form


def _declared(walk: Walk, value: object, mark: marks.Mark, describe: Describer) -> Form:
    """Describe a value as it is declared to be."""
    name = getattr(value, "__qualname__", type(value).__qualname__)
    if mark.accepted is not None:
        return reference(bytes.fromhex(mark.accepted))
    if mark.excluded is not None:
        return Node(label("excluded"), text=lambda: f"excluded: {mark.excluded}")
    node = Node(label("declared"))
    if mark.version is not None:
        node.head = label("versioned") + label(name.rpartition(".")[2]) + label(mark.version)
        node.text = lambda: f"version {mark.version}"
        return node
    node.edges.append(("value", describe(walk, value)))
    for place, other in enumerate(mark.depends_on):
        node.edges.append((f"depends_on[{place}]", walk.at(f"depends_on[{place}]", other)))
    return node if mark.depends_on else node.edges[0][1]


def _items(walk: Walk, node: Node, values: Any) -> Form:
    """Describe items in their order; where none refers to anything, the bytes are those of a plain value."""
    for place, item in enumerate(values):
        node.edges.append((str(place), walk.at(f"[{place}]", item)))
    return node


def list_form(walk: Walk, value: Any) -> Form:
    """Describe a list or a tuple that is not plain."""
    node = Node(label("list" if isinstance(value, list) else "tuple"))
    walk.enter(value, node)
    return _items(walk, node, value)


def dict_form(walk: Walk, value: Any) -> Form:
    """Describe a dict that is not plain: its entries by the digest of their keys."""
    node = Node(label("dict"))
    walk.enter(value, node)
    return objects.add_entries(walk, node, value)


def set_form(walk: Walk, value: Any) -> Form:
    """Describe a set that is not plain."""
    return unordered(b"S" if isinstance(value, set) else b"Z", [walk.key(item) for item in value])


_MAY_HOLD_PATHS = (str, list, tuple, dict)

DESCRIBERS: dict[type, Describer] = {
    FunctionType: code.function_form,
    MethodType: code.method_form,
    BuiltinFunctionType: code.builtin_form,
    ModuleType: code.namespace_form,
    MethodDescriptorType: code.descriptor_form,
    WrapperDescriptorType: code.descriptor_form,
    property: code.property_form,
    cached_property: code.wrapped_form,
    type(lru_cache(len)): code.wrapped_form,
    staticmethod: code.wrapped_form,
    classmethod: code.wrapped_form,
    partial: objects.partial_form,
    files.File: files.file_form,
    MappingProxyType: dict_form,
    list: list_form,
    tuple: list_form,
    dict: dict_form,
    set: set_form,
    frozenset: set_form,
}
"""How values of each exact type are described; a type that is met for the first time is added."""


def _describer(kind: type) -> Describer:
    """Choose how values of a type are described, and remember it."""
    tops = {base.__module__.partition(".")[0] for base in kind.__mro__}
    found: Describer | None = None
    if issubclass(kind, type):
        found = code.class_form
    elif "torch" in tops:
        from paribus.identity import torch_values

        found = torch_values.describer(kind)
    elif "numpy" in tops:
        from paribus.identity import arrays

        found = arrays.describer(kind)
    DESCRIBERS[kind] = found = found or objects.describer(kind)
    return found

"""One walk from a value along everything that it refers to."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache, partial
from pathlib import Path
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

from paribus.identity import classes, code, files, library, marks, objects, witness
from paribus.identity.grammar import WRITERS, NotPlainError, label, reference, refuse, unordered
from paribus.identity.graph import Form, Node, digest_of, reachable
from paribus.identity.objects import NoIdentityError
from paribus.identity.reads import Reads

Describer = Callable[["Walk", Any], Form]


class Walk:
    """What one walk has met: each value once, and the weights by the order in which they stand."""

    def __init__(self, *, contents: bool = False) -> None:
        self.contents = contents
        self.weights: dict[int, int] = {}
        self.modules: set[int] = set()
        self.reading_files = False
        self._forms: dict[int, Form] = {}
        self._alive: list[object] = []
        self._open: set[int] = set()
        self._code: list[tuple[object, Node]] = []
        self._signatures: dict[str, tuple[int, int] | None] = {}
        self._checked: set[int] = set()
        self._holding: set[int] = set()

    def form(self, value: object) -> Form:
        """Describe a value: canonical bytes, or a node where it refers to others.

        Raises:
            NoIdentityError: the value, or one that it refers to, cannot be told from others.
        """
        kind = type(value)
        if self.reading_files and isinstance(value, _MAY_HOLD_PATHS):
            found = files.path_form(self, value)
            if found is not None:
                return found
        write = WRITERS[kind]
        if write is not refuse:
            try:
                return write(value)
            except (NotPlainError, RecursionError):
                pass
        known = self._forms.get(id(value))
        if known is None:
            known = self._remembered(value)
        return known or self._describe(value, DESCRIBERS.get(kind) or _describer(kind))

    def at(self, name: str, value: object) -> Form:
        """Describe a value that stands at this name of the one before."""
        if type(value) in _FIXED and not self.reading_files:
            return WRITERS[type(value)](value)
        try:
            return self.form(value)
        except NoIdentityError as error:
            error.path.append(name)
            raise

    def kind(self, kind: type) -> Form:
        """Describe the class of an instance."""
        return self._forms.get(id(kind)) or self.at("class", kind)

    def read(self, reads: Reads, name: str, value: object) -> Form:
        """Describe a value that code reads, and note what its description rests on."""
        form = self.at(name, value)
        kind = type(value)
        if isinstance(form, bytes) and kind not in _FIXED:
            if isinstance(value, FunctionType):
                reads.function(value)
            elif isinstance(value, type):
                reads.bases(value)
            elif kind not in _NAMED:
                reads.plains.append((value, form))  # what is not plain never holds: it is described each time
            reads.version(str(getattr(value, "__module__", "")).partition(".")[0])
        return form

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

    def holds(self, reads: Reads) -> bool:
        """Say whether everything that was read would be read the same now."""
        return reads.hold(self.signature, self._checked)

    def _remembered(self, value: object) -> Node | None:
        """Give the node of code that was described before, if all that it rests on is as it was."""
        entry = _REMEMBERED.get(id(value))
        if entry is None or entry[0] is not value or self.reading_files:
            return None
        for node in entry[2]:
            if id(node) not in self._holding:
                if node.reads is None or not self.holds(node.reads):
                    self._alive.append(_REMEMBERED.pop(id(value)))  # no id of a part of it may come again
                    return None
                self._holding.add(id(node))
        self._forms[id(value)] = entry[1]
        return entry[1]

    def _describe(self, value: object, describe: Describer) -> Form:
        mark = marks.of(value)
        form = describe(self, value) if mark is marks.NONE else _declared(self, value, mark, describe)
        self._forms[id(value)] = form
        self._alive.append(value)
        self._open.discard(id(form))
        if isinstance(form, Node) and form.reads is not None and isinstance(value, FunctionType | type):
            self._code.append((value, form))
        return form

    def remember(self) -> None:
        """Keep what was described of classes and functions for the walks to come."""
        for value, node in self._code:
            _remember(value, node)


def _declared(walk: Walk, value: object, mark: marks.Mark, describe: Describer) -> Form:
    """Describe a value as it is declared to be."""
    name = getattr(value, "__name__", type(value).__name__)
    if mark.accepted is not None:
        known = bytes.fromhex(mark.accepted)
        return Node(
            "accepted", text=lambda: "accepted as the same", digest=known, aside=_aside(walk, value, describe)
        )
    if mark.excluded is not None:
        told = f"excluded: {mark.excluded}"
        return Node("excluded", text=lambda: told, aside=_aside(walk, value, describe))
    if mark.version is not None:
        pieces: list[tuple[str, Form]] = [("name", label(name)), ("version", label(mark.version))]
        told = f"version {mark.version}"
        return Node("versioned", pieces, text=lambda: told, aside=_aside(walk, value, describe))
    node = Node("declared")
    node.edges.append(("value", describe(walk, value)))
    for place, other in enumerate(mark.depends_on):
        node.edges.append((f"depends_on[{place}]", walk.at(f"depends_on[{place}]", other)))
    return node if mark.depends_on else node.edges[0][1]


def _aside(walk: Walk, value: object, describe: Describer) -> Form:
    """Describe what a declaration stands for, as far as it can be, so that an audit knows it."""
    try:
        return describe(walk, value)
    except NoIdentityError:
        return b""


def _remember(value: object, form: Node) -> None:
    nodes = list(reachable(form))
    if all(node.reads is not None for node in nodes):
        if len(_REMEMBERED) >= _MOST:
            _REMEMBERED.clear()
        _REMEMBERED[id(value)] = value, form, nodes


_MOST = 4096
_REMEMBERED: dict[int, tuple[object, Node, list[Node]]] = {}
"""By `id`: a value, its node, and all nodes whose reads must hold."""


def list_form(walk: Walk, value: Any) -> Form:
    """Describe a list or a tuple that is not plain."""
    node = Node("list" if isinstance(value, list) else "tuple")
    walk.enter(value, node)
    for place, item in enumerate(value):
        node.edges.append((str(place), walk.at(f"[{place}]", item)))
    return node


def dict_form(walk: Walk, value: Any) -> Form:
    """Describe a dict that is not plain: its entries by the digest of their keys."""
    node = Node("dict")
    walk.enter(value, node)
    return objects.add_entries(walk, node, value)


def set_form(walk: Walk, value: Any) -> Form:
    """Describe a set that is not plain."""
    return unordered(b"S" if isinstance(value, set) else b"Z", [walk.key(item) for item in value])


_FIXED = frozenset({int, float, complex, bool, str, bytes, type(None), type(...), range})
_NAMED = frozenset({BuiltinFunctionType, ModuleType, MethodDescriptorType, WrapperDescriptorType})
_MAY_HOLD_PATHS = (str, Path, list, tuple, dict, set, frozenset)

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
    packages = library.tops(kind)
    found: Describer | None = None
    if issubclass(kind, type):
        found = classes.class_form
    elif "torch" in packages:
        from paribus.identity import torch_values

        found = torch_values.describer(kind)
    elif "numpy" in packages:
        from paribus.identity import arrays

        found = arrays.describer(kind)
    DESCRIBERS[kind] = found = found or objects.describer(kind)
    return found

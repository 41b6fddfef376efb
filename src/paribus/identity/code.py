"""Functions as what runs: their syntax, and everything of the user's that it refers to."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import dis
import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import TYPE_CHECKING, Any

from paribus.identity import library, marks, source, syntax, witness
from paribus.identity.grammar import hash128, label, plain, reference
from paribus.identity.graph import Form, Node, leaf
from paribus.identity.reads import ABSENT, Reads, Signature
from paribus.identity.syntax import Reference

if TYPE_CHECKING:
    from paribus.identity.walk import Walk

MISSING = b"?"


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of one code object; it holds for the life of the process."""

    kind: str
    pieces: tuple[tuple[str, bytes], ...]
    references: tuple[Reference, ...]
    tree: syntax.Function | None
    code: CodeType
    signature: Signature

    def text(self) -> str:
        """Write the canonical text."""
        if self.tree is None:
            return f"bytecode {self.pieces[-1][1].hex()}"
        return ast.unparse(ast.fix_missing_locations(self.tree))


_readings: dict[int, Reading] = {}


def _read(function: FunctionType, walk: Walk) -> Reading:
    code = function.__code__
    known = _readings.get(id(code))
    signature = walk.signature(code.co_filename)
    if known is not None:
        if known.signature != signature:  # edited since: say so, if it is this function that differs
            source.find(code)
            _readings[id(code)] = known = dataclasses.replace(known, signature=signature)
        return known
    tree = source.find(code)
    if tree is None:
        kind, pieces = "bytecode", _bytecode(code, function.__doc__)
        refs = list(_bytecode_references(code))
    else:
        kind, pieces = "function", (("text", reference(hash128(syntax.canonical(tree)))),)
        refs = syntax.references(tree, code.co_freevars)
    _readings[id(code)] = reading = Reading(kind, pieces, tuple(refs), tree, code, signature)
    return reading


def _bytecode(code: CodeType, doc: str | None) -> tuple[tuple[str, bytes], ...]:
    if doc is not None and code.co_consts[:1] == (doc,):
        code = code.replace(co_consts=(None, *code.co_consts[1:]))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return ("python", label(version)), ("content", reference(hash128(source.content(code))))


def _bytecode_references(code: CodeType) -> Iterator[Reference]:
    found = {Reference(name) for name in code.co_freevars}
    for part in source.nested(code):
        root, chain = "", []
        for step in (*dis.get_instructions(part), None):
            if step is not None and root and step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                chain.append(step.argval)
                continue
            if root:
                found.add(Reference(root, tuple(chain)))
            named = step is not None and step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
            root, chain = (step.argval, []) if step is not None and named else ("", [])
            if step is not None and step.opname == "IMPORT_NAME":
                found.add(Reference(step.argval, (), (0, step.argval, "")))
    yield from sorted(found, key=lambda ref: (ref.name, ref.imported or (0, "", "")))


def function_form(walk: Walk, function: FunctionType) -> Form:
    """Describe a function: the user's by its text and what it refers to, a library's by name and version."""
    if not library.is_user_file(function.__code__.co_filename):
        return _library_function(walk, function)
    reading = _read(function, walk)
    node = Node(reading.kind, list(reading.pieces), reading.text, reading.code)
    walk.enter(function, node)
    node.reads = reads = Reads(files=[(reading.code.co_filename, reading.signature)])
    reads.function(function)
    _add_defaults(walk, function, node)
    closure = _closure(function, reads)
    without = marks.of(function).without
    for ref in reading.references:
        if ref.root not in without:
            _follow(walk, node, reads, ref, closure, function.__globals__)
    for name, value in sorted(function.__dict__.items()):
        if name not in ("__wrapped__", marks.ATTRIBUTE):  # what is wrapped stands in the closure
            node.edges.append((f".{name}", walk.read(reads, name, value)))
    return node


def _library_function(walk: Walk, function: FunctionType) -> Form:
    code = function.__code__
    module = function.__globals__.get("__name__", function.__module__)
    named = library.qualified(module, code.co_qualname)
    made = function.__closure__ or "<locals>" in code.co_qualname or code.co_name == "<lambda>"
    if not made:
        return named
    node = Node("function of a library", [("name", named)])
    walk.enter(function, node)
    node.reads = reads = Reads()
    reads.version(module.partition(".")[0])
    reads.function(function)
    # A decorator's wrapper: what it wraps, and the decorator's arguments.
    for name, value in _closure(function, reads).items():
        node.edges.append((name, walk.read(reads, name, value)))
    _add_defaults(walk, function, node)
    return node


def _add_defaults(walk: Walk, function: FunctionType, node: Node) -> None:
    code, reads = function.__code__, node.reads or Reads()
    values = function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(values) : code.co_argcount]
    for name, value in (*zip(names, values, strict=True), *sorted((function.__kwdefaults__ or {}).items())):
        node.edges.append((f"{name}=", walk.read(reads, f"{name}=", value)))


def _closure(function: FunctionType, reads: Reads) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            values[name] = cell.cell_contents
        except ValueError:  # bound later
            values[name] = ABSENT
        else:
            reads.cells.append((cell, values[name]))
    return values


def _follow(
    walk: Walk, node: Node, reads: Reads, ref: Reference, closure: dict[str, object], space: dict[str, Any]
) -> None:
    """Add what a reference leads to; builtins are told by their name, which the text has."""
    if ref.imported is not None:
        node.edges.append((ref.name, _imported(walk, reads, ref, space)))
        return
    if ref.root in closure:
        value = closure[ref.root]
    else:
        value = space.get(ref.root, ABSENT)
        reads.name(space, ref.root)
    if value is ABSENT:
        if ref.root not in vars(builtins) or ref.root in closure:
            node.edges.append((ref.root, MISSING))
    elif isinstance(value, ModuleType):
        node.edges.append((ref.name, _through(walk, reads, value, ref.chain, ref.name)))
    else:
        node.edges.append((ref.root, walk.read(reads, ref.root, value)))


def _through(walk: Walk, reads: Reads, module: ModuleType, chain: tuple[str, ...], name: str) -> Form:
    """Follow attributes from a module to what the code uses of it."""
    value: object = module
    rest = list(chain)
    while rest and isinstance(value, ModuleType):
        reads.name(vars(value), rest[0])
        value = getattr(value, rest[0], ABSENT)
        if value is ABSENT:
            return MISSING
        if isinstance(value, ModuleType):
            module = value
            rest.pop(0)
    if library.is_user_module(module.__name__):
        return walk.read(reads, name, value)
    if isinstance(value, FunctionType) and library.is_user_file(value.__code__.co_filename):
        return walk.read(reads, name, value)  # put into the library by the user
    reads.version(module.__name__.partition(".")[0])
    return library.qualified(module.__name__, ".".join(rest))


def _imported(walk: Walk, reads: Reads, ref: Reference, space: dict[str, Any]) -> Form:
    """Follow an import inside a body, as it would be made when the body runs."""
    level, name, attribute = ref.imported or (0, "", "")
    chain = (attribute, *ref.chain) if attribute and attribute != "*" else ref.chain
    try:
        absolute = importlib.util.resolve_name("." * level + name, space.get("__package__") or "")
        if _is_foreign(absolute):
            reads.version(absolute.partition(".")[0])
            return library.qualified(absolute, ".".join(chain))
        reads.name(sys.modules, absolute)
        module = importlib.import_module(absolute)
        if attribute and not hasattr(module, attribute) and attribute != "*":
            importlib.import_module(f"{absolute}.{attribute}")
    except Exception:  # the import may stand where it is not reached
        reads.anew()
        return MISSING
    return _through(walk, reads, module, chain, ref.name)


def _is_foreign(name: str) -> bool:
    if name in sys.modules:
        return not library.is_user_module(name)
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return True
    spec = importlib.util.find_spec(top)
    place = spec and (spec.origin or next(iter(spec.submodule_search_locations or ()), None))
    return bool(place) and not library.is_user_file(str(place))


def namespace_form(walk: Walk, module: ModuleType) -> Form:
    """Describe a module that is used as a value: a library's by name, the user's by its whole text."""
    if not library.is_user_module(module.__name__):
        return library.qualified(module.__name__, "")
    texts = witness.texts(getattr(module, "__file__", None) or "")
    text = syntax.canonical(ast.parse(texts[0])) if texts else label(module.__name__)
    return leaf("namespace", ("text", reference(hash128(text))))


def method_form(walk: Walk, method: MethodType) -> Form:
    """Describe a bound method: the function and the object that it is bound to."""
    node = Node("method", reads=Reads())
    walk.enter(method, node)
    reads = node.reads or Reads()
    node.edges.append(("function", walk.read(reads, method.__name__, method.__func__)))
    node.edges.append(("self", walk.read(reads, "self", method.__self__)))
    return node


def builtin_form(walk: Walk, function: BuiltinFunctionType) -> Form:
    """Describe a function written in C: by its name, and the object that it is bound to."""
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__qualname__", None) or function.__name__
    if owner is None or isinstance(owner, ModuleType | type):
        module = function.__module__ or getattr(owner, "__module__", None)
        return library.qualified(module, name)
    node = Node("builtin", [("name", label(name))])
    walk.enter(function, node)
    node.edges.append(("self", walk.at("self", owner)))
    return node


def descriptor_form(walk: Walk, value: Any) -> Form:
    """Describe a method of a type written in C."""
    owner = value.__objclass__
    return library.qualified(owner.__module__, f"{owner.__qualname__}.{value.__name__}")


def property_form(walk: Walk, value: property) -> Form:
    """Describe a property by its functions."""
    node = Node("property", reads=Reads())
    walk.enter(value, node)
    for name in ("fget", "fset", "fdel"):
        node.edges.append((name, walk.read(node.reads or Reads(), name, getattr(value, name))))
    return node


def wrapped_form(walk: Walk, value: Any) -> Form:
    """Describe a wrapper of the standard library by what it wraps."""
    node = Node(type(value).__name__.strip("_"), reads=Reads())
    walk.enter(value, node)
    inner = value.func if isinstance(value, functools.cached_property) else value.__wrapped__
    node.edges.append(("function", walk.read(node.reads or Reads(), "function", inner)))
    if hasattr(value, "cache_parameters"):
        node.edges.append(("parameters", plain(value.cache_parameters())))
    return node

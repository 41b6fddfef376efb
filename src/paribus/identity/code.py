"""Functions and classes as what runs: syntax, and everything of the user's that it refers to."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import dis
import enum
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
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import TYPE_CHECKING, Any

from paribus.identity import library, marks, source, syntax, witness
from paribus.identity.grammar import count, hash128, label, plain, reference, string
from paribus.identity.graph import Form, Node
from paribus.identity.syntax import Reference

if TYPE_CHECKING:
    from paribus.identity.walk import Walk

MISSING = b"?"
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of one code object; it holds for the life of the process."""

    head: bytes
    references: tuple[Reference, ...]
    tree: syntax.Function | None
    code: CodeType
    signature: tuple[int, int] | None

    def text(self) -> str:
        """Write the canonical text."""
        if self.tree is None:
            return f"bytecode {hash128(self.head).hex()}"
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
        head = _bytecode(code, function.__doc__)
        refs = list(_bytecode_references(code))
    else:
        head = label("function") + reference(hash128(syntax.canonical(tree)))
        refs = syntax.references(tree, code.co_freevars)
    _readings[id(code)] = reading = Reading(head, tuple(refs), tree, code, signature)
    return reading


def _bytecode(code: CodeType, doc: str | None) -> bytes:
    if doc is not None and code.co_consts[:1] == (doc,):
        code = code.replace(co_consts=(None, *code.co_consts[1:]))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return label("bytecode") + label(version) + reference(hash128(source.content(code)))


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
    node = Node(b"")
    walk.enter(function, node)
    if not library.is_user_file(function.__code__.co_filename):
        return _library_function(walk, function, node)
    reading = _read(function, walk)
    node.head, node.text, node.code = reading.head, reading.text, reading.code
    _add_defaults(walk, function, node)
    closure = {
        name: _cell(cell)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    }
    without = marks.of(function).without
    for ref in reading.references:
        if ref.root not in without:
            _follow(walk, node, ref, closure, function.__globals__)
    for name, value in _attributes(function):
        node.edges.append((f".{name}", walk.at(name, value)))
    return node


def _library_function(walk: Walk, function: FunctionType, node: Node) -> Form:
    code = function.__code__
    module = function.__globals__.get("__name__", function.__module__)
    node.head = label("library") + library.qualified(module, code.co_qualname)
    if function.__closure__:  # a decorator's wrapper: what it wraps, and its arguments
        for name, cell in zip(code.co_freevars, function.__closure__, strict=True):
            node.edges.append((f"{name} of the closure", walk.at(name, _cell(cell))))
    if function.__closure__ or "<locals>" in code.co_qualname or code.co_name == "<lambda>":
        _add_defaults(walk, function, node)
    return node


def _add_defaults(walk: Walk, function: FunctionType, node: Node) -> None:
    code = function.__code__
    values = function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(values) : code.co_argcount]
    for name, value in (*zip(names, values, strict=True), *sorted((function.__kwdefaults__ or {}).items())):
        node.edges.append((f"{name}=", walk.at(f"{name}=", value)))


def _attributes(function: FunctionType) -> list[tuple[str, object]]:
    own = function.__dict__
    return sorted(item for item in own.items() if item[0] != "__wrapped__" and item[0] != marks.ATTRIBUTE) if own else []


def _cell(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return _ABSENT


def _follow(
    walk: Walk, node: Node, ref: Reference, closure: dict[str, object], space: dict[str, Any]
) -> None:
    """Add what a reference leads to; builtins are told by their name, which the text has."""
    if ref.imported is not None:
        node.edges.append((ref.name, _imported(walk, ref, space)))
        return
    value = closure.get(ref.root, _ABSENT) if ref.root in closure else space.get(ref.root, _ABSENT)
    if value is _ABSENT:
        present = ref.root in vars(builtins) and ref.root not in closure
        if not present:
            node.edges.append((ref.root, MISSING))
    elif isinstance(value, ModuleType):
        node.edges.append((ref.name, _through(walk, value, ref.chain, ref.name)))
    else:
        node.edges.append((ref.root, walk.at(ref.root, value)))


def _through(walk: Walk, module: ModuleType, chain: tuple[str, ...], name: str) -> Form:
    """Follow attributes from a module to what the code uses of it."""
    value: object = module
    rest = list(chain)
    while rest and isinstance(value, ModuleType):
        value = getattr(value, rest[0], _ABSENT)
        if value is _ABSENT:
            return MISSING
        if isinstance(value, ModuleType):
            module = value
            rest.pop(0)
    if library.is_user_module(module.__name__):
        return walk.at(name, value)
    if isinstance(value, FunctionType) and library.is_user_file(value.__code__.co_filename):
        return walk.at(name, value)  # put into the library by the user
    return library.qualified(module.__name__, ".".join(rest))


def _imported(walk: Walk, ref: Reference, space: dict[str, Any]) -> Form:
    """Follow an import inside a body, as it would be made when the body runs."""
    level, name, attribute = ref.imported or (0, "", "")
    try:
        absolute = importlib.util.resolve_name("." * level + name, space.get("__package__") or "")
        if _is_foreign(absolute):
            return library.qualified(absolute, ".".join(filter(None, (attribute, *ref.chain))))
        module = importlib.import_module(absolute)
        if attribute and not hasattr(module, attribute) and attribute != "*":
            importlib.import_module(f"{absolute}.{attribute}")
    except ImportError:
        return MISSING
    chain = (attribute, *ref.chain) if attribute and attribute != "*" else ref.chain
    return _through(walk, module, chain, ref.name)


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
    return label("namespace") + (hash128(syntax.canonical(ast.parse(texts[0]))) if texts else label(module.__name__))


def method_form(walk: Walk, method: MethodType) -> Form:
    """Describe a bound method: the function and the object that it is bound to."""
    node = Node(label("method"))
    walk.enter(method, node)
    node.edges.append(("function", walk.at(method.__name__, method.__func__)))
    node.edges.append(("self", walk.at("self", method.__self__)))
    return node


def builtin_form(walk: Walk, function: BuiltinFunctionType) -> Form:
    """Describe a function written in C: by its name, and the object that it is bound to."""
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__qualname__", None) or function.__name__
    if owner is None or isinstance(owner, ModuleType | type):
        module = function.__module__ or getattr(owner, "__module__", None)
        return library.qualified(module, name)
    node = Node(label("builtin") + string(name))
    walk.enter(function, node)
    node.edges.append(("self", walk.at("self", owner)))
    return node


def descriptor_form(walk: Walk, value: Any) -> Form:
    """Describe a method of a type written in C."""
    owner = value.__objclass__
    return library.qualified(owner.__module__, f"{owner.__qualname__}.{value.__name__}")


def property_form(walk: Walk, value: property) -> Form:
    """Describe a property by its functions."""
    node = Node(label("property"))
    walk.enter(value, node)
    for name in ("fget", "fset", "fdel"):
        node.edges.append((name, walk.at(name, getattr(value, name))))
    return node


def wrapped_form(walk: Walk, value: Any) -> Form:
    """Describe a wrapper of the standard library by what it wraps."""
    node = Node(label(type(value).__name__))
    walk.enter(value, node)
    inner = value.func if isinstance(value, functools.cached_property) else value.__wrapped__
    node.edges.append(("function", walk.at("function", inner)))
    if hasattr(value, "cache_parameters"):
        node.edges.append(("parameters", plain(value.cache_parameters())))
    return node


_GENERATED = frozenset(
    """__module__ __qualname__ __doc__ __dict__ __weakref__ __annotations__ __annotate__ __annotate_func__
    __annotations_cache__ __firstlineno__ __static_attributes__ __orig_bases__ __parameters__
    __type_params__ __abstractmethods__ _abc_impl __dataclass_fields__ __dataclass_params__ __match_args__
    __classcell__ __slotnames__ __protocol_attrs__ __non_callable_proto_members__ _is_protocol
    _is_runtime_protocol __replace__""".split()
) | {marks.ATTRIBUTE}


def class_form(walk: Walk, kind: type) -> Form:
    """Describe a class: the user's by its attributes as they are now, a library's by name and version."""
    named = library.qualified(kind.__module__, kind.__qualname__)
    own = library.is_user_module(kind.__module__)
    patched = [] if own else list(_patches(kind))
    foreign_bases = () if own else [base for base in kind.__bases__ if library.is_user_module(base.__module__)]
    if not own and not patched and not foreign_bases:
        return named + (integer_version(kind))
    node = Node(label("class") + (label(kind.__name__) if own else named))
    node.text = lambda: kind.__qualname__
    walk.enter(kind, node)
    for base in kind.__bases__ if own else foreign_bases:
        node.edges.append((f"base {base.__name__}", walk.at(f"base {base.__name__}", base)))
    if own and type(kind) is not type:
        node.edges.append(("metaclass", walk.at("metaclass", type(kind))))
    without = marks.of(kind).without
    for name, value in sorted(_class_attributes(kind)) if own else patched:
        if name not in without:
            node.edges.append((name, walk.at(name, value)))
    if own and "__dataclass_params__" in vars(kind):
        _add_fields(walk, kind, node)
    return node


def integer_version(kind: type) -> bytes:
    """Write the version of the semantics of one of Paribus's own classes."""
    told = getattr(kind, "version", None) if kind.__module__.startswith("paribus.") else None
    return plain(told) if isinstance(told, int) else b""


def _patches(kind: type) -> Iterator[tuple[str, FunctionType]]:
    """Find the functions that the user has put into a library's class."""
    for base in kind.__mro__[:-1]:
        if base.__module__ != "builtins" and not library.is_user_module(base.__module__):
            for name, value in base.__dict__.items():
                if type(value) is FunctionType and library.is_user_file(value.__code__.co_filename):
                    if not value.__code__.co_filename.startswith("<"):
                        yield f"{base.__name__}.{name}", value


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
    if issubclass(kind, enum.Enum):
        made = isinstance(value, FunctionType) and library.is_user_file(value.__code__.co_filename)
        return not (made or isinstance(value, property | staticmethod | classmethod)) or name == "__new__" and not made
    if isinstance(value, FunctionType) and value.__code__.co_filename.startswith("<"):
        if "__dataclass_params__" in vars(kind):
            return name.startswith("__") and value.__code__.co_filename == "<string>"
        return name == "__new__" and issubclass(kind, tuple)
    return issubclass(kind, tuple) and hasattr(kind, "_fields") and not isinstance(value, FunctionType | property) and (
        name not in ("_fields", "_field_defaults")
    )


def _add_fields(walk: Walk, kind: Any, node: Node) -> None:
    params = kind.__dataclass_params__
    node.edges.append(("frozen", plain((params.frozen, params.eq, params.order))))
    for item in dataclasses.fields(kind):
        if item.default_factory is not dataclasses.MISSING:
            form = walk.at(item.name, item.default_factory)
        else:
            form = MISSING if item.default is dataclasses.MISSING else walk.at(item.name, item.default)
        node.edges.append((f"field {item.name}", form))
        node.edges.append((f"field {item.name} in init", plain((item.init, item.compare, bool(item.kw_only)))))



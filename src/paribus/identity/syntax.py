"""A function's syntax as canonical bytes, and the names outside itself that it refers to."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from paribus.identity.grammar import count, label, plain

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SILENT = frozenset({"ctx", "kind", "type_comment", "type_params", "annotation", "returns", "type_ignores"})
_CHILDLESS = frozenset({"ctx", "op", "ops", "id", "attr", "kind", "level", "conversion", "type_comment"})
_BODIES = ("body", "orelse", "finalbody")
_HOLDERS = (*_BODIES, "handlers", "cases")


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that code reads from outside: a root, found by name or by import, and attributes of it."""

    root: str
    chain: tuple[str, ...] = ()
    imported: tuple[int, str, str] | None = None  # dots, module, attribute: of an import inside the body

    @property
    def name(self) -> str:
        """Write it as in the code."""
        return ".".join((self.root, *self.chain))


def bare(function: Function) -> Function:
    """Strip what does not run, in place, and drop what is counted by value: decorators and own defaults."""
    for node in statements(function):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
            for argument in _arguments(node.args):
                argument.annotation = None
        for name in _BODIES:
            if inside := getattr(node, name, None):
                empty: list[ast.stmt] = [ast.Pass()] if name == "body" else []
                setattr(node, name, _running(inside, isinstance(node, ast.ClassDef)) or empty)
    old = function.args
    # The defaults stay in the tree of a function around this one, where they run.
    arguments = ast.arguments(
        posonlyargs=old.posonlyargs,
        args=old.args,
        vararg=old.vararg,
        kwonlyargs=old.kwonlyargs,
        kw_defaults=[None for _ in old.kwonlyargs],
        kwarg=old.kwarg,
        defaults=[],
    )
    if isinstance(function, ast.Lambda):
        return ast.Lambda(args=arguments, body=function.body)
    kind = type(function)
    return kind(name=function.name, args=arguments, body=function.body, decorator_list=[], lineno=0)


def _children(node: ast.AST) -> list[ast.AST]:
    found: list[ast.AST] = []
    for name in _INNER[type(node)]:
        value = getattr(node, name, None)
        if isinstance(value, list):
            found += [item for item in value if isinstance(item, ast.AST)]
        elif isinstance(value, ast.AST):
            found.append(value)
    return found


class _Inner(dict[type, tuple[str, ...]]):
    """The fields that may hold further nodes, by class of node."""

    def __missing__(self, kind: type[ast.AST]) -> tuple[str, ...]:
        fields = () if kind is ast.Constant else kind._fields
        self[kind] = inner = tuple(name for name in fields if name not in _CHILDLESS)
        return inner


_INNER = _Inner()


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a tree's nodes, the root first."""
    stack = [node]
    while stack:
        yield (inner := stack.pop())
        stack += _children(inner)


def statements(root: ast.AST) -> Iterator[ast.AST]:
    """Yield a tree's statements, the root first; each may be changed before those inside it are looked at."""
    stack = [] if isinstance(root, ast.Lambda) else [root]
    while stack:
        yield (node := stack.pop())
        for name in _HOLDERS:
            stack += getattr(node, name, ())


def _running(statements: list[ast.stmt], fields: bool) -> list[ast.stmt]:
    """Keep the statements that do something; a bare annotation does, in the body of a class."""
    kept: list[ast.stmt] = []
    for node in statements:
        if isinstance(node, ast.Pass) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            continue
        if isinstance(node, ast.AnnAssign):
            if fields:
                node.annotation = ast.Constant(...)
            elif node.value is None:
                continue
            else:
                node = ast.copy_location(ast.Assign([node.target], node.value), node)
        kept.append(node)
    return kept


def canonical(node: object) -> bytes:
    """Write a syntax tree: ``x``, the name of its class, and its fields that are not empty, by name."""
    written: list[bytes] = []
    _write(node, written)
    return b"".join(written)


def _write(node: object, written: list[bytes]) -> None:
    kind = type(node)
    if kind is str:
        written.append(label(node))
    elif kind is list:
        written += (b"l", count(len(node)))  # type: ignore[arg-type]
        for item in node:  # type: ignore[attr-defined]
            _write(item, written)
    elif isinstance(node, ast.JoinedStr):
        written += (b"x", label("JoinedStr"))
        _write(list(_joined(node)), written)
    elif isinstance(node, ast.AST):
        opening, fields = _WRITTEN[type(node)]
        written += (opening, b"")
        place, number = len(written) - 1, 0
        for name, named in fields:
            value = getattr(node, name, None)
            if value is None or value == []:
                continue
            written.append(named)
            number += 1
            if type(value) is str:
                written.append(label(value))
            else:
                _write(value, written)
        written[place] = count(number)
    else:
        written.append(plain(node))


class _Written(dict[type, tuple[bytes, list[tuple[str, bytes]]]]):
    """The opening of a node's form, and its fields that count with their written names, by class of node."""

    def __missing__(self, kind: type[ast.AST]) -> tuple[bytes, list[tuple[str, bytes]]]:
        fields = [(name, label(name)) for name in kind._fields if name not in _SILENT]
        self[kind] = known = b"x" + label(kind.__name__), fields
        return known


_WRITTEN = _Written()


def _joined(node: ast.JoinedStr) -> Iterator[ast.expr | str]:
    """Yield the pieces of an f-string; how its constant text is cut differs between Pythons."""
    for constant, items in groupby(node.values, lambda item: isinstance(item, ast.Constant)):
        if not constant:
            yield from items
        elif text := "".join(str(item.value) for item in items if isinstance(item, ast.Constant)):
            yield text


def references(function: Function, free: Iterable[str] = ()) -> list[Reference]:
    """List what a function reads from outside, sorted by name, each once.

    Args:
        function: the bare syntax of the function.
        free: names that its closure binds.
    """
    reader = _Reader()
    reader.scope(function, [])
    found = {*reader.found, *(Reference(name) for name in free if name not in reader.roots)}
    return sorted(found, key=lambda ref: (ref.name, ref.imported or (0, "", "")))


class _Reader:
    """Resolve every name of a function as Python does: by the scopes it stands in."""

    def __init__(self) -> None:
        self.found: set[Reference] = set()
        self.roots: set[str] = set()

    def scope(self, function: Function, outer: list[dict[str, _Binding]]) -> None:
        body = [function.body] if isinstance(function, ast.Lambda) else function.body
        own = dict.fromkeys(item.arg for item in _arguments(function.args)) | _bindings(body)
        for node in body:
            self.visit(node, [*outer, own])

    def visit(self, node: ast.AST, scopes: list[dict[str, _Binding]]) -> None:
        if isinstance(node, ast.Attribute | ast.Name):
            self._chain(node, scopes)
        elif isinstance(node, _SCOPES):
            outside = [*node.args.defaults, *(item for item in node.args.kw_defaults if item is not None)]
            for item in [*outside, *getattr(node, "decorator_list", [])]:
                self.visit(item, scopes)
            self.scope(node, scopes)
        elif isinstance(node, ast.ClassDef):
            for item in (*node.decorator_list, *node.bases, *(word.value for word in node.keywords)):
                self.visit(item, scopes)
            for item in node.body:  # names bound in the body are not seen by its methods
                self.visit(item, scopes)
        elif isinstance(node, _COMPREHENSIONS):
            targets = [name for part in node.generators for name in _bindings([part.target])]
            for item in _children(node):
                self.visit(item, [*scopes, dict.fromkeys(targets)])
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node)
        else:
            for item in _children(node):
                self.visit(item, scopes)

    def _chain(self, node: ast.Attribute | ast.Name, scopes: list[dict[str, _Binding]]) -> None:
        chain: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            chain.append(inner.attr)
            inner = inner.value
        if not isinstance(inner, ast.Name):
            self.visit(inner, scopes)
            return
        binding = _OUTSIDE
        for own in reversed(scopes):
            if inner.id in own:
                binding = own[inner.id]
                break
        if binding is not None:
            self.roots.add(inner.id)
            self.found.add(Reference(inner.id, tuple(reversed(chain)), binding or None))

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        """Count what is imported even where only its import matters; used names find it by their binding."""
        if isinstance(node, ast.Import):
            self.found.update(
                Reference(item.name, (), (0, item.name, "")) for item in node.names if item.asname is None
            )
        else:
            module = "." * node.level + (node.module or "")
            for item in node.names:
                self.found.add(
                    Reference(f"{module}:{item.name}", (), (node.level, node.module or "", item.name))
                )


_Binding = tuple[int, str, str] | tuple[()] | None
_OUTSIDE: _Binding = ()
"""How a name is bound: outside of the function; by a local import; or, as None, to a local value."""


def _arguments(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from (rest for rest in (arguments.vararg, arguments.kwarg) if rest is not None)


_BINDING = frozenset(
    {
        *(ast.Global, ast.Nonlocal, ast.Import, ast.ImportFrom, ast.ClassDef),
        *(ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping),
        *_SCOPES,
        *_COMPREHENSIONS,
    }
)


def _bindings(body: Iterable[ast.AST]) -> dict[str, _Binding]:
    """Find the names that a scope binds, without entering the scopes inside it."""
    bound: dict[str, _Binding] = {}
    elsewhere: dict[str, _Binding] = {}
    stack = list(body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                bound.setdefault(node.id, None)
            continue
        if type(node) not in _BINDING:
            stack += _children(node)
            continue
        match node:
            case ast.Global():
                elsewhere |= dict.fromkeys(node.names, _OUTSIDE)
            case ast.Nonlocal():
                elsewhere |= dict.fromkeys(node.names, None)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                bound[node.name] = None
            case ast.Lambda():
                pass
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                inner = (item for item in walk(node) if isinstance(item, ast.NamedExpr))
                bound |= {item.target.id: None for item in inner}
            case ast.Import():
                for item in node.names:
                    top = item.name.partition(".")[0]
                    bound[item.asname or top] = (0, item.name if item.asname else top, "")
            case ast.ImportFrom():
                bound |= {
                    item.asname or item.name: (node.level, node.module or "", item.name)
                    for item in node.names
                }
            case _:
                bound |= dict.fromkeys(_captured(node))
                stack.extend(_children(node))
    return bound | elsewhere


def _captured(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        return [node.name] if node.name else []
    return [node.rest] if isinstance(node, ast.MatchMapping) and node.rest else []

"""Find the syntax of code that runs, and make sure that it is the syntax of that very code."""

from __future__ import annotations
import __future__

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain
from types import CodeType

from paribus.identity import witness
from paribus.identity.grammar import hash128, plain, sequence
from paribus.identity.syntax import Function, bare, statements, walk

_FUTURE = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)


class EditedSourceWarning(UserWarning):
    """A file was edited after its import; the code that runs counts, not the file."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One text of source, parsed and compiled."""

    functions: dict[tuple[int, str], list[Function]]
    codes: dict[str, list[CodeType]]


def find(code: CodeType) -> Function | None:
    """Find the bare syntax of running code; None where no source of it is to be had."""
    texts = witness.texts(code.co_filename)
    for age, text in enumerate(texts):
        flags = code.co_flags & _FUTURE
        found = _matching(_unit(text, code.co_filename, flags), code)
        if found is None:  # as notebooks compile a cell, where a name's import is not seen beside its use
            found = _matching(_unit(text, code.co_filename, flags, one_by_one=True), code)
        if found is not None:
            if age > 0:
                _tell_once(code.co_filename, code.co_name)
            return bare(found)
    if texts:
        _tell_once(code.co_filename, code.co_name)
    return None


@lru_cache(maxsize=256)
def _unit(text: str, filename: str, flags: int, *, one_by_one: bool = False) -> Unit:
    flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # a notebook's cell may
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, filename)
            parts = [ast.Module([node], []) for node in tree.body] if one_by_one else [tree]
            compiled = [compile(part, filename, "exec", flags=flags, dont_inherit=True) for part in parts]
    except (SyntaxError, ValueError):  # edited, and not yet done
        return Unit({}, {})
    codes: dict[str, list[CodeType]] = {}
    for code in chain.from_iterable(map(nested, compiled)):
        codes.setdefault(code.co_name, []).append(code)
    functions: dict[tuple[int, str], list[Function]] = {}
    for node in walk(tree) if "<lambda>" in codes else statements(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            decorators = getattr(node, "decorator_list", None)
            place = (decorators or [node])[0].lineno, getattr(node, "name", "<lambda>")
            functions.setdefault(place, []).append(node)
    return Unit(functions, codes)


def _matching(unit: Unit, code: CodeType) -> Function | None:
    """Find the function of a text that compiles to this code: at its place, or wherever it was moved to."""
    line = code.co_firstlineno
    candidates = sorted(
        unit.codes.get(code.co_name, ()),
        key=lambda item: (item.co_firstlineno != line, item.co_qualname != code.co_qualname),
    )
    rewritten = any(name.startswith("@py") for name in (*code.co_names, *code.co_varnames))
    for item in candidates:
        # pytest rewrites the assert statements of tests: there, the place must do
        if rewritten or _same(item, code):
            functions = unit.functions.get((item.co_firstlineno, item.co_name), [])
            if functions:
                return functions[0] if len(functions) == 1 else _holding(functions, item)
    return None


def _same(one: CodeType, other: CodeType) -> bool:
    """Say whether two codes do the same; only their places may differ."""
    if one.co_code != other.co_code or _frame(one) != _frame(other):
        return False
    if len(one.co_consts) != len(other.co_consts):
        return False
    for a, b in zip(one.co_consts, other.co_consts, strict=True):
        if isinstance(a, CodeType) and isinstance(b, CodeType):
            if not _same(a, b):
                return False
        elif a is not b and (isinstance(a, CodeType) or isinstance(b, CodeType) or plain(a) != plain(b)):
            return False
    return True


def _frame(code: CodeType) -> tuple[object, ...]:
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~_FUTURE)
    return (*names, *counts, code.co_exceptiontable)


def _extent(code: CodeType) -> tuple[int, int, int, int]:
    """Measure the text that instructions come from: first line and column, last line and column."""
    known = [(a, c, b, d) for a, b, c, d in code.co_positions() if None not in (a, b, c, d) and d]
    if not known:
        return 0, 0, 0, 0
    first, last = min(item[:2] for item in known), max(item[2:] for item in known)
    return (*first, *last)  # type: ignore[return-value]


def _holding(functions: list[Function], code: CodeType) -> Function:
    """Choose, of several functions on a line, the smallest that holds all of the code's positions."""
    line, column, last_line, last_column = _extent(code)
    around = [
        item
        for item in functions
        if (item.lineno, item.col_offset) <= (line, column)
        and (last_line, last_column) <= (item.end_lineno or 0, item.end_col_offset or 0)
    ]
    return max(around or functions, key=lambda item: (item.lineno, item.col_offset))


def content(code: CodeType) -> bytes:
    """Write what code does, without its place: instructions, constants, names."""
    constants = [content(item) if isinstance(item, CodeType) else plain(item) for item in code.co_consts]
    return sequence(b"y", [plain(code.co_code), sequence(b"t", constants), plain(_frame(code))])


@cache
def content_digest(code: CodeType) -> bytes:
    """Hash what code does; equal for one function in whatever file or line it stands."""
    return hash128(content(code))


def nested(code: CodeType) -> Iterator[CodeType]:
    """Yield code and all code inside it."""
    yield code
    for item in code.co_consts:
        if isinstance(item, CodeType):
            yield from nested(item)


@cache
def _tell_once(filename: str, name: str) -> None:
    warnings.warn(
        f"{filename} was edited after its import: the key is that of the code that runs, "
        f"not of the file ({name!r} differs); restart to run the file",
        EditedSourceWarning,
        stacklevel=2,
    )

"""What was read to describe code, so that it is soon seen whether it would be described the same now."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import is_
from types import CellType, CodeType, FunctionType

from paribus.identity.grammar import NotPlainError, plain

ABSENT = object()
Signature = tuple[int, int] | None
_Space = Mapping[str, object]


@dataclass(slots=True)
class Reads:
    """The reads of a piece of code: names, whole spaces of names, values that may change, cells, files."""

    names: list[tuple[_Space, str, object]] = field(default_factory=list)
    spaces: list[tuple[_Space, tuple[str, ...], tuple[object, ...]]] = field(default_factory=list)
    plains: list[tuple[object, bytes]] = field(default_factory=list)
    cells: list[tuple[CellType, object]] = field(default_factory=list)
    functions: list[tuple[FunctionType, CodeType, object, object]] = field(default_factory=list)
    files: list[tuple[str, Signature]] = field(default_factory=list)

    def name(self, space: _Space, name: str) -> None:
        """Note what a name stands for."""
        self.names.append((space, name, space.get(name, ABSENT)))

    def version(self, top: str) -> None:
        """Note the version of a library."""
        if top in sys.modules:
            self.name(vars(sys.modules[top]), "__version__")

    def anew(self) -> None:
        """Note that this is to be described anew each time."""
        self.plains.append((ABSENT, b""))

    def space(self, space: _Space) -> None:
        """Note all names of a space, and what they stand for."""
        self.spaces.append((space, tuple(space), tuple(space.values())))

    def bases(self, kind: type) -> None:
        """Note all attributes of a class and its bases."""
        for base in kind.__mro__:
            if base.__module__ != "builtins":
                self.space(base.__dict__)

    def function(self, function: FunctionType) -> None:
        """Note the parts of a function that can be put in another's place."""
        self.functions.append((function, function.__code__, function.__defaults__, function.__kwdefaults__))
        if function.__kwdefaults__:
            self.space(function.__kwdefaults__)
        self.space(function.__dict__)

    def hold(self, signature: Callable[[str], Signature]) -> bool:
        """Say whether everything that was read would be read the same now."""
        for space, name, value in self.names:
            if space.get(name, ABSENT) is not value:
                return False
        for function, code, defaults, keyword in self.functions:
            if function.__code__ is not code or function.__defaults__ is not defaults:
                return False
            if function.__kwdefaults__ is not keyword:
                return False
        for known, names, values in self.spaces:
            if tuple(known) != names or not all(map(is_, known.values(), values)):
                return False
        return self._contents_hold() and all(signature(file) == told for file, told in self.files)

    def _contents_hold(self) -> bool:
        try:
            return all(cell.cell_contents is value for cell, value in self.cells) and all(
                plain(value) == form for value, form in self.plains
            )
        except (ValueError, NotPlainError):  # a cell was emptied, a list holds an object now
            return False


def together(several: Iterable[Reads]) -> Reads:
    """Put reads together, each once."""
    whole = Reads()
    names: dict[object, tuple[_Space, str, object]] = {}
    spaces: dict[object, tuple[_Space, tuple[str, ...], tuple[object, ...]]] = {}
    cells: dict[object, tuple[CellType, object]] = {}
    for reads in several:
        names |= {(id(item[0]), item[1]): item for item in reads.names}
        spaces |= {(id(item[0]), item[1]): item for item in reads.spaces}
        cells |= {id(item[0]): item for item in reads.cells}
        whole.plains += reads.plains
        whole.functions += reads.functions
        whole.files += reads.files
    whole.names, whole.spaces, whole.cells = [*names.values()], [*spaces.values()], [*cells.values()]
    whole.files = [*dict.fromkeys(whole.files)]
    return whole

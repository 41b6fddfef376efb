"""What was read to describe code, so that it is soon seen whether it would be described the same now."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import is_
from types import CellType, CodeType, FunctionType

from paribus.identity.grammar import NotPlainError, plain

ABSENT = object()
Signature = tuple[int, int] | None
_Space = Mapping[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All names of a space, and what they stood for."""

    space: _Space
    names: tuple[str, ...]
    values: tuple[object, ...]

    @classmethod
    def of(cls, space: _Space) -> Snapshot:
        """Take down a space as it is."""
        return cls(space, tuple(space), tuple(space.values()))

    def holds(self) -> bool:
        """Say whether the space is as it was."""
        return tuple(self.space) == self.names and all(map(is_, self.space.values(), self.values))


_classes: dict[type, Snapshot] = {}


def _class_snapshot(kind: type) -> Snapshot:
    """Take down a class; all that read it as it is share one snapshot, checked once in a walk."""
    known = _classes.get(kind)
    if known is None or not known.holds():
        _classes[kind] = known = Snapshot.of(kind.__dict__)
    return known


@dataclass(slots=True)
class Reads:
    """The reads of a piece of code: names, whole spaces of names, values that may change, cells, files."""

    names: list[tuple[_Space, str, object]] = field(default_factory=list)
    spaces: list[Snapshot] = field(default_factory=list)
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

    def bases(self, kind: type) -> None:
        """Note all attributes of a class and its bases."""
        for base in kind.__mro__:
            if base.__module__ != "builtins":
                self.spaces.append(_class_snapshot(base))

    def function(self, function: FunctionType) -> None:
        """Note the parts of a function that can be put in another's place."""
        self.functions.append((function, function.__code__, function.__defaults__, function.__kwdefaults__))
        if function.__kwdefaults__:
            self.spaces.append(Snapshot.of(function.__kwdefaults__))
        self.spaces.append(Snapshot.of(function.__dict__))

    def hold(self, signature: Callable[[str], Signature], checked: set[int]) -> bool:
        """Say whether everything that was read would be read the same now.

        Args:
            signature: gives what changes when a file is edited.
            checked: the snapshots, by `id`, that were found to hold in this walk; it grows.
        """
        for space, name, value in self.names:
            if space.get(name, ABSENT) is not value:
                return False
        for function, code, defaults, keyword in self.functions:
            if function.__code__ is not code or function.__defaults__ is not defaults:
                return False
            if function.__kwdefaults__ is not keyword:
                return False
        for snapshot in self.spaces:
            if id(snapshot) not in checked:
                if not snapshot.holds():
                    return False
                checked.add(id(snapshot))
        for file, told in self.files:
            if signature(file) != told:
                return False
        return not (self.cells or self.plains) or self._contents_hold()

    def _contents_hold(self) -> bool:
        try:
            return all(cell.cell_contents is value for cell, value in self.cells) and all(
                plain(value) == form for value, form in self.plains
            )
        except (ValueError, NotPlainError):  # a cell was emptied, a list holds an object now
            return False

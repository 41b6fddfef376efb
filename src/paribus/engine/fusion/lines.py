"""The text of a program: a line for each call, its values by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, final


@final
class Lines:
    """Lines of a function without arguments, in the order in which they are written."""

    def __init__(self) -> None:
        self._values: dict[str, object] = {}
        self._names: dict[int, str] = {}
        self._lines: list[tuple[int | None, str]] = []

    def name(self, value: object) -> str:
        """Return the name of a value; a new one is given one."""
        name = self._names.get(id(value))
        if name is None:
            name = self._names[id(value)] = f"c{len(self._names)}"
            self._values[name] = value  # which keeps it, and so its id
        return name

    def add(self, text: str, row: int | None = None) -> None:
        """Add a line, of one learner or of all."""
        self._lines.append((row, text))

    def call(self, function: Any, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
        """Add a call on values, of all learners."""
        texts = [self.name(value) for value in arguments]
        texts += [f"{name}={self.name(value)}" for name, value in keywords.items()]
        self.add(f"{self.name(function)}({', '.join(texts)})")

    def compiled(self, last: str) -> Callable[[], Any]:
        """Return the function; what is done for one learner comes together: its data stays in the cache.

        Args:
            last: The line that returns something.
        """
        lines: list[str] = []
        for alone, run in groupby(self._lines, key=lambda line: line[0] is not None):
            found = list(run)
            lines += [text for _, text in (sorted(found, key=lambda line: line[0] or 0) if alone else found)]
        source = "\n    ".join(["def step():", *lines, last])
        exec(compile(source, "<paribus fusion>", "exec"), self._values)  # written here, from the trace
        step: Callable[[], Any] = self._values["step"]  # type: ignore[assignment]
        return step

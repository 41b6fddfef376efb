"""How docstrings are read for the site: what begins with ``>>>`` is code, under a heading or without one."""

from __future__ import annotations

import re
from textwrap import indent
from typing import Any

from griffe import Extension, Object


class ExampleSections(Extension):
    """Give each example the section by whose name it is known to be code."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Write the section before the docstring is read."""
        if obj.docstring is not None:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"^>>>.*(?:\n.+)*", _section, text, flags=re.MULTILINE)


def _section(example: re.Match[str]) -> str:
    return "Examples:\n" + indent(example[0], "    ")

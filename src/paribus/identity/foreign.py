"""Plain types of numpy, torch and Paribus itself; they join the grammar when they are first met."""

from __future__ import annotations

import dataclasses
from typing import Any

from paribus.identity.grammar import WRITERS, NotPlainError, Writer, count, label, plain, refuse
from paribus.identity.library import class_name, tops
from paribus.identity.marks import ATTRIBUTE


def writer(kind: type) -> Writer:
    """Find the writer of a type that was not met before; `refuse` where its values are not plain."""
    packages = tops(kind)
    if "numpy" in packages:
        from paribus.identity import arrays  # noqa: F401  it adds its scalars
    if "torch" in packages:
        from paribus.identity import torch_values  # noqa: F401  it adds its dtypes
    if kind in WRITERS:
        return WRITERS[kind]
    ours = str(kind.__module__).startswith("paribus.") and dataclasses.is_dataclass(kind)
    return _fields_writer(kind) if ours and kind.__name__ != "File" else refuse


def _fields_writer(kind: type) -> Writer:
    """Make the writer of one of Paribus's dataclasses: its name, and its fields by name."""
    fields: Any = dataclasses.fields(kind)
    names = sorted(item.name for item in fields if item.compare is not False)
    labels = [(name, label(name)) for name in names]
    opening = b"n" + label("object") + count(1 + len(names)) + label("class")
    opening += class_name(kind)

    def write(value: Any) -> bytes:
        if ATTRIBUTE in getattr(value, "__dict__", ()):
            raise NotPlainError(kind.__name__)
        pieces = [opening]
        for name, written in labels:
            pieces.append(written)
            pieces.append(plain(getattr(value, name)))
        return b"".join(pieces)

    return write

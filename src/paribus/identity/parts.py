"""A fingerprint in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from paribus.identity import source
from paribus.identity.graph import KEY, Form, Node, reachable
from paribus.identity.reading import ARRAYS, module_pieces, text


def parts(form: Form) -> Mapping[str, str]:
    """Map the path of each piece of a form to a short text; a piece that is met again is told once."""
    if isinstance(form, bytes):
        return dict(_flat("", form))
    told: dict[str, str] = {}
    seen: set[int] = set()
    stack: list[tuple[str, Node]] = [("", form)]
    while stack:
        path, node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.kind in ARRAYS:
            told[path] = text(node.form(lambda target: b"N"))
        if node.text is not None:
            told[f"{path}/rows".lstrip("/") if node.kind in ARRAYS else path] = node.text()
        for name, target in reversed(node.edges if node.kind not in ARRAYS else []):
            if name == KEY or (name, node.kind) == ("text", "function"):  # the text itself is told
                continue
            below = f"{path}/{_step(name)}" if path else _step(name)
            below = _SAMPLES.sub(lambda found: _NAMES[found[1]], below)
            if isinstance(target, Node):
                stack.append((below, target))
            else:
                told.update(_flat(below, target))
    return told


_SAMPLES = re.compile(r"(?<![^/])tensors/([01])$")
_NAMES = {"0": "inputs", "1": "labels"}
"""What a `TensorDataset` of two tensors holds, as it is called."""


def _step(name: str) -> str:
    return name.lstrip(".").removeprefix("['").removesuffix("']")


def _flat(path: str, form: bytes) -> Iterator[tuple[str, str]]:
    """Tell the pieces of a module that was written as bytes, or any other form as one text."""
    pieces = module_pieces(form)
    if pieces is None:
        yield path, text(form)
    for name, inner in (pieces or {}).items():
        yield from _flat(f"{path}/{_step(name)}".lstrip("/"), inner)


def covered(form: Form) -> frozenset[bytes]:
    """Collect the digests of all code that a form counts or was declared for, with the code inside it."""
    found: set[bytes] = set()
    seen: set[int] = set()
    stack = [form]
    while stack:
        for node in reachable(stack.pop()):
            if id(node) not in seen:
                seen.add(id(node))
                stack.append(node.aside)
                if node.code is not None:
                    found.update(source.content_digest(inner) for inner in source.nested(node.code))
    return frozenset(found)

"""A fingerprint in words."""

from __future__ import annotations

from collections.abc import Mapping

from paribus.identity import source
from paribus.identity.graph import Form, Node, reachable
from paribus.identity.reading import text


def parts(form: Form) -> Mapping[str, str]:
    """Map the path of each piece of a form to a short text; a piece that is met again is told once."""
    if isinstance(form, bytes):
        return {"": text(form)}
    told: dict[str, str] = {}
    seen: set[int] = set()
    stack: list[tuple[str, Node]] = [("", form)]
    while stack:
        path, node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.text is not None:
            told[path] = node.text()
        for name, target in reversed(node.edges):
            below = f"{path}/{name.lstrip('.')}" if path else name.lstrip(".")
            if isinstance(target, Node):
                stack.append((below, target))
            else:
                told[below] = text(target)
    return told


def covered(form: Form) -> frozenset[bytes]:
    """Collect the digests of all code that a form counts, with the code inside it."""
    return frozenset(
        source.content_digest(inner)
        for node in reachable(form)
        if node.code is not None
        for inner in source.nested(node.code)
    )

"""Where a leaf is in a nested batch: a path such as ``"image.left"`` or ``"0"``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paribus.errors import LevelError, suggest

Path = tuple[str | int, ...]


def find(batch: Any, path: str, name: str) -> Path:
    """Return the keys that a path means in a batch.

    Raises:
        LevelError: The batch has no such key.
    """
    keys: list[str | int] = []
    for part in path.split("."):
        known = _keys(leaf_at(batch, tuple(keys)))
        found = next((key for key in known if str(key) == part), None)
        if found is None:
            where = f"{path!r} of a sample" if keys else "a sample"
            raise LevelError(f"{name}: {part!r} is no key of {where} {suggest(part, map(str, known))}")
        keys.append(found)
    return tuple(keys)


def leaf_at(batch: Any, path: Path) -> Any:
    """Return what is at a path."""
    for key in path:
        batch = batch[key]
    return batch


def with_leaf(batch: Any, path: Path, leaf: Any) -> Any:
    """Return the batch with another leaf at a path."""
    if not path:
        return leaf
    first, rest = path[0], path[1:]
    if isinstance(batch, Mapping):
        return {key: with_leaf(value, rest, leaf) if key == first else value for key, value in batch.items()}
    return _like(batch, [with_leaf(v, rest, leaf) if i == first else v for i, v in enumerate(batch)])


def without_key(batch: Any, path: Path) -> Any:
    """Return the batch without what is at a path."""
    first, rest = path[0], path[1:]
    if rest:
        return with_leaf(batch, (first,), without_key(batch[first], rest))
    if isinstance(batch, Mapping):
        return {key: value for key, value in batch.items() if key != first}
    kept = [value for index, value in enumerate(batch) if index != first]
    return tuple(kept) if isinstance(batch, tuple) else kept


def leaves(batch: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield each leaf of a batch with its path: tensors, and lists of words."""
    known = _keys(batch)
    if not known or all(isinstance(batch[key], str) for key in known):
        yield path, batch
        return
    for key in known:
        yield from leaves(batch[key], (*path, key))


def label_path(batch: Any, label: str | None, name: str) -> Path:
    """Return the path of the labels: the one given, or the last of a pair.

    Raises:
        LevelError: There is no such key, or a sample is no pair and no key is given.
    """
    if label is not None:
        return find(batch, label, name)
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return (1,)
    raise LevelError(
        f"{name}: a sample is no pair (inputs, targets), so where the label is must be said; give label=, "
        f"one of {', '.join(map(repr, map(str, _keys(batch))))}"
    )


def _keys(batch: Any) -> list[str | int]:
    if isinstance(batch, Mapping):
        return list(batch)
    return list(range(len(batch))) if isinstance(batch, tuple | list) else []


def _like(batch: Any, values: list[Any]) -> Any:
    return type(batch)(*values) if hasattr(batch, "_fields") else type(batch)(values)

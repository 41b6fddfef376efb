"""How work reaches another process: the data as bytes that processes share, the rest by cloudpickle.

Nothing of it goes into the store: nothing there is ever unpickled.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import cloudpickle
import torch
from torch import nn

from paribus.engine.building.data import InMemory
from paribus.engine.building.nested import map_tensors
from paribus.engine.building.work import Work
from paribus.engine.running.messages import Lease
from paribus.errors import ExecutionError

_DEEPEST = 12


@final
@dataclass(frozen=True)
class _Stored:
    """A tensor whose bytes are elsewhere.

    Attributes:
        place: Which of the buffers holds them.
    """

    place: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    def within(self, buffers: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the tensor as a view of its buffer."""
        return buffers[self.place].view(self.dtype).view(self.shape)


@final
@dataclass(frozen=True)
class _Tree:
    """The skeleton of an in-memory split."""

    tensors: Any
    columns: tuple[str, ...]
    dataset: Any


def pack(work: Work) -> tuple[bytes, list[torch.Tensor]]:
    """Take work apart: a pickled skeleton, and the bytes of the data's tensors, each flat, in main memory.

    Raises:
        ExecutionError: A part of the work cannot be pickled.
    """
    buffers: list[torch.Tensor] = []
    splits = {
        name: _Tree(map_tensors(partial(_store, buffers), source.tensors), source.columns, source.dataset)  # type: ignore[arg-type]
        if isinstance(source, InMemory)
        else source
        for name, source in work.splits.items()
    }
    parts = {
        "model": work.model,
        "objective": work.objective,
        "logger": work.logger,
        "train": work.train,
        "splits": splits,
    }
    return cloudpickle.dumps({name: _pickled(name, part) for name, part in parts.items()}), buffers


def unpack(skeleton: bytes, buffers: Sequence[torch.Tensor]) -> Work:
    """Put together what `pack` took apart; the data is views of the buffers."""
    parts = {name: cloudpickle.loads(part) for name, part in cloudpickle.loads(skeleton).items()}
    splits = {
        name: InMemory(_load(source.tensors, buffers), source.columns, dataset=source.dataset)
        if isinstance(source, _Tree)
        else source
        for name, source in parts.pop("splits").items()
    }
    return Work(splits=splits, **parts)


def packed(lease: Lease) -> bytes:
    """Pickle a lease, which may hold the user's functions."""
    # Twice as quick as cloudpickle, which is for what the other side cannot import.
    with suppress(Exception):
        payload = pickle.dumps(lease)
        if b"__main__" not in payload and not cloudpickle.list_registry_pickle_by_value():
            return payload
    return bytes(cloudpickle.dumps(lease))


def ship(work: Work, folder: Path) -> Path:
    """Write work into a folder, and return the file that another process reads it from.

    Raises:
        ExecutionError: A part of the work cannot be pickled.
    """
    skeleton, buffers = pack(work)
    for place, buffer in enumerate(buffers):
        buffer.numpy().tofile(folder / f"buffer-{place}")
    path = folder / "work"
    path.write_bytes(cloudpickle.dumps((skeleton, [len(buffer) for buffer in buffers])))
    return path


def receive(path: str) -> Work:
    """Read work that `ship` wrote; the data is mapped copy on write, so processes share its pages."""
    skeleton, sizes = cloudpickle.loads(Path(path).read_bytes())
    folder = Path(path).parent
    return unpack(skeleton, [_mapped(folder / f"buffer-{place}", size) for place, size in enumerate(sizes)])


def _mapped(path: Path, size: int) -> torch.Tensor:
    if size == 0:
        return torch.empty(0, dtype=torch.uint8)
    return torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)


def _store(buffers: list[torch.Tensor], tensor: torch.Tensor) -> _Stored:
    flat = tensor.detach().to("cpu").contiguous()
    buffers.append(flat.reshape(-1).view(torch.uint8) if flat.numel() else torch.empty(0, dtype=torch.uint8))
    return _Stored(len(buffers) - 1, tuple(flat.shape), flat.dtype)


def _load(tree: Any, buffers: Sequence[torch.Tensor]) -> Any:
    if isinstance(tree, _Stored):
        return tree.within(buffers)
    if isinstance(tree, dict):
        return {name: _load(value, buffers) for name, value in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(_load(value, buffers) for value in tree)
    return tree


def _pickled(name: str, part: object) -> bytes:
    try:
        payload: bytes = cloudpickle.dumps(part)
    except Exception as error:
        raise ExecutionError(
            f"{_culprit(name, part)}: it cannot be sent to another process ({error}); build the part that "
            "cannot be pickled where it is used, or run with executor='serial'"
        ) from error
    return payload


def _culprit(path: str, value: object, depth: int = 0) -> str:
    """Return the path to the innermost part that cannot be pickled."""
    if depth < _DEEPEST:
        for step, part in _parts(value):
            if not _can_be_pickled(part):
                ours = type(value).__module__.startswith("paribus.engine")
                return _culprit(path if ours else path + step, part, depth + 1)
    return path


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """Yield what a value is made of, each with how it is written behind the value."""
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, tuple | list | set | frozenset):
        yield from ((f"[{place}]", part) for place, part in enumerate(value))
    elif isinstance(value, partial):
        yield from ((f".{name}", getattr(value, name)) for name in ("func", "args", "keywords"))
    else:
        if isinstance(value, nn.Module):
            yield from ((f".{name}", module) for name, module in value.named_children())
        yield from _enclosed(value)
        yield from ((f".{name}", part) for name, part in getattr(value, "__dict__", {}).items())


def _enclosed(value: object) -> Iterator[tuple[str, object]]:
    names = getattr(getattr(value, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(value, "__closure__", None) or (), strict=True):
        with suppress(ValueError):  # an empty cell
            yield f".{name}", cell.cell_contents


def _can_be_pickled(part: object) -> bool:
    try:
        cloudpickle.dumps(part)
    except Exception:
        return False
    return True

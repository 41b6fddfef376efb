"""How work reaches another process: the data as memory-mapped files, the rest by cloudpickle.

The files live in a temporary folder of the run, never in the store: nothing there is ever unpickled.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import cloudpickle
import torch

from paribus.engine.building.data import InMemory
from paribus.engine.building.nested import map_tensors
from paribus.engine.building.work import Work
from paribus.errors import ExecutionError


@final
@dataclass(frozen=True)
class _Mapped:
    """A tensor in a file of raw bytes."""

    path: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    def load(self) -> torch.Tensor:
        """Map the file into memory, copy on write: processes of one machine share its pages."""
        size = torch.Size(self.shape).numel()
        if size == 0:
            return torch.empty(self.shape, dtype=self.dtype)
        return torch.from_file(self.path, shared=False, size=size, dtype=self.dtype).view(self.shape)


@final
@dataclass(frozen=True)
class _Tree:
    """The skeleton of an in-memory split, files in place of tensors."""

    tensors: Any
    columns: tuple[str, ...]
    dataset: Any


def ship(work: Work, folder: Path) -> Path:
    """Write work into a folder, and return the file that another process reads it from.

    Raises:
        ExecutionError: A part of the work cannot be pickled.
    """
    numbers = itertools.count()
    splits = {
        name: _Tree(_stored(source.tensors, folder, numbers), source.columns, source.dataset)
        if isinstance(source, InMemory)
        else source
        for name, source in work.splits.items()
    }
    parts = {"model": work.model, "objective": work.objective, "logger": work.logger, "splits": splits}
    payload = {name: _pickled(name, part) for name, part in parts.items()}
    path = folder / "work"
    path.write_bytes(cloudpickle.dumps(payload))
    return path


def receive(path: str) -> Work:
    """Read work that ``ship`` wrote."""
    payload = {
        name: cloudpickle.loads(part) for name, part in cloudpickle.loads(Path(path).read_bytes()).items()
    }
    splits = {
        name: InMemory(_loaded(source.tensors), source.columns, dataset=source.dataset)
        if isinstance(source, _Tree)
        else source
        for name, source in payload.pop("splits").items()
    }
    return Work(splits=splits, **payload)


def _pickled(name: str, part: object) -> bytes:
    try:
        payload: bytes = cloudpickle.dumps(part)
    except Exception as error:
        raise ExecutionError(
            f"{name}: it cannot be sent to another process ({error}); build the part that cannot be pickled "
            "where it is used, or run with executor='serial'"
        ) from error
    return payload


def _stored(tensors: Any, folder: Path, numbers: itertools.count[int]) -> Any:
    return _replaced(tensors, lambda tensor: _write(tensor, folder / f"tensor-{next(numbers)}"))


def _write(tensor: torch.Tensor, path: Path) -> _Mapped:
    flat = tensor.detach().to("cpu").contiguous()
    path.write_bytes(flat.reshape(-1).view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return _Mapped(str(path), tuple(flat.shape), flat.dtype)


def _loaded(tree: Any) -> Any:
    if isinstance(tree, _Mapped):
        return tree.load()
    if isinstance(tree, dict):
        return {name: _loaded(value) for name, value in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(_loaded(value) for value in tree)
    return tree


def _replaced(tree: Any, function: Callable[[torch.Tensor], object]) -> Any:
    return map_tensors(function, tree)  # type: ignore[arg-type]

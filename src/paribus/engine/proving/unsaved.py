"""What a step changes in a model beside its parameters and buffers: no state holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from paribus.engine.training.state import same_bits


class UnsavedStateWarning(UserWarning):
    """A step changes a plain attribute of the model: a learner that forks or resumes begins without it."""


def plain_values(model: nn.Module) -> dict[str, object]:
    """Copy the numbers and tensors that modules hold as plain attributes, by path."""
    return {path: _copied(value) for path, _, value in _plain(model)}


def changed_values(model: nn.Module, before: Mapping[str, object]) -> list[str]:
    """Say which of the values that were copied are others now: ``body.calls (0 → 1)``.

    What was not there before, or was no number or tensor, may be a cache.
    """
    pairs = [(path, before.get(path, default), value) for path, default, value in _plain(model)]
    return [f"{path}{_told(old, new)}" for path, old, new in pairs if _is_plain(old) and not _same(old, new)]


def warning_of(names: list[str]) -> str:
    """Say what to do about values that a step changes."""
    return (
        f"model: {', '.join(names)}: changed in the first step, and in no state: a learner that forks or "
        "goes on after a stop begins with what a new model has; make it a buffer with register_buffer(…)"
    )


def _plain(model: nn.Module) -> Iterator[tuple[str, object, object]]:
    """Yield path, what the class has there, and value."""
    for path, module in model.named_modules():
        if isinstance(module, LazyModuleMixin):  # it becomes another module when it is first called
            continue
        for name, value in vars(module).items():
            if _is_plain(value):
                yield (f"{path}.{name}" if path else name), getattr(type(module), name, None), value


def _is_plain(value: object) -> bool:
    if isinstance(value, torch.Tensor):
        # What leads back to parameters is computed from them anew, as by spectral_norm.
        return value.layout == torch.strided and not (value.requires_grad or value.is_complex())
    return isinstance(value, int | float) and not isinstance(value, bool)


def _copied(value: object) -> object:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _same(old: object, new: object) -> bool:
    if isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor):
        return old.device == new.device and same_bits(old, new)
    return repr(old) == repr(new)


def _told(old: object, new: object) -> str:
    numbers = not isinstance(old, torch.Tensor) and not isinstance(new, torch.Tensor)
    return f" ({old!r} → {new!r})" if numbers else ""

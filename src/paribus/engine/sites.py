"""The timed interventions of one segment, each at the site of the step where it acts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import nn

from paribus.engine.nested import map_tensors
from paribus.interventions.base import TimedIntervention
from paribus.interventions.selection import selected_modules
from paribus.interventions.sites import (
    ActivationsIntervention,
    BatchIntervention,
    BuffersIntervention,
    GradientsIntervention,
)


@final
class Sites:
    """What acts in every step of a segment: its windows begin and end at the segment's edges.

    Args:
        active: The interventions whose span holds the segment, in the order in which they act.
        model: The model that is trained.
        optimizer: Its optimizer.
    """

    def __init__(
        self, active: Sequence[TimedIntervention], model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        self._batches = [each for each in active if isinstance(each, BatchIntervention)]
        self._activations = [each for each in active if isinstance(each, ActivationsIntervention)]
        self._gradients = [each for each in active if isinstance(each, GradientsIntervention)]
        self._buffers = [each for each in active if isinstance(each, BuffersIntervention)]
        self._model = model
        self._optimizer = optimizer
        self._parameters = dict(model.named_parameters())
        self._step: int | None = None

    def change_buffers(self, step: int) -> None:
        """Change what the optimizer keeps, before a step."""
        if not self._buffers:
            return
        entries = {name: self._optimizer.state.get(p, {}) for name, p in self._parameters.items()}
        kept = {
            name: {key: value for key, value in entry.items() if isinstance(value, torch.Tensor)}
            for name, entry in entries.items()
        }
        with torch.no_grad():
            for each in self._buffers:
                each.edit(kept, step)

    def changed_batch(self, batch: Any, step: int) -> Any:
        """Return the batch that a step trains on."""
        for each in self._batches:
            batch = each.edit(batch, step)
        return batch

    def change_gradients(self, step: int) -> None:
        """Change the gradients of a step; what is deleted takes no step."""
        if not self._gradients:
            return
        gradients = {n: p.grad for n, p in self._parameters.items() if p.grad is not None}
        with torch.no_grad():
            for each in self._gradients:
                each.edit(gradients, step)
        for name, parameter in self._parameters.items():
            parameter.grad = gradients.get(name)

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Hook the activations that change; they do so only within ``forward``."""
        handles = [
            module.register_forward_hook(self._hook(each, path))
            for each in self._activations
            for path, module in selected_modules(self._model, each.layers, type(each).__name__).items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def forward(self, step: int) -> Iterator[None]:
        """Mark the forward pass of a training step."""
        self._step = step
        try:
            yield
        finally:
            self._step = None

    def _hook(self, intervention: ActivationsIntervention, layer: str) -> Any:
        def changed(tensor: torch.Tensor) -> torch.Tensor:
            step = self._step
            return (
                intervention.edit(tensor, step, layer)
                if step is not None and tensor.is_floating_point()
                else tensor
            )

        return lambda module, inputs, output: None if self._step is None else map_tensors(changed, output)

"""The timed interventions of one segment, each at the site of the step where it acts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from typing import Any, final

import torch
from torch import nn

from paribus.engine.building.data import drawing_from
from paribus.engine.building.nested import map_tensors, tensors_of
from paribus.engine.training.draws import seed_torch
from paribus.errors import ConfigurationError
from paribus.identity import derive_seed
from paribus.interventions.base import TimedIntervention
from paribus.interventions.selection import selected_modules
from paribus.interventions.sites import (
    ActivationsIntervention,
    BatchIntervention,
    BuffersIntervention,
    Call,
    GradientsIntervention,
)


@final
class Sites:
    """What acts in every step of a segment: its windows begin and end at the segment's edges.

    Args:
        active: The interventions whose span holds the segment, in the order in which they act.
        model: The model that is trained.
        optimizer: Its optimizer.
        augment: Seed of the ``augment`` stream, from which changes of the batch draw.
    """

    def __init__(
        self,
        active: Sequence[TimedIntervention],
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        augment: int,
    ) -> None:
        self._batches = [each for each in active if isinstance(each, BatchIntervention)]
        self._activations = [each for each in active if isinstance(each, ActivationsIntervention)]
        self._gradients = [each for each in active if isinstance(each, GradientsIntervention)]
        self._buffers = [each for each in active if isinstance(each, BuffersIntervention)]
        self._model = model
        self._optimizer = optimizer
        within = self._gradients or self._buffers
        self._parameters = dict(model.named_parameters()) if within else {}
        self._augment = augment
        self._step: int | None = None
        self._differentiating = False
        self._calls: dict[tuple[int, str], int] = {}

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
            batch = edited_batch(each, batch, step, self._augment)
        return batch

    def change_gradients(self, step: int) -> None:
        """Change the gradients of a step; what is deleted takes no step."""
        self._differentiating = False
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
        with ExitStack() as handles:
            for number, each in enumerate(self._activations):
                for path, module in selected_modules(self._model, each.layers, type(each).__name__).items():
                    handle = module.register_forward_hook(self._hook(number, path))
                    handles.callback(handle.remove)
            yield

    @contextmanager
    def forward(self, step: int) -> Iterator[None]:
        """Mark the forward pass of a training step."""
        self._step = step
        self._calls.clear()
        try:
            yield
        finally:
            self._step = None
            self._differentiating = True

    def _hook(self, number: int, layer: str) -> Any:
        intervention = self._activations[number]

        def changed(module: nn.Module, inputs: object, output: Any) -> Any:
            if self._differentiating:
                raise ConfigurationError(
                    f"{type(intervention).__name__}: {layer!r} is computed again in the backward pass, where "
                    "it would give something else; turn gradient checkpointing off, or choose another layer"
                )
            if self._step is None:
                return None
            before = self._calls.get((number, layer), 0)
            self._calls[number, layer] = before + 1
            return edited_output(intervention, output, Call(layer, self._step, before))

        return changed


def edited_batch(intervention: BatchIntervention, batch: Any, step: int, augment: int) -> Any:
    """Return the batch after an intervention; what it draws is of the ``augment`` stream at this step."""
    stream = type(intervention).__name__
    seed = derive_seed(augment, "augment", stream, getattr(intervention, "seed", 0), step)
    with drawing_from(seed), torch.no_grad():
        seed_torch(seed, _device_of(batch))
        return intervention.edit(batch, step)


def _device_of(batch: Any) -> torch.device:
    return next((tensor.device for tensor in tensors_of(batch)), torch.device("cpu"))


def edited_output(intervention: ActivationsIntervention, output: Any, call: Call) -> Any:
    """Return what a submodule gave after an intervention: each floating tensor of it is changed."""
    places = count()

    def edited(tensor: torch.Tensor) -> torch.Tensor:
        place = next(places)
        return intervention.edit(tensor, replace(call, place=place)) if tensor.is_floating_point() else tensor

    return map_tensors(edited, output)

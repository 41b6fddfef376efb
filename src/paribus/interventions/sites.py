"""The sites of training at which an intervention acts: one class each, with one method to write.

Within a step the sites are visited in the order of this file: weights, optimizer and its buffers, batch,
activations, gradients, constraint. Interventions at one site act in the order of their first step, then of
their class names, then of the design. Architecture, data and objective are changed before training.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from paribus.interventions.base import Edit, Intervention, TimedIntervention
from paribus.interventions.checks import Window
from paribus.interventions.designs import Components

if TYPE_CHECKING:
    import torch
    from torch import nn

    from paribus.interventions.settings import OptimizerSetting


class WeightsIntervention(TimedIntervention):
    """A change of the parameters, once: in the initial state (step 0) or just before a later step.

    Subclasses are frozen dataclasses with a field ``step: int`` and write ``edit``.

    Attributes:
        null: Values of parameters at which nothing is changed, as in ``{"epsilon": 0}``.
    """

    step: int
    null: ClassVar[Mapping[str, object]] = {}

    @abstractmethod
    def edit(self, parameters: Mapping[str, torch.Tensor]) -> None:
        """Change the parameters in place; gradients are not recorded here.

        Args:
            parameters: Every parameter by its dotted name, in the model's own shapes and dtype.
        """

    @final
    @property
    def span(self) -> tuple[int, int | None]:
        """The one step at which it acts; ``(-1, 0)`` when it is part of the initial state."""
        return (-1, 0) if self.step == 0 else (self.step, self.step + 1)

    @final
    def edits(self) -> Mapping[str, Edit]:
        """Put this intervention on the timeline."""
        return self._on_timeline()

    @final
    def is_null(self, components: Components) -> bool:
        """Tell whether a parameter has the value at which nothing changes."""
        return _is_null(self, self.null)

    @final
    def clipped(self) -> Self:
        """Return the same change at the initial state: the step itself is kept beside it."""
        return dataclasses.replace(self, step=0)  # type: ignore[type-var]


class HyperparameterIntervention(TimedIntervention):
    """A change of the optimizer's hyperparameters while a window lasts; without a window, throughout.

    Subclasses are frozen dataclasses with a field ``when: Window | None = None`` and write ``edit``.
    """

    when: Window | None

    @abstractmethod
    def edit(self, optimizer: OptimizerSetting) -> OptimizerSetting:
        """Return the setting that holds inside the window."""

    @final
    @property
    def span(self) -> tuple[int, int | None]:
        """The window, in steps."""
        return self.when or (0, None)

    @final
    def edits(self) -> Mapping[str, Edit]:
        """Put this intervention on the timeline; without a window it is a plain setting."""
        return {"optimizer": self.edit} if self.when is None else self._on_timeline()

    @final
    def is_null(self, components: Components) -> bool:
        """Tell whether the window leaves every hyperparameter as it is."""
        optimizer: OptimizerSetting = components["optimizer"]
        return self.edit(optimizer) == optimizer

    @final
    def clipped(self) -> Self:
        """Return the same change without its window."""
        return dataclasses.replace(self, when=None)  # type: ignore[type-var]


class StepIntervention(TimedIntervention):
    """A change inside every training step of a window; without a window, of every step.

    Subclasses are frozen dataclasses with a field ``when: Window | None = None``. What they draw is a
    function of their seed, their class, the step and the name of what is changed, and of nothing else.

    Attributes:
        null: Values of parameters at which nothing is changed, as in ``{"factor": 1}``.
    """

    when: Window | None
    null: ClassVar[Mapping[str, object]] = {}

    @final
    @property
    def span(self) -> tuple[int, int | None]:
        """The window, in steps."""
        return self.when or (0, None)

    @final
    def edits(self) -> Mapping[str, Edit]:
        """Put this intervention on the timeline."""
        return self._on_timeline()

    @final
    def is_null(self, components: Components) -> bool:
        """Tell whether a parameter has the value at which nothing changes."""
        return _is_null(self, self.null)

    @final
    def clipped(self) -> Self:
        """Return the same change without its window."""
        return dataclasses.replace(self, when=None)  # type: ignore[type-var]


class BuffersIntervention(StepIntervention):
    """A change of what the optimizer keeps: momentum buffers, second moments."""

    @abstractmethod
    def edit(self, buffers: Mapping[str, dict[str, torch.Tensor]], step: int) -> None:
        """Change the optimizer's tensors in place, before the step.

        Args:
            buffers: For each parameter by its dotted name, its tensors by the optimizer's own names, as in
                ``momentum_buffer`` or ``exp_avg``; a parameter that has taken no step yet has none.
            step: Optimizer steps taken.
        """


class BatchIntervention(StepIntervention):
    """A change of the training batch; what is evaluated stays as it is."""

    @abstractmethod
    def edit(self, batch: Any, step: int) -> Any:
        """Return the batch to train on; the one given is not to be changed in place.

        Args:
            batch: As the data set's collated samples are nested, ``(batch, …)`` tensors.
            step: Optimizer steps taken.
        """


class ActivationsIntervention(StepIntervention):
    """A change of what submodules give, in the forward pass of training steps; evaluation is not touched.

    Subclasses have a field ``layers``: globs over submodule paths.
    """

    layers: str | tuple[str, ...]

    @abstractmethod
    def edit(self, output: torch.Tensor, step: int, layer: str) -> torch.Tensor:
        """Return what the submodule is to give; gradients flow through it.

        Args:
            output: What it gave, ``(batch, …)``; called for each floating tensor of a nested output.
            step: Optimizer steps taken.
            layer: The submodule's path.
        """


class GradientsIntervention(StepIntervention):
    """A change of the gradients between backward pass and optimizer step."""

    @abstractmethod
    def edit(self, gradients: dict[str, torch.Tensor], step: int) -> None:
        """Change the gradients in place; a parameter whose entry is deleted takes no step.

        Args:
            gradients: By the parameter's dotted name, in its shape.
            step: Optimizer steps taken.
        """


class ConstraintIntervention(StepIntervention):
    """A constraint that the parameters meet from the first step of the window to its end, as a mask."""

    @abstractmethod
    def prepare(self, parameters: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Return what is fixed when the window begins; it is kept in the state.

        Args:
            parameters: Every parameter by its dotted name.
        """

    @abstractmethod
    def edit(self, parameters: Mapping[str, torch.Tensor], kept: Mapping[str, torch.Tensor]) -> None:
        """Project the parameters in place: at the start of the window and after each of its steps.

        Args:
            parameters: Every parameter by its dotted name.
            kept: What ``prepare`` returned.
        """


@final
@dataclass(frozen=True, eq=False)
class Probe:
    """How a change of the architecture may try a model before training.

    Attributes:
        batch: A training batch, on the model's device and in its dtype.
        loss: The user's loss of ``(model, batch)``: the only way in which the model is called.
        optimizer: Makes the optimizer of a model.
        seed: Seed of the ``init`` stream; new layers draw from ``derive_seed(seed, "init", path)``.
    """

    batch: Any
    loss: Callable[[nn.Module, Any], torch.Tensor]
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    seed: int


class ArchitectureIntervention(Intervention):
    """A change of the module itself, before training."""

    stage: ClassVar[int] = 3

    @abstractmethod
    def edit(self, model: nn.Module, probe: Probe) -> nn.Module:
        """Return the changed model: a function of the model, this intervention and the shapes of the batch.

        Args:
            model: The caller's own copy, weights drawn: layers that survive keep them.
            probe: How the model may be tried.
        """

    @final
    def edits(self) -> Mapping[str, Edit]:
        """Add this intervention to the changes of the architecture."""
        return {"architecture": lambda changes: (*changes, self)}


class DataIntervention(Intervention):
    """A change of the data itself, before training; every split is changed the same way where it applies."""

    stage: ClassVar[int] = 3

    @abstractmethod
    def edit(self, splits: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the changed splits.

        Args:
            splits: `paribus.engine.data.Source` by the name of the split.
        """

    @final
    def edits(self) -> Mapping[str, Edit]:
        """Add this intervention to the changes of the data."""
        return {"preparation": lambda changes: (*changes, self)}


class ObjectiveIntervention(Intervention):
    """A change of the weights of the objective's named terms, before training."""

    stage: ClassVar[int] = 3

    @abstractmethod
    def edit(self, weights: Mapping[str, float]) -> Mapping[str, float]:
        """Return the weights of the loss terms by name; a name that is absent has weight 1."""

    @final
    def edits(self) -> Mapping[str, Edit]:
        """Change the weights of the terms."""
        return {"terms": self.edit}


def _is_null(intervention: Intervention, null: Mapping[str, object]) -> bool:
    return any(getattr(intervention, name) == value for name, value in null.items())

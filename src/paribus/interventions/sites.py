"""The sites of training at which an intervention acts: one class each, with one method to write.

Within a step the sites are visited in the order of this file: weights, optimizer and its buffers, batch,
activations, gradients, constraint. Interventions at one site act in the order of their first step, then of
their stage, of their class names, of the design. Architecture and data are changed before training; the
weights of the objective's terms are a setting, as hyperparameters are.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from paribus.interventions.base import Edit, Intervention, TimedIntervention
from paribus.interventions.checks import Window
from paribus.interventions.designs import Components
from paribus.interventions.states import LearnerState, StateIntervention, unchecked

if TYPE_CHECKING:
    import torch
    from torch import nn

    from paribus.interventions.settings import OptimizerSetting, Seeds, Training
    from paribus.interventions.splits import Split


class WeightsIntervention(StateIntervention):
    """A change of the parameters, once: in the initial state (step 0) or just before a later step.

    Subclasses are frozen dataclasses with a field ``step: int`` and write ``edit``.

    Attributes:
        null: Values of parameters at which, all together, nothing is changed, as in ``{"epsilon": 0}``.
    """

    null: ClassVar[Mapping[str, object]] = {}

    @abstractmethod
    def edit(self, parameters: Mapping[str, torch.Tensor]) -> None:
        """Change the parameters in place; gradients are not recorded here.

        Args:
            parameters: Every parameter by its dotted name, in the model's own shapes and dtype.
        """

    @final
    def reads(self) -> tuple[()]:
        """Read no state."""
        return ()

    @final
    def change(self, own: LearnerState, read: Sequence[LearnerState]) -> None:
        """Change the parameters."""
        self.edit(own.parameters)

    @final
    def is_null(self, components: Components) -> bool:
        """Tell whether the parameters have the values at which nothing changes."""
        return _is_null(self, self.null)


class SettingIntervention(TimedIntervention):
    """A change of one setting of the configuration while a window lasts; without a window, throughout.

    Subclasses are frozen dataclasses with a field ``when: Window | None = None`` and write ``edit``.

    Attributes:
        component: Name of the setting: ``"optimizer"``, ``"training"``, ``"seeds"`` or ``"terms"``.
    """

    when: Window | None
    component: ClassVar[str]

    @abstractmethod
    def edit(self, setting: Any) -> Any:
        """Return the setting that holds inside the window."""

    @final
    @property
    def span(self) -> tuple[int, int | None]:
        """The window, in steps."""
        return self.when or (0, None)

    @final
    def edits(self) -> Mapping[str, Edit]:
        """Put this intervention on the timeline; without a window it is a plain setting."""
        return {self.component: self.edit} if self.when is None else self._on_timeline()

    @final
    def is_null(self, components: Components) -> bool:
        """Tell whether the window leaves the setting as it is."""
        return bool(self.edit(components[self.component]) == components[self.component])

    @final
    def clipped(self) -> Self:
        """Return the same change without its window."""
        return unchecked(self, when=None)


class HyperparameterIntervention(SettingIntervention):
    """A change of the optimizer's hyperparameters while a window lasts."""

    component: ClassVar[str] = "optimizer"

    @abstractmethod
    def edit(self, setting: OptimizerSetting) -> OptimizerSetting:
        """Return the hyperparameters that hold inside the window."""


class TrainingIntervention(SettingIntervention):
    """A change of the size of batches while a window lasts."""

    component: ClassVar[str] = "training"

    @abstractmethod
    def edit(self, setting: Training) -> Training:
        """Return how a run walks over the data inside the window; the schedule is no part of it."""


class SeedsIntervention(SettingIntervention):
    """A change of the seeds of ``order``, ``forward`` or ``augment`` while a window lasts."""

    component: ClassVar[str] = "seeds"

    @abstractmethod
    def edit(self, setting: Seeds) -> Seeds:
        """Return the seeds of the steps inside the window."""


class StepIntervention(TimedIntervention):
    """A change inside every training step of a window; without a window, of every step.

    Subclasses are frozen dataclasses with a field ``when: Window | None = None``. What they draw is a
    function of their seed, their class, the step and the name of what is changed, and of nothing else.

    Attributes:
        null: Values of parameters at which, all together, nothing is changed, as in ``{"factor": 1}``.
        initial: Whether one that begins at step 0 is part of the initial state.
    """

    when: Window | None
    null: ClassVar[Mapping[str, object]] = {}
    initial: ClassVar[bool] = False

    @final
    @property
    def span(self) -> tuple[int, int | None]:
        """The window, in steps; what is part of the initial state begins at -1."""
        start, stop = self.when or (0, None)
        return (-1, stop) if self.initial and start == 0 and stop != 0 else (start, stop)

    @final
    def edits(self) -> Mapping[str, Edit]:
        """Put this intervention on the timeline."""
        return self._on_timeline()

    @final
    def is_null(self, components: Components) -> bool:
        """Tell whether the parameters have the values at which nothing changes."""
        return _is_null(self, self.null)

    @final
    def clipped(self) -> Self:
        """Return the same change without its window."""
        return unchecked(self, when=None)


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
        """Return the batch to train on.

        What it draws from the global generators of torch, NumPy and Python comes from the ``augment`` stream,
        under a seed of the step's own.

        Args:
            batch: As the data set's collated samples are nested, ``(batch, …)`` tensors.
            step: Optimizer steps taken.
        """


@final
@dataclass(frozen=True, slots=True)
class Call:
    """One call of a submodule in the forward pass of a training step.

    Attributes:
        layer: The submodule's path.
        step: Optimizer steps taken.
        number: How often the submodule was called before in this step.
        place: Which tensor of what the submodule gave, counted from 0.
    """

    layer: str
    step: int
    number: int = 0
    place: int = 0


class ActivationsIntervention(StepIntervention):
    """A change of what submodules give, in the forward pass of training steps; evaluation is not touched.

    Subclasses have a field ``layers``: globs over submodule paths.
    """

    layers: str | tuple[str, ...]

    @abstractmethod
    def edit(self, output: torch.Tensor, call: Call) -> torch.Tensor:
        """Return what the submodule is to give; gradients flow through it.

        Args:
            output: What it gave, ``(batch, …)``; called for each floating tensor of a nested output.
            call: Which layer, step and call this is: what draws depend on, beside the seed.
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
    """A constraint that the parameters meet from the first step of the window to its end, as a mask.

    From step 0 on, it is part of the initial state: the metrics of step 0 see it.
    """

    initial: ClassVar[bool] = True

    @abstractmethod
    def prepare(self, own: LearnerState, read: Sequence[LearnerState]) -> Mapping[str, torch.Tensor]:
        """Return what is fixed when the window begins; it is kept in the state.

        Args:
            own: The learner's state, to read.
            read: The states that it reads, where it is a `StateReader` too.
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
    """A change of the module itself, before training; a gate proves it on copies first.

    Attributes:
        null: Values of parameters at which, all together, nothing is changed.
    """

    stage: ClassVar[int] = 3
    null: ClassVar[Mapping[str, object]] = {}

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
        return {} if _is_null(self, self.null) else {"architecture": lambda changes: (*changes, self)}


class DataIntervention(Intervention):
    """A change of the data itself, before training: of every split alike, or of the one it is about.

    Changes are made by ``turn``: first which samples there are, then their labels, then their features, and
    those of one turn in the order of the design.

    Attributes:
        null: Values of parameters at which, all together, nothing is changed, as in ``{"rate": 0}``.
        turn: Changes of a lower turn are made first.
    """

    stage: ClassVar[int] = 3
    null: ClassVar[Mapping[str, object]] = {}
    turn: ClassVar[int] = 0

    @abstractmethod
    def edit(self, splits: Mapping[str, Split]) -> Mapping[str, Split]:
        """Return the changed splits: a function of the splits and this intervention.

        It is made once before training, and once with splits of which only the first sample can be read:
        how many training samples there are must be known for a plan.

        Args:
            splits: By name; ``train`` is trained on. Nothing is to be changed in place.
        """

    @final
    def edits(self) -> Mapping[str, Edit]:
        """Add this intervention to the changes of the data."""
        return {} if _is_null(self, self.null) else {"preparation": self._added}

    @final
    def _added(self, changes: tuple[DataIntervention, ...]) -> tuple[DataIntervention, ...]:
        return tuple(sorted((*changes, self), key=lambda change: change.turn))


class ObjectiveIntervention(SettingIntervention):
    """A change of the weights of the objective's named terms while a window lasts; without one, throughout.

    What is trained on changes; the loss that is recorded is still the objective's own.
    """

    component: ClassVar[str] = "terms"

    @abstractmethod
    def edit(self, setting: Mapping[str, float]) -> Mapping[str, float]:
        """Return the weights of the loss terms by name; a name that is absent has weight 1."""


def _is_null(intervention: Intervention, null: Mapping[str, object]) -> bool:
    return bool(null) and all(getattr(intervention, name) == value for name, value in null.items())

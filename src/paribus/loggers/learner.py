"""What a metric sees of a learner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, final

if TYPE_CHECKING:
    import torch
    from torch.utils.data import Dataset


@final
@dataclass(frozen=True, eq=False)
class Predictions:
    """Hold the outputs of the model on a whole split, or on one batch of it, in the order of its dataset.

    Attributes:
        loss: Mean loss over the samples.
        outputs: Outputs of the model, (n, …); None where the user's own objective hides them.
        targets: Targets, (n, …); None where the batches have none.
        inputs: Inputs of the model, (n, …), of a batch; None on a whole split.
        terms: Mean of each named term of the loss; empty where the objective gives one number.
    """

    loss: float
    outputs: torch.Tensor | None = None
    targets: torch.Tensor | None = None
    inputs: torch.Tensor | None = None
    terms: Mapping[str, float] = field(default_factory=dict)

    @property
    def correct(self) -> torch.Tensor | None:
        """Tell where the class is predicted right, (n, …) bool; None where the task is no classification.

        It is one where targets are class indices (n, …), and outputs a score for each of several classes
        (n, classes, …).
        """
        outputs, targets = self.outputs, self.targets
        if outputs is None or targets is None or targets.is_floating_point() or outputs.ndim < 2:
            return None
        n, classes, *rest = outputs.shape
        if classes < 2 or (n, *rest) != tuple(targets.shape):
            return None
        return outputs.argmax(dim=1) == targets


class Split(Protocol):
    """One named part of the data, as it is evaluated: in the dataset's order, without augmentation."""

    @property
    def dataset(self) -> Dataset[Any]:
        """Give the dataset as the user gave it."""

    def __len__(self) -> int:
        """Count the samples."""

    def batches(self) -> Iterator[Any]:
        """Yield the batches once, on the model's device."""


class ObservedLearner(Protocol):
    """A learner while it is observed: to read, and never to change.

    The model is in eval mode and gradients are off; `torch.enable_grad()` turns them on inside a metric.
    """

    @property
    def model(self) -> Any:
        """Give the model, a `torch.nn.Module`; `Any`, so that `learner.model.fc1.weight` type-checks."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Give the optimizer with its state."""

    @property
    def step(self) -> int:
        """Count the optimizer steps taken; 0 before any."""

    @property
    def epoch(self) -> float:
        """Count the epochs taken, with their fraction."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Describe the whole configuration."""

    @property
    def splits(self) -> Mapping[str, Split]:
        """Map the names of the splits, such as "train" and "test", to their data."""

    def predictions(self, split: str = "test") -> Predictions:
        """Evaluate the model on a whole split; several metrics at one step share one evaluation."""

    def batches(self, split: str) -> Iterator[Predictions]:
        """Evaluate the model on a split batch by batch, and hold none of them."""

    def blended(self, other: ObservedLearner, weight: float) -> ObservedLearner:
        """Give a learner on the straight line to another: this one at weight 0, the other at 1."""

"""What is minimised: a criterion on outputs and targets, or the user's own objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn
from torch.nn import functional

from paribus.engine.building.nested import tensors_of
from paribus.errors import ObjectiveError, suggest
from paribus.identity import Fingerprint, fingerprint

_OUTPUTS_AND_TARGETS = 2

# A loss, or its terms by name.
Value = torch.Tensor | Mapping[str, torch.Tensor]


class Objective(ABC):
    """A scalar loss of a model on a batch, or several named terms whose sum is the loss."""

    @abstractmethod
    def value(self, model: nn.Module, batch: Any) -> Value:
        """Return the loss, a scalar tensor, averaged over the batch; or its terms."""

    @final
    def loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
        """Return the loss, every term with weight 1."""
        return total(self.value(model, batch))

    @abstractmethod
    def predict(self, model: nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return outputs and targets of a batch, or ``None`` where the objective hides them."""

    @abstractmethod
    def value_of(self, outputs: torch.Tensor, targets: torch.Tensor) -> Value:
        """Return the loss of outputs that ``predict`` gave, or its terms."""

    @abstractmethod
    def fingerprint(self) -> Fingerprint:
        """Return the identity."""


@final
@dataclass(frozen=True, eq=False)
class Criterion(Objective):
    """``function(model(inputs), targets)`` on batches ``(inputs, targets)``."""

    function: Callable[[Any, Any], Value]

    def value(self, model: nn.Module, batch: Any) -> Value:
        """Return the criterion's value on a batch."""
        inputs, targets = batch
        return self.function(model(inputs), targets)

    def predict(self, model: nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return outputs and targets, where both are tensors."""
        inputs, targets = batch
        outputs = model(inputs)
        both = isinstance(outputs, torch.Tensor) and isinstance(targets, torch.Tensor)
        return (outputs, targets) if both else None

    def value_of(self, outputs: torch.Tensor, targets: torch.Tensor) -> Value:
        """Return the criterion's value on outputs."""
        return self.function(outputs, targets)

    def fingerprint(self) -> Fingerprint:
        """Return the identity of the criterion's code."""
        return fingerprint(self.function)


@final
@dataclass(frozen=True, eq=False)
class UserObjective(Objective):
    """The user's ``function(model, batch)``."""

    function: Callable[[nn.Module, Any], Value]

    def value(self, model: nn.Module, batch: Any) -> Value:
        """Return the function's value."""
        return self.function(model, batch)

    def predict(self, model: nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return ``None``: only the function knows how the model is called."""
        return None

    def value_of(self, outputs: torch.Tensor, targets: torch.Tensor) -> Value:
        """Refuse: there are no outputs."""
        raise ObjectiveError("objective: it hides outputs and targets, so there is no loss of them alone")

    def fingerprint(self) -> Fingerprint:
        """Return the identity of the function's code."""
        return fingerprint(self.function)


@final
@dataclass(frozen=True)
class Terms:
    """Several criteria on the same outputs and targets, each a term of the loss.

    Attributes:
        criteria: Name and function, sorted by name: the order of the sum does not depend on the writing.
    """

    criteria: tuple[tuple[str, Callable[[Any, Any], torch.Tensor]], ...]

    def __call__(self, outputs: Any, targets: Any) -> Mapping[str, torch.Tensor]:
        """Return each term by its name."""
        return {name: function(outputs, targets) for name, function in self.criteria}


_UNWEIGHTED: Mapping[str, float] = {}


def total(value: Value, weights: Mapping[str, float] = _UNWEIGHTED) -> torch.Tensor:
    """Sum the terms of a loss in their order; one whose weight is 0 is left out, and not differentiated.

    Args:
        value: A loss, or its terms by name.
        weights: Weights by the name of the term; a name that is absent has weight 1.

    Raises:
        ObjectiveError: A weight is of no term, or no term is left.
    """
    if not isinstance(value, Mapping):
        if weights:
            raise ObjectiveError(
                f"WeightTerm: {next(iter(weights))!r} is no term of the objective, which gives one number; "
                "return a mapping of named terms, as in {'ce': …, 'l2': …}"
            )
        return value
    for name in weights:
        if name not in value:
            raise ObjectiveError(f"WeightTerm: {name!r} is no term of the objective {suggest(name, value)}")
    weighted = [(weights.get(name, 1), term) for name, term in value.items()]
    terms = [term if weight == 1 else weight * term for weight, term in weighted if weight != 0]
    if not terms:
        raise ObjectiveError(
            f"objective: of the terms ({', '.join(value)}) none is left; leave one a weight that is not 0"
        )
    return sum(terms[1:], start=terms[0])


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of logits ``(batch, classes, …)`` and class indices ``(batch, …)``."""
    return functional.cross_entropy(outputs, targets)


def mse(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared error; outputs ``(batch, 1)`` are read as ``(batch,)`` beside such targets."""
    if outputs.ndim == targets.ndim + 1 and outputs.shape[-1] == 1:
        outputs = outputs.squeeze(-1)
    if outputs.shape != targets.shape:
        raise ObjectiveError(
            f"loss 'mse': outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} differ in shape; "
            "give targets the shape of the outputs"
        )
    return functional.mse_loss(outputs, targets)


_NAMED = {"cross_entropy": cross_entropy, "mse": mse}


def choose(loss: object, objective: object, sample: Any) -> Objective:
    """Read ``loss=`` and ``objective=``; with neither, the targets decide.

    Integer targets give cross-entropy, floating ones the mean squared error.

    Args:
        loss: ``"cross_entropy"``, ``"mse"``, or a function or module of ``(outputs, targets)``; or a mapping
            of them: the named terms of the loss.
        objective: A function of ``(model, batch)``, of a loss or of a mapping of its named terms.
        sample: A batch of one training sample.

    Raises:
        ObjectiveError: Both are given, a name is unknown, or a batch is no ``(inputs, targets)``.
    """
    if objective is not None:
        if loss is not None:
            raise ObjectiveError("Experiment: loss= and objective= are both given; give one of the two")
        if not callable(objective):
            raise ObjectiveError(
                f"objective: {objective!r} cannot be called; give a function (model, batch) → loss"
            )
        return UserObjective(objective)
    if not isinstance(sample, tuple | list) or len(sample) != _OUTPUTS_AND_TARGETS:
        raise ObjectiveError(
            f"loss: a sample is {_shape_of(sample)}, no pair (inputs, targets); "
            "give objective=, a function (model, batch) → loss"
        )
    if loss is None:
        return Criterion(_inferred(sample[1]))
    if isinstance(loss, Mapping):
        return Criterion(_terms(loss))
    return Criterion(_criterion(loss))


def _terms(losses: Mapping[Any, Any]) -> Terms:
    if not losses or not all(isinstance(name, str) and name for name in losses):
        raise ObjectiveError(
            f"loss: got a mapping with the names {list(losses)!r}; expected terms by name, as in "
            "{'ce': nn.CrossEntropyLoss(), 'size': …}"
        )
    return Terms(tuple((name, _criterion(losses[name])) for name in sorted(losses)))


def _criterion(loss: Any) -> Callable[[Any, Any], torch.Tensor]:
    if isinstance(loss, str):
        if loss not in _NAMED:
            raise ObjectiveError(f"loss: {loss!r} is no loss {suggest(loss, _NAMED)}")
        return _NAMED[loss]
    if isinstance(loss, type) or not callable(loss):
        raise ObjectiveError(
            f"loss: got {loss!r}; expected a function or a module such as nn.CrossEntropyLoss()"
        )
    function: Callable[[Any, Any], torch.Tensor] = loss
    return function


def _inferred(targets: Any) -> Callable[[Any, Any], torch.Tensor]:
    if not isinstance(targets, torch.Tensor):
        raise ObjectiveError(f"loss: targets are {_shape_of(targets)}; give loss= or objective=")
    return mse if targets.is_floating_point() else cross_entropy


def _shape_of(sample: Any) -> str:
    shapes = [tuple(t.shape) for t in tensors_of(sample)]
    return f"a {type(sample).__name__} of tensors {shapes}"


def check_loss(value: object) -> torch.Tensor:
    """Refuse what cannot be minimised.

    Raises:
        ObjectiveError: The loss is no floating scalar tensor that depends on the parameters.
    """
    if not isinstance(value, torch.Tensor):
        raise ObjectiveError(f"loss: got a {type(value).__name__}; expected a scalar tensor")
    if value.ndim != 0:
        raise ObjectiveError(
            f"loss: got a tensor of shape {tuple(value.shape)}; expected a scalar: reduce it with .mean()"
        )
    if not value.requires_grad:
        raise ObjectiveError(
            "loss: it does not depend on any parameter that requires a gradient; "
            "do not detach it, and leave at least one parameter trainable"
        )
    return value

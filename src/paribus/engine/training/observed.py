"""What a metric sees of a learner while it is trained."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from torch import nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from paribus.engine.building.data import Source
from paribus.engine.building.nested import tensors_of
from paribus.engine.building.objective import Objective, Value, total
from paribus.engine.learners.configuration import Configuration
from paribus.engine.training.state import named_tensors
from paribus.engine.training.watch import Watch
from paribus.errors import MetricError, suggest
from paribus.identity import derive_seed
from paribus.loggers import ObservedLearner, Predictions

Together = Callable[[str], tuple[torch.Tensor, torch.Tensor] | None]


@final
@dataclass(frozen=True, eq=False)
class ObservedSplit:
    """A split as it is evaluated: in its own order, on the model's device.

    Attributes:
        source: Where its batches come from, placed there.
    """

    source: Source

    @property
    def dataset(self) -> Any:
        """The data behind the split: the collated tensors, or the data set that is streamed."""
        return self.source.contents

    def __len__(self) -> int:
        return self.source.samples

    def batches(self) -> Iterator[Any]:
        """Yield the batches once."""
        return self.source.evaluation()


@final
class Observed:
    """A learner at a step, to read and never to change.

    Args:
        model: In eval mode, without gradients.
        optimizer: With its state.
        objective: What is minimised.
        configuration: What decides the run.
        splits: The data by the name of the split.
        step: Optimizer steps taken.
        watch: Is told when the model is evaluated or handed out; ``None``: nobody looks.

    Attributes:
        together: Gives outputs and targets of a split where learners like this one are evaluated as one now.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        configuration: Configuration,
        splits: Mapping[str, ObservedSplit],
        step: int = 0,
        watch: Watch | None = None,
    ) -> None:
        self.objective = objective
        self.configuration = configuration
        self.splits = splits
        self.step = step
        self.together: Together | None = None
        self._model = model
        self._optimizer = optimizer
        self._watch = watch
        self._predictions: dict[str, Predictions] = {}

    def at(self, step: int) -> None:
        """Move to a step; what was evaluated before is forgotten."""
        self.step = step
        self._predictions.clear()

    @property
    def model(self) -> nn.Module:
        """The model, in eval mode."""
        self._hand()
        return self._model

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer with its state."""
        self._hand()
        return self._optimizer

    @property
    def epoch(self) -> float:
        """Epochs taken, with their fraction."""
        return self.configuration.course.epoch(self.step)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The whole configuration, for people."""
        document: Mapping[str, Any] = json.loads(self.configuration.manifest(self.configuration.total))
        return document

    def predictions(self, split: str = "test") -> Predictions:
        """Evaluate the model on a whole split, once a step.

        Raises:
            MetricError: There is no split of that name.
        """
        if split not in self._predictions:
            self._predictions[split] = self._evaluate(split, self._split("predictions", split))
        return self._predictions[split]

    def batches(self, split: str) -> Iterator[Predictions]:
        """Evaluate the model on a split batch by batch; each is let go when the next is asked for.

        Raises:
            MetricError: There is no split of that name.
        """
        for place, batch in enumerate(self._split("batches", split).batches()):
            self._evaluating()
            with self._seeded(place):
                predicted = self.objective.predict(self._model, batch)
                if predicted is None:
                    found = _found(self.objective.value(self._model, batch))
                else:
                    found = _found(self.objective.value_of(*predicted), *predicted, inputs=batch[0])
            yield found

    def _split(self, asked: str, name: str) -> ObservedSplit:
        if name not in self.splits:
            raise MetricError(f"{asked}: {name!r} is no split {suggest(name, self.splits)}")
        return self.splits[name]

    def blended(self, other: ObservedLearner, weight: float) -> Observed:
        """Return a learner on the straight line to another; it shares memory with neither.

        Args:
            other: A learner of equal architecture.
            weight: Share of the other's parameters and floating buffers; other buffers stay this one's.

        Raises:
            MetricError: The models differ in their parameters or buffers.
        """
        model = copy.deepcopy(self.model)
        ours, theirs = named_tensors(model), named_tensors(other.model)
        if {n: t.shape for n, t in ours.items()} != {n: t.shape for n, t in theirs.items()}:
            raise MetricError(
                "blended: the two models have different parameters or buffers; "
                "compare learners of one architecture"
            )
        with torch.no_grad():
            for name, tensor in ours.items():
                if tensor.is_floating_point():
                    tensor.lerp_(theirs[name], weight)
        return Observed(
            model, self._optimizer, self.objective, self.configuration, self.splits, self.step, self._watch
        )

    def _hand(self) -> None:
        if self._watch is not None:
            self._watch.hand()

    def _evaluating(self) -> None:
        if self._watch is not None:
            self._watch.evaluate()
        if torch.is_grad_enabled():  # outputs lead back to the parameters
            self._hand()

    def _evaluate(self, name: str, split: ObservedSplit) -> Predictions:
        if self.together is not None and self._is_as_it_was():
            with self._seeded():
                joined = self.together(name)
                if joined is not None:
                    return _found(self.objective.value_of(*joined), *joined)
        with self._seeded():
            self._evaluating()
            return self._predicted(split)

    def _is_as_it_was(self) -> bool:
        """Tell whether what many gave at once is what the model would give now."""
        if self._watch is not None and self._watch.meddled:
            return False
        modes = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or is_in_torch_dispatch_mode()
        return not modes

    @contextmanager
    def _seeded(self, *place: int) -> Iterator[None]:
        """Seed what the model draws; what the metric draws does not depend on who evaluates first."""
        seed = derive_seed(self.configuration.seeds.forward, "evaluation", self.step, *place)
        before = torch.default_generator.get_state()
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            torch.default_generator.set_state(before)

    def _predicted(self, split: ObservedSplit) -> Predictions:
        outputs, targets, hidden = [], [], []
        for batch in split.batches():
            predicted = self.objective.predict(self._model, batch)
            if predicted is None:
                samples = len(next(tensors_of(batch)))
                hidden.append((samples, _found(self.objective.value(self._model, batch))))
            else:
                outputs.append(predicted[0])
                targets.append(predicted[1])
        if hidden:
            return _mean(hidden)
        joined = torch.cat(outputs), torch.cat(targets)
        return _found(self.objective.value_of(*joined), *joined)


def _found(value: Value, outputs: Any = None, targets: Any = None, inputs: Any = None) -> Predictions:
    terms = {name: _number(term) for name, term in value.items()} if isinstance(value, Mapping) else {}
    return Predictions(_number(total(value)), outputs, targets, inputs, terms)


def _number(term: Any) -> float:
    return float(term.detach() if isinstance(term, torch.Tensor) else term)  # a metric may have gradients on


def _mean(parts: Sequence[tuple[int, Predictions]]) -> Predictions:
    """Return the mean losses of a split from the sizes and the losses of its batches."""
    samples = sum(size for size, _ in parts)
    loss = sum(size * part.loss for size, part in parts) / samples
    names = parts[0][1].terms
    return Predictions(
        loss, terms={name: sum(size * part.terms[name] for size, part in parts) / samples for name in names}
    )


def observed_splits(
    splits: Mapping[str, Source], device: torch.device, dtype: torch.dtype
) -> dict[str, ObservedSplit]:
    """Place the splits on the model's device."""
    return {name: ObservedSplit(source.placed(device, dtype)) for name, source in splits.items()}

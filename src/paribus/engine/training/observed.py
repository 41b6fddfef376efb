"""What a metric sees of a learner while it is trained."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import torch
from torch import nn

from paribus.engine.building.data import Source
from paribus.engine.building.nested import tensors_of
from paribus.engine.building.objective import Objective, Value, total
from paribus.engine.learners.configuration import Configuration
from paribus.engine.training.state import named_tensors
from paribus.errors import MetricError, suggest
from paribus.identity import derive_seed
from paribus.loggers import ObservedLearner, Predictions


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
@dataclass(eq=False)
class Observed:
    """A learner at a step, to read and never to change.

    Attributes:
        model: In eval mode, without gradients.
        optimizer: With its state.
        objective: What is minimised.
        configuration: What decides the run.
        splits: The data by the name of the split.
        step: Optimizer steps taken.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    objective: Objective
    configuration: Configuration
    splits: Mapping[str, ObservedSplit]
    step: int = 0
    _predictions: dict[str, Predictions] = field(default_factory=dict)

    def at(self, step: int) -> None:
        """Move to a step; what was evaluated before is forgotten."""
        self.step = step
        self._predictions.clear()

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
            self._predictions[split] = self._evaluate(self._split("predictions", split))
        return self._predictions[split]

    def batches(self, split: str) -> Iterator[Predictions]:
        """Evaluate the model on a split batch by batch; each is let go when the next is asked for.

        Raises:
            MetricError: There is no split of that name.
        """
        for place, batch in enumerate(self._split("batches", split).batches()):
            with self._seeded(place):
                predicted = self.objective.predict(self.model, batch)
                if predicted is None:
                    found = _found(self.objective.value(self.model, batch))
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
        return dataclasses.replace(self, model=model, _predictions={})

    def _evaluate(self, split: ObservedSplit) -> Predictions:
        with self._seeded():
            return self._predicted(split)

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
            predicted = self.objective.predict(self.model, batch)
            if predicted is None:
                samples = len(next(tensors_of(batch)))
                hidden.append((samples, _found(self.objective.value(self.model, batch))))
            else:
                outputs.append(predicted[0])
                targets.append(predicted[1])
        if hidden:
            return _mean(hidden)
        joined = torch.cat(outputs), torch.cat(targets)
        return _found(self.objective.value_of(*joined), *joined)


def _found(value: Value, outputs: Any = None, targets: Any = None, inputs: Any = None) -> Predictions:
    terms = {name: float(term) for name, term in value.items()} if isinstance(value, Mapping) else {}
    return Predictions(float(total(value)), outputs, targets, inputs, terms)


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

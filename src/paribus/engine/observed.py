"""What a metric sees of a learner while it is trained."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import torch
from torch import nn

from paribus.engine.configuration import Configuration
from paribus.engine.data import Source
from paribus.engine.nested import tensors_of
from paribus.engine.objective import Objective
from paribus.engine.state import named_tensors
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
        return self.step / self.configuration.steps_per_epoch

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
        if split not in self.splits:
            raise MetricError(f"predictions: {split!r} is no split {suggest(split, self.splits)}")
        if split not in self._predictions:
            self._predictions[split] = self._evaluate(self.splits[split])
        return self._predictions[split]

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
        with torch.random.fork_rng(
            devices=[]
        ):  # what the metric draws does not depend on who evaluates first
            torch.default_generator.manual_seed(
                derive_seed(self.configuration.seeds.forward, "evaluation", self.step)
            )
            return self._predicted(split)

    def _predicted(self, split: ObservedSplit) -> Predictions:
        outputs, targets, total = [], [], 0.0
        for batch in split.batches():
            predicted = self.objective.predict(self.model, batch)
            if predicted is None:
                total += float(self.objective.loss(self.model, batch)) * len(next(tensors_of(batch)))
            else:
                outputs.append(predicted[0])
                targets.append(predicted[1])
        if not outputs:
            return Predictions(loss=total / len(split))
        joined = torch.cat(outputs), torch.cat(targets)
        return Predictions(float(self.objective.loss_of(*joined)), *joined)


def observed_splits(
    splits: Mapping[str, Source], device: torch.device, dtype: torch.dtype
) -> dict[str, ObservedSplit]:
    """Place the splits on the model's device."""
    return {name: ObservedSplit(source.placed(device, dtype)) for name, source in splits.items()}

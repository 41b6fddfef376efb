"""How two learners differ: functions ready for metrics of a pair.

Example:
    >>> from paribus.loggers import Logger, barrier, disagreement, distance, register_metric
    >>> class Stability(Logger):
    ...     @register_metric(every=1000, on="end", pair="control")
    ...     def from_control(self, learner, other):
    ...         return {
    ...             "distance": distance(learner, other),
    ...             "disagreement": disagreement(learner, other),
    ...             "barrier": barrier(learner, other, points=5),
    ...         }
    >>> [metric.pair for metric in Stability().metrics()]
    [None, None, 'control']
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from paribus.errors import MetricError
from paribus.loggers.learner import ObservedLearner

if TYPE_CHECKING:
    import torch

_ENDS = 2


def distance(learner: ObservedLearner, other: ObservedLearner, *, relative: bool = False) -> float:
    """Measure the Euclidean distance between all parameters, exactly 0.0 where they are equal.

    Args:
        learner: One learner.
        other: The other, of equal architecture.
        relative: Whether it is divided by the norm of the other's parameters.

    Raises:
        MetricError: The models differ in their parameters.
    """
    ours, theirs = dict(learner.model.named_parameters()), dict(other.model.named_parameters())
    if {n: p.shape for n, p in ours.items()} != {n: p.shape for n, p in theirs.items()}:
        raise MetricError(
            "distance: the two models have different parameters; compare learners of one architecture"
        )
    between = _norm([ours[name].detach().double() - theirs[name].detach().double() for name in theirs])
    return between / _norm([each.detach().double() for each in theirs.values()]) if relative else between


def disagreement(learner: ObservedLearner, other: ObservedLearner, split: str = "test") -> float:
    """Give the share of samples for which two classifiers predict different classes.

    Args:
        learner: One learner.
        other: The other.
        split: Name of the split on which both predict.

    Raises:
        MetricError: There is no such split, or the outputs are no scores of classes ``(n, classes, …)``.
    """
    ours, theirs = _classes(learner, split), _classes(other, split)
    return float((ours != theirs).double().mean())


def barrier(
    learner: ObservedLearner, other: ObservedLearner, split: str = "test", *, points: int = 11
) -> float:
    """Measure the loss barrier on the straight line between two learners' weights.

    With both the weights and the losses of the ends interpolated linearly, it is the most by which the loss
    of a point exceeds the interpolated loss; 0.0 says that no point tried lies above. Floating buffers, such
    as running means, are interpolated too.

    Source: Frankle, Dziugaite, Roy and Carbin, *Linear Mode Connectivity and the Lottery Ticket Hypothesis*,
    ICML 2020; they subtract the mean of the two ends, which is the same where the ends have equal losses.

    Args:
        learner: One end of the line.
        other: The other end, of equal architecture.
        split: Name of the split on which the loss is taken.
        points: How many points, evenly spaced, the ends among them; each between them costs an evaluation.

    Raises:
        MetricError: There is no such split, the models differ, or there are fewer than 2 points.
    """
    if points < _ENDS:
        raise MetricError(f"barrier: points={points!r}; expected at least 2, the two ends")
    start, end = learner.predictions(split).loss, other.predictions(split).loss
    rises = [0.0]
    for place in range(1, points - 1):
        weight = place / (points - 1)
        loss = learner.blended(other, weight).predictions(split).loss
        rises.append(loss - ((1 - weight) * start + weight * end))
    return max(rises)


def _norm(tensors: list[torch.Tensor]) -> float:
    return math.sqrt(sum(float(tensor.square().sum()) for tensor in tensors))


def _classes(learner: ObservedLearner, split: str) -> torch.Tensor:
    outputs = learner.predictions(split).outputs
    if outputs is None or outputs.ndim < _ENDS or outputs.shape[1] < _ENDS:
        found = "no outputs" if outputs is None else f"outputs of shape {tuple(outputs.shape)}"
        raise MetricError(
            f"disagreement: got {found} on {split!r}; expected scores of classes (n, classes, …), "
            "as a classifier with loss= gives"
        )
    return outputs.argmax(dim=1)

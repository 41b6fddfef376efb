"""The logger: the metrics of an experiment, by default loss and accuracy on every split."""

from __future__ import annotations

from typing import final

from paribus import markup
from paribus.errors import MetricError
from paribus.loggers.learner import ObservedLearner
from paribus.loggers.metrics import Metric, Registration, register_metric, registration
from paribus.loggers.schedules import DEFAULT_SCHEDULE, Schedule


class Logger:
    """Record metrics of a learner while it trains, and change nothing in it.

    By default "train/loss", "test/loss", … and, for classification, "train/accuracy", "test/accuracy", … are
    recorded at step 0, at each epoch's end and at the last step; where the loss has named terms, each as
    "test/loss/name". A subclass adds metrics with `register_metric`; a metric of the same name replaces the
    inherited one, and `accuracy = None` in the body of the subclass leaves it out.

    Args:
        schedule: When the metrics are due that name no schedule of their own.
        defaults: Whether loss and accuracy are recorded.
        strict: Whether an exception in a metric fails the learner. By default it fails the metric alone: the
            learner goes on, the summary of the run tells of it, and the next run tries the metric again.

    Example:
        >>> from paribus.loggers import Every, On
        >>> class Depths(Logger):
        ...     @register_metric(on="end")
        ...     def layers(self, learner):
        ...         return len(list(learner.model.children()))
        >>> [metric.name for metric in Depths(schedule=Every(100) | On("end")).metrics()]
        ['loss', 'accuracy', 'layers']

    Raises:
        MetricError: The schedule is no `Schedule`, or the class defines its metrics in contradiction.
    """

    # On the class too, so that a subclass that forgets `super().__init__()` is a logger all the same.
    schedule: Schedule = DEFAULT_SCHEDULE
    defaults: bool = True
    strict: bool = False

    def __init__(
        self, schedule: Schedule = DEFAULT_SCHEDULE, defaults: bool = True, strict: bool = False
    ) -> None:
        if not isinstance(schedule, Schedule):
            raise MetricError(
                f"{type(self).__name__}: schedule={schedule!r} is no Schedule; "
                "give for example Every(100) | On('end')"
            )
        self.schedule = schedule
        self.defaults = defaults
        self.strict = strict
        _registered(type(self))

    @register_metric
    def loss(self, learner: ObservedLearner, split: str) -> object:
        """Give the mean loss over a split, and "loss/name" for each of its named terms."""
        predictions = learner.predictions(split)
        return {"": predictions.loss, **predictions.terms}

    @register_metric
    def accuracy(self, learner: ObservedLearner, split: str) -> object:
        """Give the share of a split that is classified right; nothing where the task is no classification."""
        correct = learner.predictions(split).correct
        return {} if correct is None else correct.double().mean()

    @final
    def metrics(self) -> tuple[Metric, ...]:
        """List the metrics, those of the base classes first.

        Raises:
            MetricError: The class defines its metrics in contradiction.
        """
        return tuple(
            Metric(
                name,
                found.schedule or self.schedule,
                getattr(self, name),
                found.per_split,
                found.pair,
                found.stream,
            )
            for name, found in _registered(type(self)).items()
            if self.defaults or getattr(type(self), name) is not vars(Logger).get(name)
        )

    @final
    def _repr_html_(self) -> str:
        rows = ((metric.name, metric.schedule, metric.over) for metric in self.metrics())
        return markup.titled(type(self).__name__, markup.table(("metric", "when", "of"), rows))


def _registered(logger: type[Logger]) -> dict[str, Registration]:
    """Find the metrics of a class, and refuse those that would be lost or ambiguous.

    Not in `__init_subclass__`: cloudpickle makes a class first and fills it later.
    """
    metrics: dict[str, Registration] = {}
    for owner in reversed(logger.__mro__):
        for name, member in vars(owner).items():
            found = registration(member)
            if owner is not Logger and name in _RESERVED:
                raise MetricError(
                    f"{owner.__name__}: {name!r} is a name of Logger itself; "
                    "give the metric or attribute another name"
                )
            if found is not None:
                _refuse_siblings(logger, name)
                metrics[name] = found
            elif name in metrics:
                _refuse_unregistered(owner, name, member)
                del metrics[name]
    return metrics


def _refuse_siblings(logger: type[Logger], name: str) -> None:
    owners = [owner for owner in logger.__mro__ if registration(vars(owner).get(name)) is not None]
    rival = next((owner for owner in owners if not issubclass(owners[0], owner)), None)
    if rival is not None:
        raise MetricError(
            f"{logger.__name__}: {owners[0].__name__} and {rival.__name__} both register {name!r}, "
            f"expected one; define {name} in {logger.__name__}, or rename one of them"
        )


def _refuse_unregistered(owner: type, name: str, member: object) -> None:
    if member is not None:
        raise MetricError(
            f"{owner.__name__}: {name!r} replaces a metric but is none; "
            f"write @register_metric above it, or {name} = None to leave the metric out"
        )


_RESERVED = {"metrics", "schedule", "defaults", "strict"}

"""Pruners: when a trial that is not promising goes no further. Pure.

A pruner sees costs: values of its metric, smaller is better, at checks that are counted from the start of the
run. What it decides of trial n depends on the values of that trial so far, and on the trials 0 to n − `lag`,
all of which are over; hence not on who finishes first.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np

from paribus.errors import ConfigurationError
from paribus.loggers import Schedule

Costs = tuple[float, ...]


@final
@dataclass(frozen=True)
class Check:
    """What a pruner is shown.

    Attributes:
        number: Of the trial.
        own: Its costs at the checks so far, the last of them now; or, for a pruner of seeds, at the end of
            each seed so far.
        others: The same of the trials that are told, by number; those that were pruned, up to there.
        checks: How many checks a whole run has.
    """

    number: int
    own: Costs
    others: Mapping[int, Costs]
    checks: int

    def costs_now(self) -> list[float]:
        """List the costs of the others at the present check."""
        return [costs[len(self.own) - 1] for costs in self.others.values() if len(costs) >= len(self.own)]


@dataclass(frozen=True)
class Pruner(ABC):
    """A rule that stops trials; without a search, these are the cells of the treatments in their order.

    Where a trial has several seeds, its value at a step is their mean, and they stop together. Declared
    controls are never stopped.

    Attributes:
        metric: What is followed; in a search, by default that of the search.
        direction: ``"minimize"`` or ``"maximize"``.
        at: Steps, or a schedule of them, at which it looks; ``None``: whenever the metric is recorded.
        lag: The trials that are told to it at trial n are 0 to n − `lag`.
    """

    metric: str | None = None
    direction: Literal["minimize", "maximize"] | None = None
    at: Schedule | Iterable[int] | None = None
    lag: int = 4
    over: ClassVar[Literal["steps", "seeds"]] = "steps"
    is_alone: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_count(self, "lag", 1)
        if self.direction not in (None, "minimize", "maximize"):
            raise ConfigurationError(
                f"{type(self).__name__}: direction={self.direction!r}; expected 'minimize' or 'maximize'"
            )
        if self.at is not None and not isinstance(self.at, Schedule):
            object.__setattr__(self, "at", tuple(self.at))
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Refuse values that make no rule."""

    @abstractmethod
    def prunes(self, check: Check) -> bool:
        """Tell whether the trial goes no further."""


@final
@dataclass(frozen=True)
class Median(Pruner):
    """Stop a trial whose best cost so far is worse than the median of the others at this check.

    Attributes:
        startup: Trials that must have come to this check before.
        warmup: Checks at which it does not look yet.
        percentile: Instead of 50: the share of the others, in percent, that a trial must be among.

    Example:
        >>> Median(startup=2).prunes(Check(5, (3.0,), {0: (1.0,), 1: (2.0,)}, checks=4))
        True
    """

    startup: int = 4
    warmup: int = 0
    percentile: float = 50.0

    def check(self) -> None:
        """Refuse counts that are none, and a percentile outside of 0 to 100."""
        _check_count(self, "startup", 1)
        _check_count(self, "warmup", 0)
        if not 0 < self.percentile < 100:
            raise ConfigurationError(f"Median: percentile={self.percentile!r}; expected 0 < percentile < 100")

    def prunes(self, check: Check) -> bool:
        """Compare with the others."""
        others = [cost for cost in check.costs_now() if not math.isnan(cost)]
        if len(check.own) <= self.warmup or len(others) < self.startup:
            return False
        best = min((cost for cost in check.own if not math.isnan(cost)), default=math.inf)
        return best > float(np.percentile(others, self.percentile))


@final
@dataclass(frozen=True)
class SuccessiveHalving(Pruner):
    """Keep the best share of the trials at rungs whose distance grows (Li et al. 2020, asynchronous).

    At the checks `first`, `first` × `factor`, `first` × `factor`², … a trial goes on if it is among the best
    ``1 / factor`` of those that came there before, itself included.

    Attributes:
        first: The first rung, in checks.
        factor: Of the distance, and of the trials that go on.

    Example:
        >>> SuccessiveHalving(factor=2).prunes(Check(2, (3.0,), {0: (1.0,), 1: (2.0,)}, checks=4))
        True
    """

    first: int = 1
    factor: int = 3

    def check(self) -> None:
        """Refuse counts that are none."""
        _check_count(self, "first", 1)
        _check_count(self, "factor", 2)

    def prunes(self, check: Check) -> bool:
        """Look at rungs."""
        found = rungs(self.first, self.factor, check.checks)
        return len(check.own) in found and _is_beaten(check, self.factor)


@final
@dataclass(frozen=True)
class Hyperband(Pruner):
    """Successive halving in brackets, which begin at different rungs; trials take turns (Li et al. 2018).

    Attributes:
        first: The first rung of the first bracket, in checks.
        factor: Of the distance between rungs, and of the trials that go on.

    Example:
        >>> late = Check(1, (3.0,), {0: (1.0,), 2: (2.0,)}, checks=4)
        >>> Hyperband(factor=2).prunes(late)  # the second bracket begins at the second check
        False
    """

    first: int = 1
    factor: int = 3

    def check(self) -> None:
        """Refuse counts that are none."""
        _check_count(self, "first", 1)
        _check_count(self, "factor", 2)

    def prunes(self, check: Check) -> bool:
        """Look at the rungs of the trial's bracket, at the trials in it."""
        found = rungs(self.first, self.factor, check.checks)
        if not found:
            return False
        bracket = check.number % len(found)
        others = {n: costs for n, costs in check.others.items() if n % len(found) == bracket}
        own = Check(check.number, check.own, others, check.checks)
        return len(check.own) in found[bracket:] and _is_beaten(own, self.factor)


@final
@dataclass(frozen=True)
class Wilcoxon(Pruner):
    """Train the seeds of a trial one after another, and stop where it is worse than the best on equal seeds.

    The test is Wilcoxon's signed-rank test of the differences to the best trial that is told, one-sided.

    Attributes:
        p: The trial stops where the test's p is below it. Of n seeds it is 2⁻ⁿ at the least.
        startup: Seeds that are trained before it is tested.

    Example:
        >>> seeds = Check(1, (2.0, 2.1, 2.2, 2.4), {0: (1.0, 1.3, 1.1, 1.2)}, checks=4)
        >>> Wilcoxon(p=0.1).prunes(seeds)
        True
    """

    p: float = 0.1
    startup: int = 2
    over: ClassVar[Literal["steps", "seeds"]] = "seeds"

    def check(self) -> None:
        """Refuse a level that is none."""
        _check_count(self, "startup", 1)
        if not 0 < self.p < 1:
            raise ConfigurationError(f"Wilcoxon: p={self.p!r}; expected a level between 0 and 1, such as 0.1")

    def prunes(self, check: Check) -> bool:
        """Compare with the best of those that have all seeds."""
        from scipy.stats import wilcoxon

        whole = [costs for costs in check.others.values() if len(costs) == check.checks]
        if len(check.own) < self.startup or not whole:
            return False
        best = min(whole, key=lambda costs: sum(costs) / len(costs))
        differences = np.subtract(check.own, best[: len(check.own)])
        if not differences.any() or not np.isfinite(differences).all():
            return False
        return bool(wilcoxon(differences, alternative="greater").pvalue < self.p)


@final
@dataclass(frozen=True)
class Divergence(Pruner):
    """Stop a trial whose metric is worse than a bound, or no number.

    Attributes:
        bound: In the metric's unit.

    Example:
        >>> Divergence(bound=10.0).prunes(Check(0, (1.0, 11.0), {}, checks=4))
        True
    """

    bound: float = math.inf
    is_alone: ClassVar[bool] = True

    def check(self) -> None:
        """Refuse what is no bound."""
        if isinstance(self.bound, bool) or not isinstance(self.bound, int | float) or math.isnan(self.bound):
            raise ConfigurationError(f"Divergence: bound={self.bound!r}; expected a number")

    def prunes(self, check: Check) -> bool:
        """Look at the last cost."""
        (bound,) = costs_of([self.bound], self.direction) if math.isfinite(self.bound) else (math.inf,)
        last = check.own[-1]
        return math.isnan(last) or last == math.inf or last > bound


@final
@dataclass(frozen=True)
class Plateau(Pruner):
    """Stop a trial that has ceased to improve.

    Attributes:
        patience: Checks in a row without an improvement.
        least: What counts as one: more than this, in the metric's unit.

    Example:
        >>> Plateau(patience=2).prunes(Check(0, (3.0, 1.0, 1.1, 1.0), {}, checks=9))
        True
    """

    patience: int = 3
    least: float = 0.0
    is_alone: ClassVar[bool] = True

    def check(self) -> None:
        """Refuse counts that are none."""
        _check_count(self, "patience", 1)
        if not self.least >= 0:
            raise ConfigurationError(f"Plateau: least={self.least!r}; expected a number of at least 0")

    def prunes(self, check: Check) -> bool:
        """Compare the last checks with those before."""
        before, last = check.own[: -self.patience], check.own[-self.patience :]
        return bool(before) and not min(last) < min(before) - self.least


def rungs(first: int, factor: int, checks: int) -> list[int]:
    """List the checks at which successive halving looks."""
    found = []
    rung = first
    while rung <= checks:
        found.append(rung)
        rung *= factor
    return found


def _is_beaten(check: Check, factor: int) -> bool:
    """Tell whether a trial is not among the best share of those that came to this check, itself included."""
    costs = sorted([*check.costs_now(), check.own[-1]])
    return not check.own[-1] <= costs[max(len(costs) // factor, 1) - 1]


def _check_count(pruner: Pruner, name: str, least: int) -> None:
    value = getattr(pruner, name)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(
            f"{type(pruner).__name__}: {name}={value!r}; expected a whole number of at least {least}"
        )


def costs_of(values: Sequence[float], direction: str | None) -> Costs:
    """Write values of a metric as costs: smaller is better."""
    return tuple(-value if direction == "maximize" else value for value in values)

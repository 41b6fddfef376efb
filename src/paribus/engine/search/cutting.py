"""How far trials go under a pruner: as far as they are decided, and up to the next check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from paribus.engine.learners.configuration import Configuration
from paribus.engine.learners.designs import Cell
from paribus.engine.planning.plan import Stop, horizon_of
from paribus.engine.search.pruning import Check, Costs, Pruner, costs_of
from paribus.engine.search.scores import Scores
from paribus.engine.search.search import check_metrics, recorded_by
from paribus.engine.search.studies import by_treatments
from paribus.errors import ConfigurationError
from paribus.loggers import At, Metric, Schedule
from paribus.store import Store


@final
@dataclass(frozen=True, eq=False)
class Cut:
    """How far a trial goes.

    Attributes:
        status: ``"open"`` while something of it is not trained or not decided, ``"pruned"``, ``"over"``.
        stops: For each of its learners, where it stops now; ``None``: nowhere.
        course: Steps and values of the followed metric, where it is pruned.
    """

    status: str
    stops: tuple[Stop | None, ...]
    course: tuple[tuple[int, float], ...] = ()


@final
class Checks:
    """The steps at which a pruner looks at learners.

    Args:
        pruner: The rule, with its metric.
        metrics: What the logger records.
    """

    def __init__(self, pruner: Pruner, metrics: Sequence[Metric]) -> None:
        name = str(pruner.metric)
        self._pruner = pruner
        self._schedules = [m.schedule for m in metrics if m.pair is None and recorded_by(m, name)]
        self._found: dict[tuple[int, int, tuple[int, ...]], tuple[int, ...]] = {}

    def of(self, configuration: Configuration) -> tuple[int, ...]:
        """List the steps at which the pruner looks at a learner.

        Raises:
            ConfigurationError: There is none, or the metric is not recorded at one.
        """
        horizon = horizon_of(configuration)
        memo = (horizon.total, horizon.per_epoch, horizon.interventions)
        if memo not in self._found or horizon.epochs:
            due = {step for schedule in self._schedules for step in schedule.steps(horizon)}
            at = self._pruner.at
            asked = due if at is None else set((at if isinstance(at, Schedule) else At(at)).steps(horizon))
            found = tuple(sorted(step for step in asked if 0 < step < horizon.total))
            unrecorded = [step for step in found if step not in due]
            if unrecorded or not found:
                where = f"at step {unrecorded[0]}" if unrecorded else "between the first step and the last"
                raise ConfigurationError(
                    f"{type(self._pruner).__name__}: {self._pruner.metric!r} is not recorded {where}, where "
                    "the pruner looks at it; let its schedule be Every(…) | On('end')"
                )
            self._found[memo] = found
        return self._found[memo]


@final
class Cutter:
    """Applies a pruner to trials, in their order.

    Args:
        pruner: The rule, with metric and direction.
        checks: When it looks at a learner.
        scores: Tells how learners did; its digests are those of the pruner's metric.
    """

    def __init__(self, pruner: Pruner, checks: Checks, scores: Scores) -> None:
        self._pruner = pruner
        self._name = str(pruner.metric)
        self._checks = checks
        self._scores = scores
        self._costs: dict[int, Costs] = {}
        self._over = 0
        self._number = 0

    def start(self) -> None:
        """Begin a study anew, with what the store holds now."""
        self._scores.forget()
        self._costs, self._over, self._number = {}, 0, 0

    def cut(self, configurations: Sequence[Configuration]) -> Cut:
        """Decide how far the next trial goes.

        Args:
            configurations: Its learners, one for each combination of the seeds.
        """
        walk = self._over_seeds if self._pruner.over == "seeds" else self._over_steps
        cut, costs = walk(configurations)
        if cut.status != "open" and self._over == self._number:
            self._over += 1  # the trials from 0 on that are all over
        if cut.status != "open":
            self._costs[self._number] = costs
        self._number += 1
        return cut

    def _others(self) -> dict[int, Costs] | None:
        """Return the costs of the trials that are told; ``None`` as long as one of them is open."""
        told = self._number - self._pruner.lag + 1
        if self._pruner.is_alone:
            return {}
        return None if self._over < told else {n: self._costs[n] for n in range(max(told, 0))}

    def _over_steps(self, configurations: Sequence[Configuration]) -> tuple[Cut, Costs]:
        lost = {self._scores.of(each, ()).status for each in configurations} & {"diverged", "failed"}
        checks = [self._checks.of(each) for each in configurations]
        course: list[tuple[int, float]] = []
        costs: Costs = ()
        whole: tuple[Stop | None, ...] = (None,) * len(configurations)
        for steps in zip(*checks, strict=False):
            pairs = zip(configurations, steps, strict=True)
            values = [self._scores.at(each, self._name, step) for each, step in pairs]
            there = [value for value in values if value is not None]
            if len(there) < len(values):
                break
            course.append((steps[0], sum(there) / len(there)))
            costs = costs_of([value for _, value in course], self._pruner.direction)
            others = self._others()
            if others is None:
                break
            if self._pruner.prunes(Check(self._number, costs, others, len(checks[0]))):
                return Cut("pruned", tuple(Stop(step, True) for step in steps), tuple(course)), costs
        else:
            is_open = any(self._scores.of(each, ()).status == "open" for each in configurations)
            return Cut("open" if is_open else "over", whole), costs
        if lost:
            return Cut("over", whole), costs
        return Cut("open", tuple(Stop(step, False) for step in steps)), costs

    def _over_seeds(self, configurations: Sequence[Configuration]) -> tuple[Cut, Costs]:
        count = len(configurations)
        ends: list[float] = []
        for place, each in enumerate(configurations):
            score = self._scores.of(each, (self._name,))
            if score.status in ("diverged", "failed") or (score.status == "done" and not score.values):
                return Cut("over", (None,) * count), ()
            if score.status == "open":
                begun = max(place + 1, getattr(self._pruner, "startup", 1))
                return Cut("open", _first(begun, count, pruned=False)), ()
            ends.append(score.values[0])
            costs = costs_of(ends, self._pruner.direction)
            others = self._others()
            if others is None:
                return Cut("open", _first(place + 1, count, pruned=False)), costs
            if place + 1 < count and self._pruner.prunes(Check(self._number, costs, others, count)):
                return Cut("pruned", _first(place + 1, count, pruned=True)), costs
        return Cut("over", (None,) * count), costs


@final
class PrunedCells:
    """The cells of a grid without a search, under a pruner: the treatments are its trials, in their order.

    Args:
        cells: All cells.
        cutter: Applies the pruner.
    """

    def __init__(self, cells: Sequence[Cell], cutter: Cutter) -> None:
        self._trials = [group for group in by_treatments(cells) if not any(cell.control for cell in group)]
        self._cutter = cutter

    def stops(self) -> Mapping[str, Stop]:
        """Tell where learners stop now, by key."""
        self._cutter.start()
        found: list[tuple[str, Stop | None]] = []
        for group in self._trials:
            configurations = [cell.configuration for cell in group]
            cut = self._cutter.cut(configurations)
            found += zip((each.key() for each in configurations), cut.stops, strict=True)
        return united(found)


def make_cutter(
    pruner: object,
    metrics: Sequence[Metric],
    configurations: Sequence[Configuration],
    opened: Callable[[], Store],
) -> Cutter:
    """Make what applies a pruner, and refuse one that cannot be before the store is opened.

    Raises:
        ConfigurationError: It is none, its metric or its direction is missing or unknown, or a run has no
            check.
    """
    if not isinstance(pruner, Pruner):
        raise ConfigurationError(f"Experiment: pruner={pruner!r}; expected Median('test/loss', 'minimize')")
    name = type(pruner).__name__
    if pruner.metric is None or pruner.direction is None:
        missing = "metric" if pruner.metric is None else "direction"
        raise ConfigurationError(
            f"{name}: the {missing} is missing; give it, as in {name}('test/loss', 'minimize')"
        )
    if any(each.is_opaque for each in configurations):
        raise ConfigurationError(f"{name}: train= hides the steps of a run; leave one of the two out")
    digests = check_metrics([pruner.metric], metrics, configurations[0], name)
    checks = Checks(pruner, metrics)
    if pruner.over == "steps":
        for each in configurations:
            checks.of(each)
    return Cutter(pruner, checks, Scores(opened(), digests))


def united(stops: Iterable[tuple[str, Stop | None]]) -> Mapping[str, Stop]:
    """Unite the stops of learners, by key: one that is in several trials goes as far as the longest."""
    found: dict[str, Stop | None] = {}
    for key, stop in stops:
        other = found.get(key, stop)
        found[key] = None if stop is None or other is None else max(stop, other, key=lambda each: each.step)
    return {key: stop for key, stop in found.items() if stop is not None}


def _first(begun: int, count: int, *, pruned: bool) -> tuple[Stop | None, ...]:
    """Let the first seeds go on to the end, and the others not begin."""
    return tuple(None if place < begun else Stop(0, pruned) for place in range(count))

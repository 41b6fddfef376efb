"""`Search`: how the search dimensions of an experiment are filled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, final

from paribus.engine.building.work import REPORTED
from paribus.engine.learners.configuration import Configuration
from paribus.engine.planning.plan import horizon_of
from paribus.engine.search.pruning import Pruner
from paribus.errors import ConfigurationError, suggest
from paribus.loggers import Metric

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

Direction = Literal["minimize", "maximize"]
PLANNED = ("sobol", "random", "grid")
ADAPTIVE = ("tpe", "cmaes", "gp", "nsga2")


@final
@dataclass(frozen=True)
class Search:
    """How search dimensions are filled: one trial is one value for each of them.

    By default each cell of the treatments is a study of its own, with an equal number of trials: a sampler
    that sees several arms gives the better one more trials, and so biases their difference. The replicate
    seeds of a cell are beside it: a trial is trained under each, and its value is their mean. Trial 0 has the
    values that training has without the search, where these lie in their ranges.

    ``"sobol"``, ``"random"`` and ``"grid"`` look at no result: all their trials are known when the experiment
    is planned. The others are adaptive: trial n is asked for after exactly the trials 0 to n − `lag` are
    told, in order, so that suggestions do not depend on who finishes first.

    Attributes:
        metric: A scalar metric, by name, at the last step; several of them: a search for a front.
        direction: ``"minimize"`` or ``"maximize"``, one for each metric.
        trials: Of each study; with ``"grid"`` it may be left out: then every point.
        sampler: ``"sobol"``, ``"random"``, ``"grid"``, ``"tpe"``, ``"cmaes"``, ``"gp"``, ``"nsga2"``; an
            Optuna sampler with a seed; or what makes one, as ``TPESampler`` or a partial of it: it is given
            ``seed=``.
        per: ``"cell"``: one study for each cell of the treatments; ``"joint"``: one, which chooses the cell.
        lag: Trials of an adaptive study that run side by side; part of its identity.
        pruner: Stops trials that are not promising; ``None``: none.
        seed: Of the sampler.
        timeout: Seconds of a run after which an adaptive sampler is asked no more.

    Raises:
        ConfigurationError: One of them is none.

    Example:
        >>> Search("valid/loss", "minimize", trials=16).is_adaptive
        False
    """

    metric: str | Sequence[str]
    direction: Direction | Sequence[Direction] | None = None
    trials: int | None = None
    sampler: str | BaseSampler | Callable[..., BaseSampler] = "sobol"
    per: Literal["cell", "joint"] = "cell"
    lag: int = 4
    pruner: Pruner | None = None
    seed: int = 0
    timeout: float | None = None

    def __post_init__(self) -> None:
        _check_directions(self.metrics, self.directions)
        if self.trials is not None or self.sampler != "grid":
            _check_count("trials", self.trials, 1)
        _check_count("lag", self.lag, 1)
        _check_count("seed", self.seed, 0)
        if self.per not in ("cell", "joint"):
            raise ConfigurationError(f"Search: per={self.per!r}; expected 'cell' or 'joint'")
        if self.pruner is not None and not isinstance(self.pruner, Pruner):
            raise ConfigurationError(f"Search: pruner={self.pruner!r}; expected one such as Median()")
        if self.pruner is not None and len(self.metrics) > 1:
            raise ConfigurationError(
                "Search: a pruner follows one metric, and this search has "
                f"{len(self.metrics)}; leave the pruner out, or search for one"
            )
        self._check_sampler()
        if self.timeout is not None and not (self.timeout > 0 and self.is_adaptive):
            raise ConfigurationError(
                f"Search: timeout={self.timeout!r} with sampler={self.sampler!r}; expected seconds, with an "
                "adaptive sampler: the others ask for all trials before the run"
            )

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics, also where there is one."""
        return (self.metric,) if isinstance(self.metric, str) else tuple(self.metric)

    @property
    def directions(self) -> tuple[str | None, ...]:
        """The directions, also where there is one."""
        given = self.direction
        return (given,) if given is None or isinstance(given, str) else tuple(given)

    @property
    def is_adaptive(self) -> bool:
        """Whether the sampler looks at results."""
        return self.sampler not in PLANNED

    def _check_sampler(self) -> None:
        if isinstance(self.sampler, str) and self.sampler not in PLANNED + ADAPTIVE:
            raise ConfigurationError(
                f"Search: {self.sampler!r} is no sampler {suggest(self.sampler, PLANNED + ADAPTIVE)}"
            )
        if self.is_adaptive:
            require("optuna", "optuna", f"sampler={self.sampler!r}")
        if self.sampler == "cmaes":
            require("cmaes", "cmaes", "sampler='cmaes'")
        if not isinstance(self.sampler, str):
            from paribus.engine.search.samplers import identity_of

            identity_of(self.sampler)  # refuses what is none


def require(module: str, package: str, what: str) -> None:
    """Refuse what needs a package that is not installed.

    Raises:
        ConfigurationError: It is not.
    """
    if find_spec(module) is None:
        raise ConfigurationError(f"Search: {what} needs {package}; pip install 'paribus[search]'")


def check_metrics(
    names: Sequence[str], metrics: Sequence[Metric], configuration: Configuration, owner: str = "Search"
) -> list[str]:
    """Refuse metrics that no logger records, or not at the last step; return the digests of those that do.

    Args:
        names: The metrics of a search.
        metrics: What the logger records.
        configuration: Of a learner.
        owner: Who asks for them.

    Raises:
        ConfigurationError: A name is that of none.
    """
    known = [metric for metric in metrics if metric.pair is None]
    found = []
    for name in names:
        own = [metric for metric in known if recorded_by(metric, name)]
        if not own and configuration.is_opaque:  # what the user's function reports is not known before
            found.append(REPORTED)
            continue
        if not own:
            listed = [f"test/{each.name}" if each.per_split else each.name for each in known]
            raise ConfigurationError(f"{owner}: no logger records {name!r} {suggest(name, listed)}")
        horizon = horizon_of(configuration)
        if not any(configuration.total in metric.schedule.steps(horizon) for metric in own):
            raise ConfigurationError(
                f"{owner}: {name!r} is not recorded at the last step, {configuration.total}; "
                "let its schedule be | On('end')"
            )
        found += [metric.digest.hex() for metric in own]
    return found


def recorded_by(metric: Metric, name: str) -> bool:
    """Tell whether a metric may record a value of a name: its own, or one under it."""
    own = metric.name if metric.stream is None else f"{metric.stream}/{metric.name}"
    below = name.partition("/")[2] if metric.per_split else name
    return below == own or below.startswith(f"{own}/")


def _check_directions(metrics: Sequence[object], directions: Sequence[object]) -> None:
    if not metrics or not all(isinstance(name, str) and name for name in metrics):
        raise ConfigurationError(
            f"Search: metric={metrics!r}; expected a name such as 'valid/loss', or several"
        )
    if directions == (None,):
        raise ConfigurationError(
            f"Search: the direction of {metrics[0]!r} is missing; give direction='minimize' or 'maximize'"
        )
    for direction in directions:
        if direction not in ("minimize", "maximize"):
            raise ConfigurationError(f"Search: direction={direction!r}; expected 'minimize' or 'maximize'")
    if len(metrics) != len(directions):
        raise ConfigurationError(
            f"Search: {len(metrics)} metrics and {len(directions)} directions; give one direction for each"
        )


def _check_count(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"Search: {name}={value!r}; expected a whole number of at least {least}")

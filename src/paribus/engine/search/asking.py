"""Optuna, asked and told in a fixed order."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection
from optuna.trial import TrialState

from paribus.engine.learners.configuration import describe
from paribus.engine.search.samplers import make_sampler
from paribus.engine.search.search import Search
from paribus.engine.search.studies import CELL, Study, Suggestion
from paribus.engine.search.suggestions import Asked, Event, Told
from paribus.interventions.dimensions import Categorical, Dimension, Float, Int

_STATES = {"done": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@final
class Names:
    """Between a study of ours and the names, distributions and values of Optuna's."""

    def __init__(self, study: Study) -> None:
        self._study = study
        spaces = [arm.space for arm in study.arms]
        shared = {
            name: len({space[name] for space in spaces if name in space}) == 1
            for space in spaces
            for name in space
        }
        self._names = [
            {name: name if shared[name] else f"{name} [{arm.label}]" for name in arm.space}
            for arm in study.arms
        ]
        self.choice = (
            CategoricalDistribution([arm.label for arm in study.arms]) if len(study.arms) > 1 else None
        )

    def distributions(self, arm: int) -> dict[str, BaseDistribution]:
        """Return the distributions of an arm by Optuna's names."""
        space = self._study.arms[arm].space
        return {own: distribution_of(space[name]) for name, own in self._names[arm].items()}

    def written(self, suggestion: Suggestion) -> dict[str, Any]:
        """Write a suggestion as Optuna's parameters."""
        space, names = self._study.arms[suggestion.arm].space, self._names[suggestion.arm]
        values = {names[n]: _external(space[n], value) for n, value in suggestion.values.items()}
        return {CELL: self._study.arms[suggestion.arm].label, **values} if self.choice else values

    def read(self, arm: int, parameters: Mapping[str, Any]) -> Suggestion:
        """Read Optuna's parameters."""
        space = self._study.arms[arm].space
        return Suggestion(
            arm, {name: _internal(space[name], parameters[own]) for name, own in self._names[arm].items()}
        )

    def arm_of(self, label: str) -> int:
        """Find the arm of a label."""
        return next(place for place, arm in enumerate(self._study.arms) if arm.label == label)


@final
class Asker:
    """One study of Optuna's, which is brought to a past before it is asked.

    Samplers keep generators and caches. A past that the study has not been through, as in a new process, is
    gone through again from the start; where another Optuna suggests otherwise than is known, with what is
    known.
    """

    def __init__(self, search: Search, study: Study) -> None:
        self._search = search
        self._study = study
        self._names = Names(study)
        self._start()

    def suggest(self, events: Sequence[Event]) -> Any:
        """Return what is suggested after everything that was asked and told, as `Study.encoded` writes it."""
        with quiet():
            if not self._follow(events):
                self._start()
                if not self._follow(events):
                    self._start(forced=True)
                    self._follow(events)
            found = self._ask(None)
            self._past.append(Asked(found))
            return found

    def _start(self, *, forced: bool = False) -> None:
        with quiet():
            sampler = make_sampler(self._search.sampler, self._search.seed)
            directions = [StudyDirection[str(each).upper()] for each in self._search.directions]
            self._optuna = optuna.create_study(sampler=sampler, directions=directions)
        self._past: list[Event] = []
        self._trials: list[optuna.Trial] = []
        self._forced = forced

    def _follow(self, events: Sequence[Event]) -> bool:
        """Go on to a past; tell whether the study came to it."""
        if self._past != list(events[: len(self._past)]):
            return False
        for event in events[len(self._past) :]:
            match event:
                case Asked(known):
                    if self._ask(known if self._forced else None) != known:
                        return False
                case Told():
                    self._tell(event)
            self._past.append(event)
        return True

    def _ask(self, known: Any) -> Any:
        fixed = None if known is None else self._study.decoded(known)
        if fixed is None and not self._trials and self._study.arms[0].defaults:
            fixed = Suggestion(0, self._study.arms[0].defaults)
        if fixed is not None:
            self._optuna.enqueue_trial(self._names.written(fixed))
        arm, trial = 0, self._optuna.ask(self._names.distributions(0) if self._names.choice is None else {})
        if self._names.choice is not None:
            arm = self._names.arm_of(str(trial.suggest_categorical(CELL, self._names.choice.choices)))
            for name, distribution in self._names.distributions(arm).items():
                _suggest(trial, name, distribution)
        self._trials.append(trial)
        return self._study.encoded(self._names.read(arm, trial.params))

    def _tell(self, event: Told) -> None:
        trial = self._trials[event.number]
        for step, value in event.course:
            trial.report(value, step)
        self._optuna.tell(
            trial, list(event.values) or None, state_of(event.status, len(self._search.metrics))
        )


def state_of(status: str, metrics: int) -> TrialState:
    """Say how a trial ended in Optuna's words: what diverged is bad, as what is pruned; not merely absent."""
    if status == "diverged":
        return TrialState.PRUNED if metrics == 1 else TrialState.FAIL
    return _STATES[status]


def distribution_of(dimension: Dimension) -> BaseDistribution:
    """Write a dimension as a distribution of Optuna's."""
    match dimension:
        case Float(low, high, log, step):
            return FloatDistribution(low, high, log=log, step=step)
        case Int(low, high, log, step):
            return IntDistribution(low, high, log=log, step=step)
        case Categorical(values):
            return CategoricalDistribution(_choices(values))
    raise TypeError(dimension)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's log, and its warnings about experimental parts, to itself."""
    handlers = {handler: handler.level for handler in logging.getLogger("optuna").handlers}
    try:
        for handler in handlers:  # not the logger: its level empties caches of all loggers
            handler.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        for handler, level in handlers.items():
            handler.setLevel(level)


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> None:
    match distribution:
        case FloatDistribution():
            trial.suggest_float(
                name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
            )
        case IntDistribution():
            trial.suggest_int(
                name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
            )
        case CategoricalDistribution():
            trial.suggest_categorical(name, distribution.choices)


def _choices(values: Sequence[Any]) -> list[Any]:
    """Return values as Optuna can store them: what is no scalar as words, told apart."""
    words = [v if v is None or isinstance(v, bool | int | float | str) else str(describe(v)) for v in values]
    return [f"{word} ({place})" if words.count(word) > 1 else word for place, word in enumerate(words)]


def _external(dimension: Dimension, value: Any) -> Any:
    if isinstance(dimension, Categorical):
        return _choices(dimension.values)[dimension.values.index(value)]
    return value


def _internal(dimension: Dimension, value: Any) -> Any:
    if isinstance(dimension, Categorical):
        return dimension.values[_choices(dimension.values).index(value)]
    return value

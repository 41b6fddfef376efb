"""A search as a study of Optuna's, for its visualisations and its dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from paribus.engine.search.asking import Names, quiet, state_of
from paribus.engine.search.search import Search
from paribus.engine.search.studies import CELL, Study
from paribus.engine.search.trials import Trial
from paribus.errors import ConfigurationError

_OURS = "paribus"


@final
@dataclass(frozen=True, eq=False)
class Exported:
    """A trial with what was recorded on its way.

    Attributes:
        trial: The trial.
        course: The mean of the first metric over the seeds, by step.
    """

    trial: Trial
    course: dict[int, float]


def export_study(
    search: Search, study: Study, trials: Sequence[Exported], storage: str | Path | None, name: str
) -> optuna.Study:
    """Write a study's trials as a study of Optuna's.

    Args:
        search: How it was filled.
        study: The study.
        trials: What is known of it.
        storage: A file, or a URL of Optuna's; ``None``: in memory.
        name: Under which it is stored; one that was written here before is replaced.

    Raises:
        ConfigurationError: The storage has another study of that name.
    """
    names = Names(study)
    directions = [StudyDirection[str(direction).upper()] for direction in search.directions]
    with quiet():
        made = optuna.create_study(
            storage=None if storage is None else _free(_url(storage), name),
            study_name=name,
            directions=directions,
        )
        made.set_user_attr(_OURS, study.identity.hex())
        if len(search.metrics) > 1:
            made.set_metric_names(list(search.metrics))
        made.add_trials(_frozen(each, names, len(directions)) for each in trials)
    return made


def _frozen(exported: Exported, names: Names, metrics: int) -> FrozenTrial:
    trial = exported.trial
    state = TrialState.RUNNING if trial.status == "open" else state_of(trial.status, metrics)
    distributions = names.distributions(trial.suggestion.arm)
    if names.choice is not None:
        distributions = {CELL: names.choice, **distributions}
    return optuna.trial.create_trial(
        state=state,
        values=list(trial.values) if state == TrialState.COMPLETE else None,
        params=names.written(trial.suggestion),
        distributions=distributions,
        user_attrs={"learners": [cell.configuration.key() for cell in trial.cells], "status": trial.status},
        intermediate_values=exported.course if metrics == 1 else {},
    )


def _url(storage: str | Path) -> str:
    text = str(storage)
    return text if "://" in text else f"sqlite:///{text}"


def _free(url: str, name: str) -> str:
    """Make room for a study; one that was not written here stays."""
    found = [each for each in optuna.get_all_study_summaries(url) if each.study_name == name]
    if found and _OURS not in found[0].user_attrs:
        raise ConfigurationError(
            f"study: the storage {url!r} has another study {name!r}; give another name= or another file"
        )
    if found:
        optuna.delete_study(study_name=name, storage=url)
    return url

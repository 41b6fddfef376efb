"""Intervention experiments on PyTorch training: change one thing, hold everything else equal.

Names are loaded when they are first used, so that ``import paribus`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from paribus.engine.learners.collection import collection_paused

if TYPE_CHECKING:
    from paribus.engine.learners.designs import leave_k_out, leave_one_out, one_at_a_time, pairs
    from paribus.engine.results.importance import permutation_importance
    from paribus.engine.running.executors import Executor, Joblib, Local, Ray, Serial
    from paribus.engine.search.pruning import (
        Divergence,
        Hyperband,
        Median,
        Plateau,
        SuccessiveHalving,
        Wilcoxon,
    )
    from paribus.engine.search.search import Search
    from paribus.engine.training.opaque import TrainableLearner
    from paribus.errors import ParibusError
    from paribus.experiment import Experiment
    from paribus.interventions.dimensions import Categorical, Float, Int
    from paribus.learner import Learner
    from paribus.loggers import Logger, register_metric
    from paribus.store import Store

_HOMES = {
    "Categorical": "paribus.interventions.dimensions",
    "Divergence": "paribus.engine.search.pruning",
    "Executor": "paribus.engine.running.executors",
    "Experiment": "paribus.experiment",
    "Float": "paribus.interventions.dimensions",
    "Hyperband": "paribus.engine.search.pruning",
    "Int": "paribus.interventions.dimensions",
    "Joblib": "paribus.engine.running.executors",
    "Learner": "paribus.learner",
    "Local": "paribus.engine.running.executors",
    "Logger": "paribus.loggers",
    "Median": "paribus.engine.search.pruning",
    "ParibusError": "paribus.errors",
    "Plateau": "paribus.engine.search.pruning",
    "Ray": "paribus.engine.running.executors",
    "Search": "paribus.engine.search.search",
    "Serial": "paribus.engine.running.executors",
    "Store": "paribus.store",
    "SuccessiveHalving": "paribus.engine.search.pruning",
    "TrainableLearner": "paribus.engine.training.opaque",
    "Wilcoxon": "paribus.engine.search.pruning",
    "leave_k_out": "paribus.engine.learners.designs",
    "leave_one_out": "paribus.engine.learners.designs",
    "one_at_a_time": "paribus.engine.learners.designs",
    "pairs": "paribus.engine.learners.designs",
    "permutation_importance": "paribus.engine.results.importance",
    "register_metric": "paribus.loggers",
}

__all__ = [
    "Categorical",
    "Divergence",
    "Executor",
    "Experiment",
    "Float",
    "Hyperband",
    "Int",
    "Joblib",
    "Learner",
    "Local",
    "Logger",
    "Median",
    "ParibusError",
    "Plateau",
    "Ray",
    "Search",
    "Serial",
    "Store",
    "SuccessiveHalving",
    "TrainableLearner",
    "Wilcoxon",
    "leave_k_out",
    "leave_one_out",
    "one_at_a_time",
    "pairs",
    "permutation_importance",
    "register_metric",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'paribus' has no attribute {name!r}")
    with collection_paused():  # a fifth of torch's import
        home = importlib.import_module(_HOMES[name])
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)

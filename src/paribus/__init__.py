"""Intervention experiments on PyTorch training: change one thing, hold everything else equal.

Names are loaded when they are first used, so that ``import paribus`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paribus.engine.learners.designs import leave_k_out, leave_one_out, one_at_a_time, pairs
    from paribus.engine.results.importance import permutation_importance
    from paribus.engine.running.executors import Executor, Joblib, Serial
    from paribus.errors import ParibusError
    from paribus.experiment import Experiment
    from paribus.learner import Learner
    from paribus.loggers import Logger, register_metric
    from paribus.store import Store

_HOMES = {
    "Executor": "paribus.engine.running.executors",
    "Experiment": "paribus.experiment",
    "Joblib": "paribus.engine.running.executors",
    "Learner": "paribus.learner",
    "Logger": "paribus.loggers",
    "ParibusError": "paribus.errors",
    "Serial": "paribus.engine.running.executors",
    "Store": "paribus.store",
    "leave_k_out": "paribus.engine.learners.designs",
    "leave_one_out": "paribus.engine.learners.designs",
    "one_at_a_time": "paribus.engine.learners.designs",
    "pairs": "paribus.engine.learners.designs",
    "permutation_importance": "paribus.engine.results.importance",
    "register_metric": "paribus.loggers",
}

__all__ = [
    "Executor",
    "Experiment",
    "Joblib",
    "Learner",
    "Logger",
    "ParibusError",
    "Serial",
    "Store",
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
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

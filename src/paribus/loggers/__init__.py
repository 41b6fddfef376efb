"""Loggers: which metrics are recorded, when, and under which names."""

from __future__ import annotations

from paribus.loggers.comparisons import barrier, disagreement, distance
from paribus.loggers.learner import ObservedLearner, Predictions, Split
from paribus.loggers.logger import Logger
from paribus.loggers.metrics import Metric, register_metric
from paribus.loggers.schedules import (
    DEFAULT_SCHEDULE,
    At,
    Every,
    Horizon,
    On,
    Schedule,
    first_when,
    log_spaced,
)
from paribus.loggers.values import Histogram, Value, flatten

__all__ = [
    "DEFAULT_SCHEDULE",
    "At",
    "Every",
    "Histogram",
    "Horizon",
    "Logger",
    "Metric",
    "ObservedLearner",
    "On",
    "Predictions",
    "Schedule",
    "Split",
    "Value",
    "barrier",
    "disagreement",
    "distance",
    "first_when",
    "flatten",
    "log_spaced",
    "register_metric",
]

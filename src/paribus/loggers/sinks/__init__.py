"""Sinks: what learners recorded, written where other programs show it; writing twice makes no duplicates."""

from __future__ import annotations

from paribus.loggers.sinks.base import LearnerRun, Sink, choose_sink, learner_runs
from paribus.loggers.sinks.csv import CSV
from paribus.loggers.sinks.mlflow import MLflow
from paribus.loggers.sinks.tensorboard import TensorBoard
from paribus.loggers.sinks.wandb import WandB

__all__ = ["CSV", "LearnerRun", "MLflow", "Sink", "TensorBoard", "WandB", "choose_sink", "learner_runs"]

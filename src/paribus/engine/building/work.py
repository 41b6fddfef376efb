"""What a segment needs to be trained, wherever it is trained: pure values in, an outcome out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from paribus.engine.building.data import Source
from paribus.engine.building.model import ModelSource
from paribus.engine.building.objective import Objective
from paribus.engine.learners.configuration import Configuration
from paribus.loggers import Logger

REPORTED = "reported by train"  # stands in rows, and in records, where a metric of the logger has its name


@final
@dataclass(frozen=True, eq=False)
class Work:
    """What all learners of an experiment share.

    Attributes:
        model: Makes models.
        objective: What is minimised.
        splits: The data by the name of the split; ``train`` is trained on.
        logger: What is recorded.
        train: The user's own function that trains a learner; ``None``: the engine does, step by step.
    """

    model: ModelSource
    objective: Objective
    splits: Mapping[str, Source]
    logger: Logger
    train: Callable[[Any], object] | None = None


@final
@dataclass(frozen=True)
class Task:
    """One segment to train.

    Attributes:
        key: Key of the state at ``stop``.
        parent: Key of the state at ``start``; ``None`` where the segment starts from drawn weights.
        start: First step to train.
        stop: Step after the last one.
        configuration: Of any learner that passes through.
        due: For each metric by name, the steps in ``(start, stop]`` at which it is recorded; a segment that
            starts from drawn weights also records step 0.
        reads: Keys of the states of other trajectories that it starts with.
        inputs: Digests of these states by key, once they are there.
    """

    key: str
    parent: str | None
    start: int
    stop: int
    configuration: Configuration
    due: Mapping[str, tuple[int, ...]]
    reads: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        key: The task's key.
        status: ``done``, ``diverged``, ``failed``, or ``blocked`` above a failed segment.
        step: The step reached: ``stop``, or where the loss ceased to be finite.
        rows: For each metric by name, its steps and, by value name, its values; `REPORTED` is the name of
            what the user's own training reported.
        finite: Whether every number of the final model is finite.
        seconds: Wall time of the segment.
        error: The exception's last line, where it failed.
        traceback: The whole traceback, where it failed.
        state: Digest of the stored state, where it is done.
        skipped: Whether it was not trained at all, because its past failed or diverged.
        trained: Steps that this run trained for it: those that another driver had saved are not among them.
        broken: For each metric that raised, by name, at which step and the exception's last line.
    """

    key: str
    status: str
    step: int
    rows: Mapping[str, Any]
    finite: bool = True
    seconds: float = 0.0
    error: str = ""
    traceback: str = ""
    state: str | None = None
    skipped: bool = False
    trained: int = 0
    broken: Mapping[str, str] = field(default_factory=dict)

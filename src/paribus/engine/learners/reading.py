"""What a user writes, read into values, and refused where it cannot be run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from paribus.engine.learners.collection import collection_paused
from paribus.engine.learners.configuration import Configuration
from paribus.engine.learners.designs import Cell
from paribus.errors import ConfigurationError, LevelError
from paribus.interventions.schedules import as_schedule
from paribus.interventions.settings import OptimizerSetting, Training
from paribus.loggers import At, Logger, Schedule


def read_logger(logger: object) -> Logger:
    """Read ``logger=``.

    Raises:
        ConfigurationError: It is no logger.
    """
    if logger is None:
        return Logger()
    if not isinstance(logger, Logger):
        raise ConfigurationError(f"logger: got {logger!r}; expected an instance of a Logger subclass")
    return logger


def read_checkpoints(checkpoints: Schedule | Iterable[int] | None) -> Schedule | None:
    """Read ``checkpoints=``: a schedule, or steps."""
    return checkpoints if checkpoints is None or isinstance(checkpoints, Schedule) else At(checkpoints)


def read_training(batch_size: object, schedule: object) -> Training:
    """Read ``batch_size=`` and ``schedule=``.

    Raises:
        ConfigurationError: One of them is none.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigurationError(
            f"Experiment: batch_size={batch_size!r}; expected a whole number of at least 1"
        )
    return Training(batch_size, as_schedule(schedule))


def check_any(cells: Sequence[Cell]) -> None:
    """Refuse a grid without a cell.

    Raises:
        LevelError: There is none.
    """
    if not cells:
        raise LevelError("interventions: the grid is empty; give at least one level to each intervention")


def distinct(cells: Sequence[Cell]) -> list[Cell]:
    """Keep one cell per learner; where one of equal cells is a control, that one.

    Learners that differ only in what begins after their last step stay apart, and share their whole run: how
    many learners a grid has does not depend on how long they are trained.
    """
    kept: dict[object, Cell] = {}
    with collection_paused():
        for cell in cells:
            late = [event.restricted(2**62) for event in cell.configuration.late]
            key = (cell.configuration.key(), *late)
            if key not in kept or (cell.control and not kept[key].control):
                kept[key] = cell
    return list(kept.values())


@collection_paused()  # a quarter of what torch imports for its first optimizer
def check_optimizers(learners: Iterable[Configuration]) -> None:
    """Make each distinct optimizer once, on a parameter of its own, so that bad values are refused here."""
    seen: set[bytes] = set()
    for learner in learners:
        component = learner.components["optimizer"]
        if component.digest in seen:
            continue
        seen.add(component.digest)
        setting: OptimizerSetting = component.value
        make: Any = setting.kind
        try:
            make([torch.nn.Parameter(torch.zeros(1))], **dict(setting.hyperparameters))
        except (TypeError, ValueError) as error:
            raise LevelError(f"{setting.kind.__name__}: {error}; give a value that it accepts") from error

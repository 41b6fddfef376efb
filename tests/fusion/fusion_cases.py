"""Runs in both forms, and how they are compared."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from paribus import Experiment
from paribus.engine.building.work import Outcome
from paribus.engine.fusion import Fuse
from paribus.engine.fusion.together import Together
from paribus.engine.training.state import State

DEVICE = os.environ.get("PARIBUS_TEST_DEVICE", "cpu")
Ends = dict[str, tuple[State | None, Outcome]]


def walked(exp: Experiment, fuse: Fuse, folder: Path | None = None) -> Ends:
    """Train all of an experiment's segments, whatever is ready at once; nothing but verdicts is stored."""
    waiting, ends = list(exp.plan().tasks()), {}
    together = Together(exp.work, fuse, folder)
    while waiting or together:
        ready = [task for task in waiting if task.parent is None or task.parent in ends]
        waiting = [task for task in waiting if task not in ready]
        for task in ready:
            state = None if task.parent is None else ends[task.parent][0]
            if task.parent is None or state is not None:
                together.admit(task, lambda state=state: (state, {}))
        for end, outcome in together.advance():
            ends[outcome.key] = end, outcome
    return ends


def differences(ends: Ends, others: Ends) -> list[str]:
    """List what differs: segments, statuses, rows, tensors."""
    found = [f"segments {ends.keys() ^ others.keys()}"] if ends.keys() != others.keys() else []
    for key in ends.keys() & others.keys():
        (one, first), (two, second) = ends[key], others[key]
        if _told(first) != _told(second):
            found.append(f"{key}: {_told(first)} against {_told(second)}")
        if (one is None) != (two is None):
            found.append(f"{key}: only one has an end")
        elif one is not None and two is not None:
            found += [f"{key}: {name}" for name in _unequal(one, two)]
    return found


def _told(outcome: Outcome) -> Any:
    return outcome.status, outcome.step, str(outcome.rows), outcome.finite, outcome.error, outcome.broken


def _unequal(one: State, two: State) -> list[str]:
    names = [*(one.tensors.keys() ^ two.tensors.keys())]
    names += ["plain"] if one.plain != two.plain else []
    return names + [
        n for n in one.tensors.keys() & two.tensors.keys() if not _same(one.tensors[n], two.tensors[n])
    ]


def _same(one: torch.Tensor, two: torch.Tensor) -> bool:
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    return torch.equal(*(t.reshape(-1).view(torch.uint8) for t in (one, two)))

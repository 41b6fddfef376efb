"""What a model changes beside its parameters and buffers is in no state, and a run says so."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learning_cases import experiment, run
from paribus.engine.proving.unsaved import UnsavedStateWarning
from paribus.models import MLP


class Remembering(nn.Module):
    """Changes something in each forward pass in training."""

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self.body = MLP(4, (8,), 3)
        for name, value in values.items():
            setattr(self.body, name, value)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.remember(self.body)
        return self.body(inputs)

    def remember(self, body: Any) -> None:
        """Change the values."""


class Counting(Remembering):
    def remember(self, body: Any) -> None:
        body.calls += 1


class CountingByClass(Remembering):
    calls = 0

    def remember(self, body: Any) -> None:
        self.calls += 1


class Averaging(Remembering):
    def remember(self, body: Any) -> None:
        body.mean = 0.9 * body.mean + 1.0


class Caching(Remembering):
    def remember(self, body: Any) -> None:
        body.seen, body.mask = True, torch.ones(3)


class Normed(Remembering):
    """Its layer's weight is a plain attribute that is computed anew in each forward pass."""

    def __init__(self) -> None:
        super().__init__(graph=torch.eye(3).to_sparse())
        torch.nn.utils.spectral_norm(self.body.fc1)


class Buffered(Remembering):
    def __init__(self) -> None:
        super().__init__()
        self.body.register_buffer("calls", torch.zeros(()))

    def remember(self, body: Any) -> None:
        body.calls += 1


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Counting(calls=0), r"model: body\.calls \(0 → 1\): changed .*register_buffer"),
        (CountingByClass, r"model: calls \(0 → 1\)"),
        (lambda: Averaging(mean=torch.zeros(2)), r"model: body\.mean: changed"),
        (lambda: Averaging(mean=float("nan"), calls=0), None),
        (lambda: Caching(seen=False, mask=None), None),
        (Normed, None),
        (Buffered, None),
        (Remembering, None),
    ],
)
def test_a_run_warns_of_what_no_state_holds(folder: Path, make: Any, told: str | None) -> None:
    exp = experiment(folder, model=make)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnsavedStateWarning)
        assert not run(exp).failed
    found = [str(each.message) for each in caught if each.category is UnsavedStateWarning]
    assert found == [] if told is None else re.match(told, *found)

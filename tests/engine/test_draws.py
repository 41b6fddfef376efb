"""A model that draws from Python's generator only later has the same bits wherever its run is cut."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import nn

from learning_cases import POINTS
from paribus import Experiment


class LateGambler(nn.Module):
    """Draws from Python's generator from the eighth training step on."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 3)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.body(inputs)
        if self.training:
            self.passes += 1
            if self.passes > 7:
                outputs = outputs * random.random()
        return outputs


@pytest.mark.parametrize("cuts", [[3], [7], [8, 9], [11]])
def test_same_bits_wherever_a_late_draw_is_cut(tmp_path: Path, cuts: list[int]) -> None:
    def final(name: str, checkpoints: list[int] | None) -> torch.Tensor:
        exp = Experiment(LateGambler, POINTS, steps=12, store=tmp_path / name, checkpoints=checkpoints)
        assert exp.run(progress=False).failed == ()
        return exp[0].checkpoint().model.body.weight

    assert torch.equal(final("whole", None), final("cut", cuts))

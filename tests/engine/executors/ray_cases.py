"""Models that tell an agent from its driver."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import torch
from torch import nn

from learning_cases import Stochastic, taken

DRIVER = "PARIBUS_TEST_DRIVER"


def in_agent() -> bool:
    """Tell whether this process is another than the driver, which wrote its number down."""
    here = str(os.getpid())
    return os.environ.get(DRIVER, here) != here


class Deadly(nn.Module):
    """Kills the agent that trains it, once: the first that takes the flag away."""

    def __init__(self, flag: str) -> None:
        super().__init__()
        self.flag = flag
        self.body = Stochastic()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training and in_agent() and taken(self.flag):
            os.kill(os.getpid(), signal.SIGKILL)
        return self.body(inputs)


class Halting(Deadly):
    """Lets the agent that takes the flag say on which node it is, and wait there for its end."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training and in_agent() and taken(self.flag):
            import ray

            note = Path(self.flag + ".writing")
            note.write_text(ray.get_runtime_context().get_node_id())
            note.rename(self.flag + ".halted")
            threading.Event().wait()
        return self.body(inputs)

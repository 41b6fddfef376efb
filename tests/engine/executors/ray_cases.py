"""A model that stops where it is trained."""

from __future__ import annotations

import threading
from pathlib import Path

import torch

from learning_cases import Deadly, in_agent, taken


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

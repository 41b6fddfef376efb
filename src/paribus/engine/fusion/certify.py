"""The proof of a group: the same steps in both forms, compared bit by bit, before one is trusted."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import final

from paribus.engine.fusion.group import Group
from paribus.engine.fusion.trace import Untraceable

# Steps in both forms; the steps that follow are the same program on other numbers.
_STEPS = 3


@final
@dataclass
class Certificate:
    """What is known of a program: on how many steps it was proven, and how quick it is.

    Attributes:
        proven: Steps on which both forms had the same bits.
        refused: Why the learners are trained alone; ``None`` where they need not be.
        together: The shortest time that a step as a group took.
        alone: The same, one learner after another.
    """

    proven: int = 0
    refused: str | None = None
    together: float = float("inf")
    alone: float = float("inf")

    @property
    def holds(self) -> bool:
        """Whether the group is proven."""
        return self.proven >= _STEPS and self.refused is None

    def prove(self, group: Group, step: int, *, quicker: bool) -> bool:
        """Take a step in both forms; tell whether it was taken.

        Where the verdict is a refusal, the learners have tensors of their own afterwards.

        Args:
            group: The learners, with the batches of the step.
            step: The step.
            quicker: Whether the group must be quicker, too.
        """
        before = group.copies()
        group.leave(before)
        try:
            if group.shape not in group.programs:
                group.write()
            group.bind()
            began = time.perf_counter()
            losses = group.step(step)
            self.together = min(self.together, time.perf_counter() - began)
        except Untraceable as reason:
            self.refused = str(reason)
        except Exception as error:  # whatever it is, learners alone have it too, or have none
            self.refused = f"its program fails: {' '.join(str(error).split())}"
        group.leave(before)
        if self.refused is not None:
            return False
        began = time.perf_counter()
        went = group.step_alone(step)
        self.alone = min(self.alone, time.perf_counter() - began)
        self.proven += 1
        if not group.agrees(losses, went):
            self.refused = "its bits differ"
        elif quicker and self.proven >= _STEPS and self.together > self.alone:
            self.refused = "it is no quicker"
        else:
            group.bind()
        return True

    def write(self, group: Group) -> None:
        """Write a program that was proven in another group of this kind."""
        before = group.copies()
        group.leave(before)
        group.write()
        group.bind()

"""The proof of a group: the same steps in both forms, compared bit by bit, before one is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from paribus.engine.fusion.device import clock
from paribus.engine.fusion.group import Group, Shape
from paribus.engine.fusion.trace import Untraceable
from paribus.engine.fusion.verdicts import Verdict
from paribus.errors import in_one_line

# Steps in both forms; the steps that follow are the same program on other numbers.
_STEPS = 3
# Learners that are compared in a step where not all are.
_SPREAD = 4
# A group that is slower by less than this may be quicker another day: its refusal is for this process.
_CLEARLY = 1.1


@final
@dataclass
class Certificate:
    """What is known of a program: on how many steps it was proven, and how quick it is.

    Attributes:
        compared: Steps that were taken in both forms.
        proven: Steps on which both had the same bits, here or where a proof was remembered.
        refused: Why the learners are trained alone; ``None`` where they need not be.
        lasting: Whether the refusal is worth remembering.
        whole: Whether all learners are compared in the first step, and not only some.
        together: The shortest time that a step as a group took, in seconds.
        alone: The same, one learner after another.
    """

    compared: int = 0
    proven: int = 0
    refused: str | None = None
    lasting: bool = True
    whole: bool = True
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
        before = group.saved()
        losses = self._step(group, step) if self.refused is None else None
        if losses is None:
            group.leave(before)
            return False
        some = self._some(len(group.runs))
        rest = [row for row in range(len(group.runs)) if row not in some]
        group.leave(before, some)
        went = self._step_alone(group, step, some)
        self._judge(group.agrees(losses, went, some), any(went), quicker=quicker)
        if self.refused is None:
            group.bind(some)
            for row in rest:
                group.runs[row].loss = losses[row]
        else:
            group.leave(before, rest)
            group.step_alone(step, rest)
        return True

    def _step(self, group: Group, step: int) -> list[float] | None:
        """Take a step as a group, where that can be."""
        try:
            if group.shape not in group.programs:
                group.write()
            began = clock(group.device)
            losses = group.step(step)
        except Untraceable as reason:
            self.refused = str(reason)
        except Exception as error:  # whatever it is, learners alone have it too, or have none
            self.refused, self.lasting = f"its program fails: {in_one_line(error)}", False
        else:
            self.together = min(self.together, clock(group.device) - began)
            return losses
        return None

    def _some(self, rows: int) -> range:
        """Choose who is compared in this step: all, or some that stand apart, each time others."""
        apart = -(-rows // _SPREAD)
        return range(rows) if self.whole and not self.proven else range(self.proven % apart, rows, apart)

    def _step_alone(self, group: Group, step: int, rows: range) -> list[bool]:
        """Take the same step learner by learner, some of them."""
        went = []
        for row in rows:
            began = clock(group.device)
            went += group.step_alone(step, [row])
            if went[-1]:
                self.alone = min(self.alone, (clock(group.device) - began) * len(group.runs))
        return went

    def _judge(self, agrees: bool, some: bool, *, quicker: bool) -> None:
        """Count a step that was compared, where some went on, and refuse the group where it must be."""
        self.compared += 1
        self.proven += some
        if not agrees:
            self.refused = "its bits differ"
        elif quicker and self.proven >= _STEPS and self.together > self.alone:
            self.refused, self.lasting = "it is no quicker", self.together > _CLEARLY * self.alone


@final
class Certificates:
    """What is known of the programs of groups of one kind and size, by the shape of a batch.

    Attributes:
        refused: Why there are no such groups; ``None`` where nothing is against them.

    Args:
        place: Kind and size.
        folder: Where verdicts are remembered for other processes; ``None``: nowhere.
        familiar: Whether groups of this kind were proven in another size: then a few learners are compared.
    """

    def __init__(self, place: object = None, folder: Path | None = None, *, familiar: bool = False) -> None:
        self._place = place
        self._folder = folder
        self._familiar = familiar
        self._found: dict[Shape, Certificate] = {}
        self._told: dict[Shape, Verdict] = {}
        self.refused: str | None = None

    @property
    def compared(self) -> int:
        """Steps that were taken in both forms."""
        return sum(each.compared for each in self._found.values())

    @property
    def holds(self) -> bool:
        """Whether a group of this kind and size was proven."""
        return any(each.holds for each in self._found.values())

    def of(self, shape: Shape) -> Certificate:
        """Return what is known of the program for a shape."""
        if shape not in self._found:
            self._found[shape] = self._remembered(shape)
        return self._found[shape]

    def _remembered(self, shape: Shape) -> Certificate:
        verdict = Verdict.read(self._folder, (self._place, shape))
        if verdict is None:
            return Certificate(whole=not self._familiar and not self.holds)
        self._told[shape] = verdict
        if verdict.refused is not None:
            return Certificate(refused=verdict.refused)
        return Certificate(proven=_STEPS - 1, together=0.0)  # one step is compared all the same, not timed

    def remember(self) -> None:
        """Write down the verdicts that are new."""
        for shape, each in self._found.items():
            verdict = Verdict(each.refused)
            settled = each.holds if each.refused is None else each.lasting
            if settled and self._told.get(shape) != verdict:
                self._told[shape] = verdict
                verdict.write(self._folder, (self._place, shape))

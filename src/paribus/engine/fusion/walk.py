"""Learners of one kind on their way to the first of their ends, as one group."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import final

from paribus.engine.building.work import Outcome, Task
from paribus.engine.fusion.certify import Certificates
from paribus.engine.fusion.evaluation import Evaluation
from paribus.engine.fusion.group import Group
from paribus.engine.fusion.interrupts import Interrupted, interrupts_wait
from paribus.engine.training.journal import Saver
from paribus.engine.training.segment import Progress, Run, failed
from paribus.engine.training.state import State
from paribus.errors import StoreError, in_one_line


@final
@dataclass(eq=False)
class Member:
    """A segment that is trained.

    Attributes:
        task: The segment.
        past: Gives the state at its start, and the states that it reads.
        progress: Called now and then with the step and the loss.
        saver: Saves it now and then.
        until: The step up to which one learner goes on, from its end on by other segments.
        run: Its moving parts, where they were made.
        seconds: Its share of the time that was taken.
        over: What became of it, if it is over before its end.
        refused: Why it goes on alone; ``None`` where it need not.
    """

    task: Task
    past: Callable[[], tuple[State | None, Mapping[str, State]]]
    progress: Progress
    saver: Saver | None
    until: int
    run: Run | None = None
    seconds: float = 0.0
    over: Outcome | None = None
    refused: str | None = None

    @property
    def step(self) -> int:
        """Where it is."""
        return self.task.start if self.run is None else self.run.step

    @property
    def going(self) -> Run:
        """Its moving parts."""
        assert self.run is not None
        return self.run

    @property
    def saves(self) -> bool:
        """Whether its progress is to be saved now."""
        return self.saver is not None and self.saver.due


@final
class Walk:
    """Advances the members of a group.

    Args:
        group: Their places.
        certificates: What is known of its programs, by the shape of a batch; it is added to.
        evaluation: Evaluates its members.
        quicker: Whether the group is to be given up where it is no quicker.
    """

    def __init__(
        self,
        group: Group,
        certificates: Certificates,
        evaluation: Evaluation,
        *,
        quicker: bool,
    ) -> None:
        self._group = group
        self._evaluation = evaluation
        self._certificates = certificates
        self._quicker = quicker
        self._due: Set[int] = frozenset()

    def to(self, members: Sequence[Member], stop: int) -> str | None:
        """Advance members to a step; tell why they are to go on alone, where they are.

        Raises:
            StoreError: Progress cannot be saved.
            Interrupted: After a step; the members have tensors of their own.
        """
        began = time.perf_counter()
        try:
            with interrupts_wait() as ask:
                refused = self._advance(members, stop, ask)
        except StoreError:
            raise
        except Exception as error:  # one of them, or the group: alone from the start it shows
            refused = f"a step fails: {in_one_line(error)}"
            for member in members:
                member.run = None
        for member in members:
            member.seconds += (time.perf_counter() - began) / len(members)
        return refused

    def _advance(self, members: Sequence[Member], stop: int, ask: Callable[[], None]) -> str | None:
        group = self._group
        group.take([member.going for member in members])
        self._due = {stop}.union(*(member.going.record.steps for member in members))
        for step in range(members[0].going.step, stop):
            self._ask(members, step, ask)
            group.load(step)
            certificate = self._certificates.of(group.shape)
            if certificate.holds:
                if group.shape not in group.programs:
                    group.write()
                losses = group.step(step)
                if self._is_quiet(members[0].going, step + 1, losses):
                    continue
                for member, loss in zip(members, losses, strict=True):
                    member.going.loss = loss
            elif not certificate.prove(group, step, quicker=self._quicker):
                return certificate.refused
            self._reached(members, step + 1, bound=certificate.refused is None)
            if certificate.refused is not None:
                return certificate.refused
        group.leave()
        return None

    def _ask(self, members: Sequence[Member], step: int, ask: Callable[[], None]) -> None:
        """Let an interrupt come before a step."""
        try:
            ask()
        except Interrupted:
            self._group.leave()
            for member in members:
                member.going.step = step
            raise

    def _is_quiet(self, first: Run, step: int, losses: Sequence[float]) -> bool:
        """Tell whether nothing is to be done for any member after a step."""
        return step not in self._due and not first.tells and all(map(math.isfinite, losses))

    def _reached(self, members: Sequence[Member], step: int, *, bound: bool) -> None:
        going = [member for member in members if member.over is None]
        if bound and any(step in member.going.record.steps or member.saves for member in going):
            self._group.show()
        finite = [member.going for member in going if math.isfinite(member.going.loss)]
        with self._evaluation.of([run for run in finite if step in run.record.steps]):
            for member in going:
                self._told(member, step)

    def _told(self, member: Member, step: int) -> None:
        run = member.going
        if not math.isfinite(run.loss):
            run.step = step - 1
            member.over = run.outcome("diverged", None, member.seconds)
            return
        try:
            run.reached(step, member.progress, member.saver)
        except StoreError:
            raise
        except Exception as error:
            member.over = failed(member.task, error, member.seconds)

"""Segments that are ready, trained as groups where that is exact and pays, and alone otherwise."""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from paribus.engine.building.architecture import model_digest
from paribus.engine.building.data import preserved_draws
from paribus.engine.building.work import Outcome, Task, Work
from paribus.engine.fusion import Fuse, worth
from paribus.engine.fusion.alone import obstacle_of
from paribus.engine.fusion.certify import Certificate
from paribus.engine.fusion.group import Group, Shape, shares
from paribus.engine.fusion.kinds import kind_of, most, obstacle_in, signature_of
from paribus.engine.fusion.rows import stride_of
from paribus.engine.fusion.walk import Member, Walk
from paribus.engine.training.journal import Saver
from paribus.engine.training.segment import Progress, Run, failed, numerics, train
from paribus.engine.training.state import State
from paribus.errors import StoreError

Past = tuple[State | None, Mapping[str, State]]
Ended = tuple[State | None, Outcome]


@final
@dataclass
class Record:
    """What this process knows of groups of one kind and size.

    Attributes:
        certificates: By the shape of a batch.
        refused: Why there are no such groups; ``None`` where nothing is against them.
    """

    certificates: dict[Shape, Certificate] = field(default_factory=dict)
    refused: str | None = None


known: dict[object, Record] = {}


@final
class Together:
    """Trains segments; those that may be one group now are.

    Args:
        work: What all of them share.
        fuse: How many learners are one group at most; ``"auto"``: as many as pay, and none where it does not;
            ``False``: none.
    """

    def __init__(self, work: Work, fuse: Fuse = "auto") -> None:
        self._work = work
        self._fuse = fuse
        self._new: deque[Member] = deque()
        self._alone: deque[Member] = deque()
        self._large: set[bytes] = set()
        self._ready: dict[object, list[Member]] = {}
        self._groups: dict[object, Group] = {}
        self._ended: list[Ended] = []

    def __bool__(self) -> bool:
        return bool(self._new or self._alone or self._ready or self._ended)

    def admit(
        self,
        task: Task,
        past: Callable[[], Past],
        progress: Progress = lambda step, loss: None,
        saver: Saver | None = None,
    ) -> None:
        """Take a segment.

        Args:
            task: The segment.
            past: Gives the state at its start, and the states that it reads.
            progress: Called now and then with the step reached and the loss there.
            saver: Saves its progress.
        """
        member = Member(task, past, progress, saver)
        none = self._fuse is False or task.start == task.stop
        if none or obstacle_of(task.configuration, task.start, opaque=self._work.train is not None):
            self._alone.append(member)
        else:
            self._new.append(member)

    def advance(self) -> list[Ended]:
        """Train until some segments are over; return their final states and outcomes.

        Raises:
            StoreError: Progress cannot be saved.
        """
        while self and not self._ended:
            if self._new:
                self._make(self._new.popleft())
            elif self._alone:
                self._finish_alone(self._alone.popleft())
            else:
                self._turn(min(self._ready, key=lambda kind: self._ready[kind][0].going.step))
        ended, self._ended = self._ended, []
        return ended

    def _make(self, member: Member) -> None:
        """Make a member's model and optimizer; of models too large for a group, never several at a time."""
        task, digest = member.task, model_digest(member.task.configuration)
        if digest in self._large:
            self._alone.append(member)
            return
        began = time.perf_counter()
        try:
            with numerics(task.configuration.numerics), preserved_draws():
                member.run = Run(task, self._work, *member.past())
        except StoreError:
            raise
        except Exception as error:
            self._ended.append((None, failed(task, error, time.perf_counter() - began)))
            return
        member.seconds = time.perf_counter() - began
        if self._most(member.run) == 1:
            self._large.add(digest)
        self._place(member)

    def _most(self, run: Run) -> int:
        return most(run, None if self._fuse == "auto" else int(self._fuse))

    def _place(self, member: Member) -> None:
        run = member.going
        if obstacle_in(run) is None and (self._fuse != "auto" or self._most(run) > 1):
            self._ready.setdefault(kind_of(run), []).append(member)
        else:
            self._alone.append(member)

    def _finish_alone(self, member: Member) -> None:
        task, run = member.task, member.run
        member.run = None  # the memory of those that are over is let go
        state, inputs = member.past()
        self._ended.append(train(task, self._work, state, member.progress, member.saver, inputs, run=run))

    def _turn(self, kind: object) -> None:
        """Advance learners of one kind to the first of their ends."""
        members = self._begun(self._ready.pop(kind))
        if not members:
            return
        steps = sum(member.task.stop - member.going.step for member in members)
        size = self._most(members[0].going)
        if worth(self._fuse, steps) is False:
            self._alone.extend(members)
            return
        stop = min(member.task.stop for member in members)
        for chunk in _evenly(sorted(members, key=lambda member: stride_of(member.going)), size):
            self._walk(chunk, stop)
            for member in chunk:
                self._conclude(member)

    def _begun(self, members: Sequence[Member]) -> list[Member]:
        """Let what is due at the start be recorded; who fails at it is over."""
        for member in members:
            try:
                with numerics(member.task.configuration.numerics), preserved_draws():
                    member.going.begin()
            except StoreError:
                raise
            except Exception as error:
                member.over = failed(member.task, error, member.seconds)
                self._conclude(member)
        return [member for member in members if member.over is None]

    def _walk(self, members: Sequence[Member], stop: int) -> None:
        """Advance members to a step, unless members like them are refused."""
        run, runs = members[0].going, [member.going for member in members]
        shared = shares(runs)
        place = signature_of(run), len(runs), shared
        record = known.setdefault(place, Record())
        if record.refused is None:
            with numerics(members[0].task.configuration.numerics), preserved_draws():
                group = self._groups.get(place) or Group(runs)
                self._groups[place] = group
                walk = Walk(group, record.certificates, quicker=self._fuse == "auto")
                record.refused = walk.to(members, stop)
        if record.refused is not None:
            for member in members:
                member.refused = record.refused

    def _conclude(self, member: Member) -> None:
        """Put a member where it belongs now."""
        if member.over is not None:
            self._ended.append((None, member.over))
        elif member.refused is not None or member.run is None:
            self._alone.append(member)
        elif member.run.step < member.task.stop:
            self._place(member)
        else:
            end = member.run.capture()
            self._ended.append((end, member.run.outcome("done", end, member.seconds)))


def _evenly(members: Sequence[Member], size: int) -> list[Sequence[Member]]:
    """Part members into as few groups as there must be, as equal as can be."""
    count = math.ceil(len(members) / size)
    edges = [len(members) * place // count for place in range(count + 1)]
    return [members[one:two] for one, two in itertools.pairwise(edges)]

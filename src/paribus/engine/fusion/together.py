"""Segments that are ready, trained as groups where that is exact and pays, and alone otherwise."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, final

from paribus.engine.building.architecture import model_digest
from paribus.engine.building.work import Outcome, Task, Work
from paribus.engine.fusion import WORTH, Fuse
from paribus.engine.fusion.alone import obstacle_of
from paribus.engine.fusion.certify import Certificates
from paribus.engine.fusion.evaluation import Evaluation
from paribus.engine.fusion.group import Group, acting, shares
from paribus.engine.fusion.interrupts import Interrupted
from paribus.engine.fusion.kinds import kind_of, most, obstacle_in, signature_of
from paribus.engine.fusion.rows import stride_of
from paribus.engine.fusion.walk import Member, Walk
from paribus.engine.training.draws import Draws, LateDraw
from paribus.engine.training.journal import Saver
from paribus.engine.training.segment import Progress, Run, failed, numerics, train
from paribus.engine.training.state import State
from paribus.errors import StoreError

Past = tuple[State | None, Mapping[str, State]]
Ended = tuple[State | None, Outcome]
Place = tuple[object, int, bool]
K = TypeVar("K")
V = TypeVar("V")

known: dict[tuple[object, int, bool, tuple[str, ...], bool], Certificates] = {}
"""What this process knows of groups: by kind, size, whether batches are shared, what acts, and ``"auto"``."""

# Models that are there at a time, in groups of the largest size, and groups that wait to be used again.
_GOING = 4
_KEPT = 6


@final
class Together:
    """Trains segments; those that may be one group are.

    Those at the lowest step go first, up to the first step at which another of their kind could join them: so
    learners meet, and groups are large. A group of a new size is made where so many go on for long enough.

    Args:
        work: What all of them share.
        fuse: How many learners are one group at most; ``"auto"``: as many as pay, and none where it does not;
            ``False``: none.
        folder: Where verdicts on groups are remembered for other processes; ``None``: nowhere.
    """

    def __init__(self, work: Work, fuse: Fuse = "auto", folder: Path | None = None) -> None:
        self._work = work
        self._folder = folder
        self._fuse = fuse
        self._new: list[Member] = []
        self._alone: list[Member] = []
        self._ready: dict[object, list[Member]] = {}
        self._most: dict[bytes, int] = {}
        self._groups: dict[Place, Group] = {}
        self._evaluations: dict[object, Evaluation] = {}
        self._ended: list[Ended] = []

    def __bool__(self) -> bool:
        return bool(self._new or self._alone or self._ready or self._ended)

    def admit(
        self,
        task: Task,
        past: Callable[[], Past],
        progress: Progress = lambda step, loss: None,
        saver: Saver | None = None,
        until: int | None = None,
    ) -> None:
        """Take a segment.

        Args:
            task: The segment.
            past: Gives the state at its start, and the states that it reads.
            progress: Called now and then with the step reached and the loss there.
            saver: Saves its progress.
            until: The step up to which one learner will go on from its end, not two; ``None``: its end.
        """
        member = Member(task, past, progress, saver, task.stop if until is None else until)
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
            while self._new and self._has_room() and not self._ended:
                self._make(self._next_new())
            if not self._ended:
                self._go()
        ended, self._ended = self._ended, []
        return ended

    def _next_new(self) -> Member:
        """Take the segment that begins last: what goes on comes before what begins, so that few are going."""
        member = max(self._new, key=lambda each: each.step)
        self._new.remove(member)
        return member

    def _has_room(self) -> bool:
        """Tell whether one more model may be made: no more than a few groups have them at a time."""
        return sum(map(len, self._ready.values())) < _GOING * min(self._most.values(), default=1)

    def _make(self, member: Member) -> None:
        """Make a member's model and optimizer; of models too large for a group, never several at a time."""
        task, digest = member.task, model_digest(member.task.configuration)
        if self._fuse == "auto" and self._most.get(digest) == 1:
            self._alone.append(member)
            return
        began = time.perf_counter()
        try:
            with numerics(task.configuration.numerics):
                member.run = run = Run(task, self._work, *member.past())
                if digest not in self._most:
                    self._most[digest] = most(run, self._fuse)
        except StoreError:
            raise
        except Exception as error:
            self._ended.append((None, failed(task, error, time.perf_counter() - began)))
            return
        member.seconds = time.perf_counter() - began
        self._place(member)

    def _place(self, member: Member) -> None:
        run = member.going
        if obstacle_in(run) is None and (self._fuse != "auto" or self._most_of(run) > 1):
            self._ready.setdefault(kind_of(run), []).append(member)
        else:
            self._alone.append(member)

    def _most_of(self, run: Run) -> int:
        return self._most[model_digest(run.configuration)]

    def _go(self) -> None:
        """Let those at the lowest step go on; who is alone there comes first, as others may meet it later."""
        lowest = {kind: min(each.step for each in members) for kind, members in self._ready.items()}
        step = min(lowest.values(), default=math.inf)
        alone = next((each for each in self._alone if each.step <= step), None)
        if alone is None:
            self._turn(next(kind for kind, of_kind in lowest.items() if of_kind == step))
        else:
            self._alone.remove(alone)
            self._finish_alone(alone)

    def _finish_alone(self, member: Member) -> None:
        task, run = member.task, member.run
        member.run = None  # the memory of those that are over is let go
        state, inputs = member.past()
        self._ended.append(train(task, self._work, state, member.progress, member.saver, inputs, run=run))

    def _turn(self, kind: object) -> None:
        """Let those of a kind that are behind go on to where others can join them."""
        members = self._ready.pop(kind)
        step = min(member.step for member in members)
        if ahead := [member for member in members if member.step > step]:
            self._ready[kind] = ahead
        members = self._begun([member for member in members if member.step == step])
        groups, others, least = self._parted(members)
        try:
            for chunk in groups:
                self._walk(chunk, self._meeting(kind, chunk, members, least))
        except Interrupted:
            self._save(members)
            raise
        for member in others:
            self._walk_alone(member, self._meeting(kind, [member], members, 1))
        for member in members:
            self._conclude(member)

    def _begun(self, members: Sequence[Member]) -> list[Member]:
        """Let what is due at the start be recorded; who fails at it is over."""
        begin = [run for run in (member.going for member in members) if run.step == run.task.start]
        with self._evaluation(members).of([run for run in begin if run.step in run.record.steps]):
            for member in members:
                try:
                    with numerics(member.task.configuration.numerics):
                        member.going.begin()
                except StoreError:
                    raise
                except Exception as error:
                    member.over = failed(member.task, error, member.seconds)
                    self._conclude(member)
        return [member for member in members if member.over is None]

    def _parted(self, members: Sequence[Member]) -> tuple[Sequence[Sequence[Member]], Sequence[Member], int]:
        """Part members at one step into groups and those alone; tell how far groups go on at least.

        A program of a new size must be worth it. Where it is not, there may be groups of other sizes already.
        """
        groups = self._chunks(members)
        if self._fuse != "auto" or all(_place_of(chunk) in self._groups for chunk in groups):
            return groups, (), 1
        longest = sorted(members, key=lambda member: -member.until)
        for count in range(len(longest), 0, -1):
            least = math.ceil(WORTH / count)
            if longest[count - 1].until - longest[0].step >= least:
                return self._chunks(longest[:count]), longest[count:], least
        groups, left = [], [member for chunk in groups for member in chunk]
        for size in sorted({size for _, size, _ in self._groups}, reverse=True):
            while len(left) >= size and _place_of(left[:size]) in self._groups:
                groups, left = [*groups, left[:size]], left[size:]
        return groups, left, 1

    def _chunks(self, members: Sequence[Member]) -> list[Sequence[Member]]:
        """Part members into as few groups as there must be, as equal as can be."""
        alike = sorted(members, key=lambda member: stride_of(member.going))
        count = math.ceil(len(alike) / self._most_of(alike[0].going)) if alike else 0
        edges = [len(alike) * place // count for place in range(count + 1)] if alike else []
        return [alike[one:two] for one, two in itertools.pairwise(edges)]

    def _meeting(self, kind: object, some: Sequence[Member], members: Sequence[Member], least: int) -> int:
        """Return the first step at which one of some ends, or at which another could join them."""
        step = some[0].step
        ahead = [each.step for each in self._ready.get(kind, ())]
        others = [each for ready in (*self._ready.values(), self._alone, members) for each in ready]
        meetings = (*ahead, *(each.task.stop for each in others))
        return min([*(each.task.stop for each in some), *(each for each in meetings if each >= step + least)])

    def _walk_alone(self, member: Member, stop: int) -> None:
        """Advance one member to a step, as it is."""
        run, began = member.going, time.perf_counter()
        run.draws = Draws(run.device, always=False)  # others may have drawn meanwhile
        try:
            with numerics(member.task.configuration.numerics):
                status = run.walk(member.progress, member.saver, stop)
        except LateDraw:
            member.run = None  # from the start of the segment, alone
        except StoreError:
            raise
        except Exception as error:
            member.over = failed(member.task, error, member.seconds)
        else:
            if status == "diverged":
                member.over = run.outcome(status, None, member.seconds)
        member.seconds += time.perf_counter() - began

    def _walk(self, members: Sequence[Member], stop: int) -> None:
        """Advance members to a step, unless members like them are refused."""
        record = self._certificates(members)
        refused = record.refused
        if refused is None:
            with numerics(members[0].task.configuration.numerics):
                group, evaluation = self._group(members), self._evaluation(members)
                refused = Walk(group, record, evaluation, quicker=self._fuse == "auto").to(members, stop)
            if all(member.run is not None for member in members):  # otherwise it was one of them, or its data
                record.refused = refused
                record.remember()
        for member in members:
            member.refused = refused

    def _certificates(self, members: Sequence[Member]) -> Certificates:
        """Return what is known of such a group; where one of half its size at least is refused, so is it."""
        acts = acting([member.going for member in members])
        place = (*_place_of(members), acts, self._fuse == "auto")
        if place not in known:
            kin = {o[1]: each for o, each in known.items() if (o[0], *o[3:]) == (place[0], *place[3:])}
            known[place] = Certificates(place, self._folder, familiar=any(c.holds for c in kin.values()))
            if self._fuse == "auto":
                near = (each.refused for size, each in kin.items() if 2 * size >= len(members))
                known[place].refused = next(filter(None, near), None)
        return known[place]

    def _evaluation(self, members: Sequence[Member]) -> Evaluation:
        """Return how members of one kind are evaluated; programs of kinds not met for longest are let go."""
        signature = signature_of(members[0].going)
        return _recent(self._evaluations, signature, lambda: Evaluation(quicker=self._fuse == "auto"))

    def _group(self, members: Sequence[Member]) -> Group:
        """Return the group for members, made where there is none; those not used for longest are let go."""
        return _recent(self._groups, _place_of(members), lambda: Group([member.going for member in members]))

    def _save(self, members: Sequence[Member]) -> None:
        """Save how far those came who are not over."""
        for member in (*members, *(each for ready in self._ready.values() for each in ready)):
            task, run, saver = member.task, member.run, member.saver
            if run is not None and saver is not None and member.over is None and run.step > task.start:
                with numerics(task.configuration.numerics):
                    run.save(saver)

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


def _recent(kept: dict[K, V], key: K, make: Callable[[], V]) -> V:
    """Return what is kept under a key, or make it; what was not used for longest is let go."""
    value = kept.pop(key, None) or make()
    while len(kept) >= _KEPT:
        del kept[next(iter(kept))]
    kept[key] = value
    return value


def _place_of(members: Sequence[Member]) -> Place:
    """Describe the group that members can be."""
    return signature_of(members[0].going), len(members), shares([member.going for member in members])

"""How far a run is: counted from what executors tell, without clock and screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, final

if TYPE_CHECKING:  # who only reads a standing needs no torch
    from paribus.engine.building.work import Outcome
    from paribus.engine.planning.plan import Plan

Tell: TypeAlias = Callable[[str, int, float], None]
"""Takes the key of a task, the step reached, and the loss there."""

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))


@final
@dataclass(frozen=True)
class Standing:
    """How far a run is.

    Attributes:
        learners: How many learners the experiment has.
        done: How many of them were finished in this run.
        cached: How many needed nothing.
        failed: How many failed.
        steps: Steps that need no more training, of those that the run was to train.
        total: Steps that the run was to train.
        saved: Steps that sharing and the cache save.
        seconds: Time since the run began.
        rate: Steps trained per second.
        left: Seconds that the rest will take; ``None`` where there is no saying.
        learner: Index of a learner that is trained now; ``None`` where nothing was told of one.
        loss: Its loss at its last step.
    """

    learners: int
    done: int
    cached: int
    failed: int
    steps: int
    total: int
    saved: int
    seconds: float
    rate: float = 0.0
    left: float | None = None
    learner: int | None = None
    loss: float | None = None

    def __str__(self) -> str:
        """Tell it in one line."""
        parts = [
            f"{self.done}/{self.learners - self.cached} learners",
            f"{self.cached} cached" if self.cached else "",
            f"{self.failed} failed" if self.failed else "",
            f"{self.steps:,}/{self.total:,} steps",
            f"{self.saved:,} saved" if self.saved else "",
            f"{self.rate:,.0f} steps/s" if self.rate else "",
            f"{_duration(self.left)} left" if self.left is not None else "",
            "" if self.learner is None else f"learner {self.learner}: loss {self.loss:.4g}",
        ]
        return " · ".join(part for part in parts if part)


@final
class Tally:
    """Counts learners and steps of one run."""

    def __init__(self, plan: Plan) -> None:
        tasks = [(plan.segments[index].key, plan.segments[index].learners) for index in plan.to_run]
        for index, step in plan.to_evaluate:
            segment = plan.segments[index]
            tasks.append((segment.configuration.key(step), segment.learners))
        self._plan = plan
        self._spans = {task.key: (task.start, task.stop) for task in plan.tasks()}
        self._learners: dict[str, list[int]] = {}
        for key, learners in tasks:
            self._learners.setdefault(key, []).extend(learners)
        self._open = Counter(learner for learners in self._learners.values() for learner in learners)
        self._failed: set[int] = set()
        self._reached: dict[str, int] = {}
        self._settled: set[str] = set()
        self._trained = self._settled_steps = 0
        self._latest: tuple[int | None, float | None] = None, None

    def reached(self, key: str, step: int, loss: float) -> None:
        """Note how far a task is."""
        if key in self._spans and key not in self._settled:
            self._reached[key] = step
            learners = self._learners.get(key)
            self._latest = (learners[0], loss) if learners else self._latest

    def settled(self, outcome: Outcome) -> None:
        """Note what became of a task; what cannot be trained any more counts as settled too."""
        key = outcome.key
        if key not in self._spans or key in self._settled:
            return
        start, stop = self._spans[key]
        self._settled.add(key)
        self._reached.pop(key, None)
        self._settled_steps += stop - start
        self._trained += 0 if outcome.skipped or outcome.status == "failed" else outcome.step - start
        learners = self._learners.get(key, [])
        self._open.subtract(learners)
        if outcome.status in ("failed", "blocked"):
            self._failed.update(learners)

    def standing(self, seconds: float) -> Standing:
        """Say how far the run is, so many seconds after it began."""
        plan = self._plan
        flying = sum(step - self._spans[key][0] for key, step in self._reached.items())
        steps, total = self._settled_steps + flying, plan.steps_to_train
        rate = (self._trained + flying) / seconds if seconds > 0 else 0.0
        done = sum(count == 0 and learner not in self._failed for learner, count in self._open.items())
        learner, loss = self._latest
        return Standing(
            learners=len(plan.learners),
            done=done,
            cached=len(plan.learners) - len(self._open),
            failed=len(self._failed),
            steps=steps,
            total=total,
            saved=plan.steps_asked - total,
            seconds=seconds,
            rate=rate,
            left=(total - steps) / rate if rate > 0 else None,
            learner=learner,
            loss=loss,
        )


def _duration(seconds: float) -> str:
    """Write a duration with its two largest units.

    >>> _duration(3700), _duration(59.7)
    ('1 h 1 min', '60 s')
    """
    for place, (unit, size) in enumerate(_UNITS):
        if seconds >= size:
            count, rest = divmod(seconds, size)
            below, smaller = (*_UNITS, ("s", 1))[place + 1]
            return f"{count:.0f} {unit} {rest // smaller:.0f} {below}"
    return f"{seconds:.0f} s"

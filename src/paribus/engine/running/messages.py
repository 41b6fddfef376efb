"""What the driver, its scheduler and the agents tell one another: plain values, quick to import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, final

if TYPE_CHECKING:
    from paribus.engine.building.work import Outcome, Task
    from paribus.engine.fusion import Fuse


# --- from the driver to an agent ---------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Order:
    """One segment to train.

    Attributes:
        task: The segment.
        state: Digest of the stored state at ``task.start``; ``None`` where weights are drawn, and where the
            task goes on from the end of an earlier order of its lease.
        kept: Whether tasks wait for its end, so that the agent does well to hold it in memory.
    """

    task: Task
    state: str | None
    kept: bool = False


@final
@dataclass(frozen=True, slots=True)
class Lease:
    """What one agent is to train, in this order: parents before children.

    Attributes:
        number: Leases are numbered in the order in which they were given.
        orders: At least one.
        fuse: How many learners may be trained as one: see ``Together``.
    """

    number: int
    orders: tuple[Order, ...]
    fuse: Fuse = False


# --- from an agent to the driver ---------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Ready:
    """An agent has started, and waits for a lease.

    Attributes:
        agent: Which.
        node: The machine that it is on, by a name of its backend's; empty where that is all the same.
    """

    agent: int
    node: str = ""


@final
@dataclass(frozen=True, slots=True)
class Reached:
    """How far an agent is with an order, at most ten times a second; the scheduler never sees it."""

    agent: int
    key: str
    step: int
    loss: float


@final
@dataclass(frozen=True, slots=True)
class Ended:
    """One order is over: its state is stored, its row is the driver's to write."""

    agent: int
    outcome: Outcome


@final
@dataclass(frozen=True, slots=True)
class Lost:
    """An agent is gone, by its backend's word: nothing more will come from it."""

    agent: int
    reason: str


@final
@dataclass(frozen=True, slots=True)
class Saved:
    """The progress of a long order was put; its row is the driver's to write.

    Attributes:
        agent: Who trains it.
        key: Of the task.
        outcome: As of a shorter segment that ends at the saved state.
    """

    agent: int
    key: str
    outcome: Outcome


Message: TypeAlias = Reached | Saved
"""What an agent tells of an order on the way."""

Tell: TypeAlias = Callable[[Message], None]

Event: TypeAlias = Ready | Ended | Lost
"""What a backend's ``receive`` brings."""


# --- from the scheduler to the driver, and its answers -----------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Start:
    """Let the backend start an agent."""

    agent: int


@final
@dataclass(frozen=True, slots=True)
class Claim:
    """Claim tasks for an agent; the answer is `Claimed`.

    Attributes:
        agent: Who is to have them.
        tasks: Each with whether other tasks wait for its end; parents before children.
    """

    agent: int
    tasks: tuple[tuple[Task, bool], ...]


@final
@dataclass(frozen=True, slots=True)
class Assign:
    """Send an agent a lease."""

    agent: int
    lease: Lease


@final
@dataclass(frozen=True, slots=True)
class Settle:
    """Commit an outcome.

    Attributes:
        outcome: What became of a task.
        task: What was trained; ``None`` where there is nothing to write: the store has it, or nobody could
            train it.
    """

    outcome: Outcome
    task: Task | None


Command: TypeAlias = Start | Claim | Assign | Settle


@final
@dataclass(frozen=True, slots=True)
class Claimed:
    """What became of a claim.

    Attributes:
        agent: For whom it was.
        orders: What is this driver's now, in the order asked for.
        elsewhere: Keys that another driver trains.
        settled: Outcomes that the store has already, or that nobody can bring.
    """

    agent: int
    orders: tuple[Order, ...]
    elsewhere: tuple[str, ...] = ()
    settled: tuple[Outcome, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class Polled:
    """Time has passed: what other drivers were training may be claimed again."""

"""`Learner`: one cell of an experiment, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from paribus import markup
from paribus.engine.building.work import Work
from paribus.engine.learners.configuration import Configuration
from paribus.engine.learners.designs import Cell
from paribus.engine.proving.certification import described
from paribus.engine.results.frames import History, of_learner, printed, tidy_frame
from paribus.engine.training.checkpoint import Checkpoint, Replayer
from paribus.engine.training.device import at_hand
from paribus.evidence import Evidence

if TYPE_CHECKING:
    import polars as pl

    from paribus.interventions.layers import Change


@final
@dataclass(frozen=True, eq=False)
class Learner:
    """One cell of an experiment.

    Attributes:
        index: Its place in the grid.
        cell: Its levels and its configuration.
        read: Reads what the store holds of the experiment's learners.
        replayer: Gives states of them.
        work: What all learners share.
    """

    index: int
    cell: Cell
    read: Callable[[], Evidence]
    replayer: Callable[[], Replayer]
    work: Callable[[], Work]

    @property
    def configuration(self) -> Configuration:
        """Everything that decides its bits."""
        return self.cell.configuration

    @property
    def key(self) -> str:
        """The hash of its configuration, 32 hex digits."""
        return self.configuration.key()

    @property
    def levels(self) -> dict[str, object]:
        """Its levels by column name."""
        return {name: value for level in self.cell.levels for name, value in printed(level).items()}

    @property
    def history(self) -> History:
        """Its status and what was recorded."""
        return self.read().histories[self.index]

    @property
    def status(self) -> str:
        """``done``, ``diverged``, ``failed`` or ``missing``."""
        return self.history.status

    def frame(self) -> pl.DataFrame:
        """Return one row per recorded step."""
        known = self.read()
        own = of_learner(known.recorded, self.index)
        return tidy_frame([self.cell], [known.histories[self.index]], own).drop("learner")

    def checkpoint(self, step: int | None = None) -> Checkpoint:
        """Return model, optimizer and step; a state that was not stored is replayed from the nearest one.

        Args:
            step: Optimizer steps taken; ``None``: the last.

        Raises:
            ConfigurationError: The step is not on this run.
            ExecutionError: The run diverged or failed before the step.
        """
        total = self.configuration.total
        return self.replayer().at(self.configuration, total if step is None else step)

    def changes(self) -> list[Change]:
        """Say what was done to the model before training: one entry for each change of the architecture.

        Each prints what was removed, replaced and rebuilt, and what became of the parameters. Where the data
        changed its shape, the first entry says which layers were rebuilt for it.

        Raises:
            AblationError: A change cannot be made; the class says why.
        """
        return described(self.work(), at_hand(self.configuration))

    def __repr__(self) -> str:
        levels = ", ".join(f"{name}={value!r}" for name, value in self.levels.items())
        return f"Learner({self.index}, {self.key[:8]}, {self.status}: {levels or 'no change'})"

    def _repr_html_(self) -> str:
        history = self.history
        told = {"key": self.key, "status": history.status, **self.levels}
        return markup.titled(
            f"Learner {self.index}", markup.pairs({**told, "error": history.error} if history.error else told)
        )

"""What a search found: its trials as a table, the best of them, fronts, and studies of Optuna's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from paribus.engine.planning.plan import horizon_of
from paribus.engine.search.scores import Scores
from paribus.engine.search.search import recorded_by, require
from paribus.engine.search.trials import Trial, Trials
from paribus.errors import AnalysisError, ConfigurationError, suggest
from paribus.loggers import Metric

if TYPE_CHECKING:
    import optuna
    import polars as pl


@final
@dataclass(frozen=True, eq=False)
class Found:
    """What the store holds of a search.

    Attributes:
        search: The search and its studies.
        trials: Those that are known.
        scores: Tells how learners did, by any metric.
        metrics: What the logger records.
        learners: The index of each learner by its key.
    """

    search: Trials
    trials: Sequence[Trial]
    scores: Scores
    metrics: Sequence[Metric]
    learners: Mapping[str, int]

    def frame(self, metrics: Sequence[str] | None = None) -> pl.DataFrame:
        """Make one row per trial, with the means of some metrics over the seeds."""
        from paribus.engine.search.tables import trials_frame

        names = self.search.search.metrics if metrics is None else metrics
        values = {name: [self._mean(trial, name) for trial in self.trials] for name in names}
        return trials_frame(self.trials, self.search.studies, values, self.learners)

    def best(self) -> pl.DataFrame:
        """Keep the best trial of each study, the earliest of equals.

        Raises:
            AnalysisError: The search has several metrics.
        """
        import polars as pl

        search = self.search.search
        if len(search.metrics) > 1:
            raise AnalysisError(f"best: the search has {len(search.metrics)} metrics; see exp.front()")
        done = self.frame().filter(pl.col("status") == "done")
        downward = search.directions[0] == "maximize"
        ranked = done.sort("study", search.metrics[0], "trial", descending=[False, downward, False])
        return ranked.group_by("study", maintain_order=True).first()

    def front(self, directions: Mapping[str, str] | None) -> pl.DataFrame:
        """Keep the trials that no other of their study is better than in all metrics.

        Raises:
            AnalysisError: A metric or a direction is unknown.
        """
        from paribus.engine.search.tables import fronts

        search = self.search.search
        wanted = directions or dict(zip(search.metrics, map(str, search.directions), strict=True))
        frame = self.frame(list(wanted))
        for name, direction in wanted.items():
            if frame[name].null_count() == frame.height:
                raise AnalysisError(
                    f"front: no trial has {name!r}; run the search, or name a recorded metric"
                )
            if direction not in ("minimize", "maximize"):
                raise AnalysisError(
                    f"front: the direction of {name!r} is {direction!r}; expected 'minimize' or 'maximize'"
                )
        return fronts(frame, wanted)

    def study(self, which: int | str | None, storage: str | Path | None, name: str | None) -> optuna.Study:
        """Write one study as Optuna's.

        Raises:
            ConfigurationError: There is none such, or several and none is named.
        """
        require("optuna", "optuna", "exp.study()")
        from paribus.engine.search.export import Exported, export_study

        place = self._place(which)
        own = [Exported(trial, self._course(trial)) for trial in self.trials if trial.study == place]
        study = self.search.studies[place]
        return export_study(self.search.search, study, own, storage, name or study.name or "search")

    def _place(self, which: int | str | None) -> int:
        studies = self.search.studies
        names = [study.name for study in studies]
        if which is None and len(studies) == 1:
            return 0
        if isinstance(which, str) and which in names:
            return names.index(which)
        if isinstance(which, int) and 0 <= which < len(studies):
            return which
        raise ConfigurationError(
            f"study: {which!r} names none of the {len(studies)} studies {suggest(str(which), names)}"
        )

    def _mean(self, trial: Trial, name: str) -> float | None:
        scores = [self.scores.of(cell.configuration, (name,)) for cell in trial.cells]
        if not all(score.values for score in scores):
            return None
        return sum(score.values[0] for score in scores) / len(scores)

    def _course(self, trial: Trial) -> dict[int, float]:
        """Return the means of the first metric over the seeds, by step."""
        name = self.search.search.metrics[0]
        configurations = [cell.configuration for cell in trial.cells]
        horizon = horizon_of(configurations[0])
        steps = {s for m in self.metrics if recorded_by(m, name) for s in m.schedule.steps(horizon)}
        found = {
            step: [self.scores.at(each, name, step) for each in configurations] for step in sorted(steps)
        }
        return {
            step: sum(value for value in values if value is not None) / len(values)
            for step, values in found.items()
            if None not in values
        }

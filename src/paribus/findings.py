"""What can be asked of an experiment: frames, tables, figures, the report, and what a search found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from paribus import analysis
from paribus.analysis import Table
from paribus.engine.search.found import Found
from paribus.evidence import Evidence, Kind

if TYPE_CHECKING:
    import optuna
    import polars as pl

    from paribus.plotting import Figure


class Findings(ABC):
    """One call for each frame, table and figure; each reads the store as it is now."""

    @abstractmethod
    def evidence(self) -> Evidence:
        """Gather what the store holds now, for several tables and figures of one state."""

    @abstractmethod
    def found(self) -> Found:
        """Gather what the store holds of a search now.

        Raises:
            ConfigurationError: There is no search.
        """

    @final
    def frame(self) -> pl.DataFrame:
        """Return one row per learner and recorded step: levels as typed columns, metrics as columns."""
        return self.evidence().frame

    @final
    def results(self) -> pl.DataFrame:
        """Return one row per learner: status, levels, and the scalar metrics at the last step."""
        return self.evidence().results

    @final
    def trials(self) -> pl.DataFrame:
        """Return one row per trial of the search: study, cell, status, dimensions, metrics, learners."""
        return self.found().frame()

    @final
    def best(self) -> pl.DataFrame:
        """Return the best trial of each study, by the mean over the replicate seeds.

        Raises:
            AnalysisError: The search has several metrics.
        """
        return self.found().best()

    @final
    def front(self, **directions: str) -> pl.DataFrame:
        """Return, of each study, the trials that no other one is better than in all metrics.

        Args:
            **directions: ``"minimize"`` or ``"maximize"`` for any recorded metrics, as in
                ``**{"test/loss": "minimize", "test/accuracy": "maximize"}``; by default the search's own.

        Raises:
            AnalysisError: A metric or a direction is unknown.
        """
        return self.found().front(directions or None)

    @final
    def study(
        self, which: int | str | None = None, storage: str | Path | None = None, name: str | None = None
    ) -> optuna.Study:
        """Return a study of the search as Optuna's own, for its visualisations and its dashboard.

        Args:
            which: Index or name of the study, where there are several: see ``exp.trials()``.
            storage: A file or a URL of Optuna's to write it to; ``None``: it is in memory only.
            name: Its name there.

        Raises:
            ConfigurationError: There is no search or no such study, Optuna is not installed, or the storage
                has another study of that name.
        """
        return self.found().study(which, storage, name)

    @final
    def compare(self, metric: str, **options: Any) -> Table:
        """Compare each treatment with its control, all seeds equal.

        Args:
            metric: Name of a scalar metric, as in ``"test/accuracy"``, at the last step.
            **options: See `paribus.analysis.compare`: ``better``, ``margin``, ``confidence``, ``labels``,
                ``allow_adaptive``; ``factor``, a name or several: what alone is compared; ``against``, levels
                by column, as in ``{"SetOptimizer.lr": 0.1}``: another control, of one factor or of several;
                and ``best_by``, a validation metric: each learner counts at the step where that was best.

        Raises:
            AnalysisError: Nothing can be compared.
        """
        return self.evidence().table(analysis.compare, metric, **options)

    @final
    def leave_one_out(self, metric: str, *, pairs: bool = False, **options: Any) -> Table:
        """Rank the parts of a whole by what it costs to change each, or with `pairs` two, others in place.

        Options are those of `paribus.analysis.leave_one_out` or `pairs_removed`, and ``best_by``.
        """
        make = analysis.pairs_removed if pairs else analysis.leave_one_out
        return self.evidence().table(make, metric, **options)

    @final
    def anova(self, metric: str, **options: Any) -> Table:
        """Split the variation of a metric among treatments, their interactions and the seeds.

        Options are those of `paribus.analysis.anova`, and ``best_by``.
        """
        return self.evidence().table(analysis.anova, metric, **options)

    @final
    def variance(self, metric: str, **options: Any) -> Table:
        """Estimate what share of the variance between replicates each seed has.

        Options are those of `paribus.analysis.variance`, and ``best_by``.
        """
        return self.evidence().table(analysis.variance, metric, **options)

    @final
    def tuned(self, metric: str, *, over: Sequence[str], by: str, **options: Any) -> Table:
        """Report `metric` at the levels of `over` that `by`, a validation metric, chose in each condition.

        Options are those of `paribus.analysis.tuned`.
        """
        return self.evidence().table(analysis.tuned, metric, over=over, by=by, **options)

    @final
    def aggregate(self, metric: str, *, task: str, **options: Any) -> Table:
        """Summarise each condition over the tasks of column `task` by the interquartile mean.

        Options are those of `paribus.analysis.aggregate`, which also takes joined frames of several
        experiments.
        """
        return self.evidence().table(analysis.aggregate, metric, task=task, **options)

    @final
    def plot(self, metric: str = "test/loss", kind: Kind = "curves", **options: Any) -> Figure:
        """Draw a figure, with its tidy table and its caption.

        Args:
            metric: Name of a scalar metric; for ``kind="pairs"``, of a value in the column ``name`` of
                ``exp.pairs()``.
            kind: ``"curves"`` over training, ``"effects"`` (the forest plot of `compare`), ``"slice"``,
                ``"interaction"``, ``"importance"``, ``"pairs"``, ``"profile"``, ``"variance"``,
                ``"parallel"`` or ``"ridge"``.
            **options: What the function of that name in `paribus.plotting` takes (``labels``, ``width``, …),
                and what the table takes that it draws.

        Raises:
            AnalysisError: No learner recorded the metric, or the design does not allow the figure.
        """
        return self.evidence().plot(metric, kind, **options)

    @final
    def report(self, path: str | Path, *, metrics: Sequence[str] | None = None, **options: Any) -> Path:
        """Write verdicts, tables, figures, failures, provenance and data as one HTML file; return its path.

        Args:
            path: The file, or a folder that exists.
            metrics: What is judged; ``None``: the test accuracy, else the test loss, else the first one.
            **options: ``question`` and ``labels``, printed; ``tuned_over``, columns that were tuned, and
                ``tuned_by``, the validation metric that chooses, as in `tuned`; ``pairs_removed=True``, the
                table of ``leave_one_out(…, pairs=True)``, which designs of pairs have anyway; and the options
                of `compare`.

        Raises:
            AnalysisError: Nothing was trained, or a metric was not recorded.
        """
        return self.evidence().report(path, metrics=metrics, **options)

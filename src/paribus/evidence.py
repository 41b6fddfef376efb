"""Evidence: the frames of an experiment's learners, and the tables and figures made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import polars as pl

from paribus import analysis
from paribus.analysis import Factor, Table
from paribus.engine.learners.designs import Cell
from paribus.engine.planning.plan import Plan
from paribus.engine.results.frames import History, distinct_levels, printed, results_frame, tidy_frame
from paribus.errors import AnalysisError, suggest
from paribus.store import Record

if TYPE_CHECKING:
    from paribus.plotting import Figure
    from paribus.plotting.report import Part

Kind = Literal[
    "curves",
    "effects",
    "slice",
    "interaction",
    "importance",
    "pairs",
    "profile",
    "variance",
    "parallel",
    "ridge",
]
_KINDS = Kind.__args__  # type: ignore[attr-defined]
_Attempt = tuple[
    Callable[..., Table], Mapping[str, Any], Callable[[Table], "Figure"] | None
]  # make, with what, draw
_LEVELS = frozenset({"learner", "key", "status", "step", "epoch", "adaptive", "pruned", "environment"})
_SOFTWARE = ("python", "torch", "numpy", "cpu", "mkl")
_PAIR_OPTIONS = ("better", "confidence", "allow_adaptive", "best_by")
_HEADLINES = ("test/accuracy", "test/loss")


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """What a store held of an experiment's learners when it was read.

    Attributes:
        cells: The learners.
        histories: How each ended.
        recorded: What was recorded, by learner and step.
        plan: Their paths through the tree of segments.
        records: What the store holds of their trajectories, by key.
        read_pairs: Gives the values of the pair metrics.
    """

    cells: Sequence[Cell]
    histories: Sequence[History]
    recorded: pl.DataFrame
    plan: Plan
    records: Mapping[str, Record]
    read_pairs: Callable[[], pl.DataFrame]

    @cached_property
    def factors(self) -> list[Factor]:
        """Which columns are treatments, which are seeds, and the control."""
        return factors_of(self.cells)

    @cached_property
    def frame(self) -> pl.DataFrame:
        """One row per learner and recorded step."""
        return tidy_frame(self.cells, self.histories, self.recorded)

    @cached_property
    def results(self) -> pl.DataFrame:
        """One row per learner, with the scalar metrics at its last step."""
        return results_frame(self.cells, self.histories, self.recorded)

    @cached_property
    def metrics(self) -> list[str]:
        """Names of the scalar metrics."""
        levels = {column for factor in self.factors for column in factor.columns}
        return [name for name in self.results.columns if name not in _LEVELS and name not in levels]

    def table(
        self, make: Callable[..., Table], metric: str, best_by: str | None = None, **options: Any
    ) -> Table:
        """Make a table of `paribus.analysis` from the learners' last steps, or from their best ones.

        Args:
            make: A function of results, metric and factors, such as `paribus.analysis.compare`.
            metric: Name of a scalar metric.
            best_by: A validation metric: each learner counts at the step where that was best.
            **options: What else `make` takes.

        Raises:
            AnalysisError: The metric was not recorded, or the table cannot be made.
        """
        self._check(metric)
        if best_by is None:
            return make(self._with_environments(self.results), metric, self.factors, **options)
        self._check(best_by)
        best = analysis.at_best(self.frame, metric, by=best_by)
        made = make(self._with_environments(best), metric, self.factors, **options)
        note = f"Each learner counts at the step where its {best_by} was best."
        return dataclasses.replace(made, notes=(*made.notes, note))

    def plot(
        self,
        metric: str,
        kind: Kind = "curves",
        *,
        labels: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Figure:
        """Draw one figure; see ``Experiment.plot``."""
        from paribus import plotting

        if kind not in _KINDS:
            raise AnalysisError(f"plot: kind={kind!r} is no kind of figure {suggest(kind, _KINDS)}")
        drawn: dict[str, Any] = {"width": options.pop("width")} if "width" in options else {}
        match kind:
            case "curves":
                self._check(metric)
                return plotting.curves(self.frame, metric, self.factors, labels=labels, **options, **drawn)
            case "pairs":
                return plotting.pairs(
                    self.read_pairs(), metric, self.results, self.factors, labels=labels, **options, **drawn
                )
            case "slice" | "interaction" | "parallel" | "ridge":
                self._check(metric)
                draw = getattr(plotting, kind)
                figure: Figure = draw(self.results, metric, self.factors, labels=labels, **options, **drawn)
                return figure
            case "effects":
                table = self.table(analysis.compare, metric, labels=labels, **options)
                return plotting.effects(table, labels=labels, **drawn)
            case "importance":
                return plotting.importance(
                    self.table(analysis.anova, metric, labels=labels, **options), **drawn
                )
            case "variance":
                return plotting.variance(
                    self.table(analysis.variance, metric, labels=labels, **options), **drawn
                )
            case "profile":
                table = self.table(analysis.profile, metric, labels=labels, **options)
                return plotting.profile(table, labels=labels, **drawn)

    def figures(self) -> Iterator[Figure]:
        """Draw the default figures: curves of every metric; what the design allows of the headline metric.

        The headline metric is the test accuracy, else the test loss, else the first one recorded.
        """
        for metric in self._recorded:
            yield self.plot(metric)
        for kind in ("effects", "slice", "interaction", "importance", "variance"):
            try:
                yield self.plot(self._headline, kind)
            except AnalysisError:  # the design does not allow it: no control, one treatment, one seed
                continue

    def report(
        self,
        path: str | Path,
        *,
        metrics: Sequence[str] | None = None,
        question: str = "",
        labels: Mapping[str, str] | None = None,
        tuned_over: Sequence[str] = (),
        tuned_by: str | None = None,
        pairs_removed: bool = False,
        **options: Any,
    ) -> Path:
        """Write one HTML file with everything; see ``Experiment.report``."""
        from paribus.plotting.report import Provenance, Report, render

        if all(history.status == "missing" for history in self.histories):
            raise AnalysisError("report: no learner was trained; run the experiment first")
        judged = metrics or ([self._headline] if self.metrics else [])
        asked = partial(self._asked, options, tuned_over, tuned_by, pairs_removed)
        report = Report(
            question=question,
            factors=self.factors,
            results=self.results,
            histories=self.histories,
            parts=[self._part(metric, labels, options, asked(metric)) for metric in judged],
            curves=[self.plot(name, labels=labels) for name in self._recorded if name in (metrics or [name])],
            pairs=list(self._pair_figures(labels)),
            provenance=Provenance.of([cell.configuration for cell in self.cells], self.plan, self.records),
            labels=labels or {},
        )
        file = Path(path) / "report.html" if Path(path).is_dir() else Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(render(report), encoding="utf-8", newline="\n")
        return file

    def _part(
        self,
        metric: str,
        labels: Mapping[str, str] | None,
        options: Mapping[str, Any],
        asked: Mapping[str, tuple[Callable[..., Table], Mapping[str, Any]]],
    ) -> Part:
        """Make the tables and figures of a metric that the design allows, and tell why it refuses others."""
        from paribus.plotting.report import Part

        self._check(metric)
        tables, figures, refused = {}, [], []
        for name, (make, own, draw) in self._attempts(labels, options).items():
            try:
                tables[name] = table = self.table(make, metric, labels=labels, **own)
                figures += [draw(table)] if draw is not None else []
            except AnalysisError as error:
                refused.append(str(error))
        for name, (make, own) in asked.items():  # by name: what cannot be made is an error, and no remark
            tables[name] = self.table(make, metric, labels=labels, **own)
        for kind in ("slice", "interaction"):
            with suppress(AnalysisError):  # one treatment, or none
                figures.append(self.plot(metric, kind, labels=labels))
        return Part(metric, tables, figures, refused)

    def _asked(
        self,
        options: Mapping[str, Any],
        tuned_over: Sequence[str],
        tuned_by: str | None,
        pairs_removed: bool,
        metric: str,
    ) -> dict[str, tuple[Callable[..., Table], Mapping[str, Any]]]:
        """Say which tables were asked for by name, and with what they are made."""
        asked: dict[str, tuple[Callable[..., Table], Mapping[str, Any]]] = {}
        if pairs_removed:
            asked["pairs_removed"] = analysis.pairs_removed, _chosen(options, _PAIR_OPTIONS)
        if tuned_over:
            by = tuned_by or f"validation/{metric.partition('/')[2]}"
            own = {"over": tuned_over, "by": by, **_chosen(options, ("allow_adaptive",))}
            asked["tuned"] = analysis.tuned, own
        return asked

    def _attempts(self, labels: Mapping[str, str] | None, options: Mapping[str, Any]) -> dict[str, _Attempt]:
        from paribus import plotting

        effects = partial(plotting.effects, labels=labels)
        shared = _chosen(options, ("allow_adaptive", "best_by"))
        whole = {name: value for name, value in options.items() if name not in ("factor", "against")}
        ablated: dict[str, _Attempt] = {}
        lacking, all_of_them = self._lacking
        if {0, 1} <= lacking:
            ablated["leave_one_out"] = analysis.leave_one_out, whole, effects
        if {0, 1, 2} <= lacking or {all_of_them - 2, all_of_them - 1, all_of_them} <= lacking:
            ablated["pairs_removed"] = analysis.pairs_removed, _chosen(options, _PAIR_OPTIONS), None
        return {
            "compare": (analysis.compare, options, effects),
            **ablated,
            "anova": (analysis.anova, shared, plotting.importance),
            "variance": (analysis.variance, shared, plotting.variance),
        }

    def _pair_figures(self, labels: Mapping[str, str] | None) -> Iterator[Figure]:
        for name in self.read_pairs()["name"].unique(maintain_order=True):
            yield self.plot(name, "pairs", labels=labels, width="page")

    @property
    def _lacking(self) -> tuple[set[int], int]:
        """The counts of interventions that cells lack, and of how many; no count where there is but one."""
        treated = [factor.treatments for factor in self.factors if factor.treatments]
        if len(treated) < 2:
            return set(), len(treated)
        absent = [pl.all_horizontal(pl.col(columns).is_null()) for columns in treated]
        return set(self.results.select(pl.sum_horizontal(absent)).to_series()), len(treated)

    @property
    def _recorded(self) -> list[str]:
        return [metric for metric in self.metrics if self.frame[metric].count()]

    @property
    def _headline(self) -> str:
        return next((name for name in _HEADLINES if name in self.metrics), next(iter(self.metrics), ""))

    def _with_environments(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(
            environment=pl.Series(environments(self.plan, self.records), dtype=pl.String)
        )

    def _check(self, metric: str) -> None:
        if metric not in self.metrics:
            raise AnalysisError(
                f"{metric!r} was not recorded {suggest(metric, self.metrics)}; run the experiment, or name "
                "another"
            )


def _chosen(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: options[name] for name in names if name in options}


def factors_of(cells: Sequence[Cell]) -> list[Factor]:
    """Read the factors of a grid from its cells."""
    treatments: dict[str, dict[str, None]] = {}
    replicates: dict[str, dict[str, None]] = {}
    controls: dict[str, Mapping[str, object]] = {}
    for level in distinct_levels(cells):
        seeds = {f"{level.factor}.{name}" for name in level.intervention.replicates}
        values = printed(level)
        treatments.setdefault(level.factor, {}).update({n: None for n in values if n not in seeds})
        replicates.setdefault(level.factor, {}).update({n: None for n in values if n in seeds})
        if level.control:
            controls[level.factor] = {n: v for n, v in values.items() if n not in seeds}
    return [
        Factor(name, tuple(treatments[name]), tuple(replicates[name]), controls.get(name))
        for name in treatments
    ]


def environments(plan: Plan, records: Mapping[str, Record]) -> list[str | None]:
    """Say in which software each learner was trained, by what differs among all; None: not trained.

    A learner whose segments were trained in several has all of them.
    """
    recorded: dict[str, Mapping[str, object]] = {}
    for segment in plan.segments:
        record = records.get(segment.key)
        if record is not None and isinstance(record.environment, dict):
            recorded[segment.key] = record.environment
    different = {id(found): found for found in recorded.values()}  # few: equal ones are read as one object
    seen = {key: {name: str(found.get(name)) for name in _SOFTWARE} for key, found in different.items()}
    differing = [name for name in _SOFTWARE if len({found[name] for found in seen.values()}) > 1]
    texts = {
        key: ", ".join(f"{name} {found[name]}" for name in differing or _SOFTWARE)
        for key, found in seen.items()
    }
    told = {key: texts[id(found)] for key, found in recorded.items()}
    keys = [segment.key for segment in plan.segments]
    paths = ([told[keys[place]] for place in each.path if keys[place] in told] for each in plan.learners)
    return [" + ".join(dict.fromkeys(path)) or None for path in paths]

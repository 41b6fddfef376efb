"""Several tasks at once: interquartile means and performance profiles, with stratified bootstraps.

After Agarwal et al., *Deep Reinforcement Learning at the Edge of the Statistical Precipice*, NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from paribus.analysis.factors import Factor, learner_rows, require, treatments_of
from paribus.analysis.inference import Array, Better, direction_of
from paribus.analysis.provenance import provenance_notes
from paribus.analysis.table import Table
from paribus.analysis.wording import interval_text, level_text, number, short_names
from paribus.errors import AnalysisError

_CUT = 0.25  # of each end: what is left is the interquartile mean
_DRAWS = 2_000
_THRESHOLDS = 101

Scale = Mapping[object, tuple[float, float]]


def aggregate(
    results: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    *,
    task: str,
    scale: Scale | None = None,
    better: Better | None = None,
    confidence: float = 0.95,
    labels: Mapping[str, str] | None = None,
    allow_adaptive: bool = False,
) -> Table:
    """Summarise each condition over the runs of several tasks by the interquartile mean.

    The interquartile mean is that of the middle half of all runs: a few lucky tasks do not make it, and
    a quarter of the runs may be lost without undoing it. Runs that diverged or failed rank worst. The
    interval is a percentile bootstrap that draws runs anew within each task (2,000 seeded draws): it speaks
    about these tasks, not about others.

    Args:
        results: One row per run, of all tasks.
        metric: Name of the metric's column.
        factors: The factors of the experiments.
        task: The column that names the task.
        scale: For each task the values of the metric that become 0 and 1; None: the metric as it is.
        better: Which direction of the metric is better; None: read from its name.
        confidence: Coverage of the intervals.
        labels: Names to print in place of columns' names.
        allow_adaptive: Whether learners that an adaptive sampler placed may enter.

    Returns:
        One row per combination of the treatments other than `task`: their columns, `tasks`, `n` and `of`
        (runs), `mean`, `median`, `iqm`, `low`, `high` (of the interquartile mean; null where losses reach
        into the middle half).

    Raises:
        AnalysisError: A column is absent, a task has no scale, or no run ended well.
    """
    direction = direction_of(metric, better, "aggregate")
    runs = _runs(results, metric, factors, task, scale, "aggregate", allow_adaptive)
    treatments = [column for column in treatments_of(factors) if column != task]
    groups = [_Scores.of(rows, task, direction) for rows in _split(runs, treatments)]
    frame = pl.concat(
        [
            runs.select(treatments).unique(maintain_order=True),
            pl.DataFrame([_summary(scores, confidence) for scores in groups], schema=_SUMMARY),
        ],
        how="horizontal",
    )
    tasks = runs[task].n_unique()
    caption = (
        f"{metric} ({direction} is better) over {tasks} tasks: interquartile mean with its "
        f"{100 * confidence:g}% stratified bootstrap interval."
    )
    return Table(
        frame,
        caption,
        (*_notes(runs, scale), *provenance_notes(results)),
        _shown(frame, treatments, labels, confidence),
    )


def profile(
    results: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    *,
    task: str,
    scale: Scale | None = None,
    better: Better | None = None,
    confidence: float = 0.95,
    labels: Mapping[str, str] | None = None,
    allow_adaptive: bool = False,
) -> Table:
    """Compute performance profiles: the share of runs that are better than each of 101 thresholds.

    Every task has the same weight. Runs that diverged or failed are better than no threshold. A profile
    that lies above another one everywhere is stochastically better.

    Args:
        results: One row per run, of all tasks.
        metric: Name of the metric's column.
        factors: The factors of the experiments.
        task: The column that names the task.
        scale: For each task the values of the metric that become 0 and 1; None: the metric as it is.
        better: Which direction of the metric is better; None: read from its name.
        confidence: Coverage of the pointwise bands, stratified bootstraps as in `aggregate`.
        labels: Names to print in place of columns' names.
        allow_adaptive: Whether learners that an adaptive sampler placed may enter.

    Returns:
        For each combination of the treatments other than `task`, one row per threshold: their columns,
        `threshold`, `share`, `low`, `high`.

    Raises:
        AnalysisError: A column is absent, a task has no scale, or no run ended well.
    """
    direction = direction_of(metric, better, "profile")
    runs = _runs(results, metric, factors, task, scale, "profile", allow_adaptive)
    treatments = [column for column in treatments_of(factors) if column != task]
    known = runs["value"].drop_nulls()
    thresholds = np.linspace(float(known.min()), float(known.max()), _THRESHOLDS)  # type: ignore[arg-type]
    parts = []
    for rows in _split(runs, treatments):
        shares = _shares(_Scores.of(rows, task, direction), thresholds, direction, confidence)
        parts.append(rows.select(treatments).head(1).join(shares, how="cross") if treatments else shares)
    frame = pl.concat(parts)
    side = "above" if direction == "higher" else "below"
    caption = (
        f"Performance profiles on {metric} over {runs[task].n_unique()} tasks: share of runs {side} each "
        f"threshold, with its {100 * confidence:g}% stratified bootstrap band."
    )
    middle = frame.filter(pl.col("threshold") == thresholds[_THRESHOLDS // 2])
    shown = _shown_profile(middle, treatments, labels)
    return Table(frame, caption, (*_notes(runs, scale), *provenance_notes(results)), shown)


class _Scores:
    """The scores of one condition's runs, task by task; lost runs are the worst there is."""

    def __init__(self, by_task: Sequence[Array], lost: int, better: Better) -> None:
        self.by_task, self.lost, self.better = by_task, lost, better

    @classmethod
    def of(cls, rows: pl.DataFrame, task: str, better: Better) -> _Scores:
        worst = -np.inf if better == "higher" else np.inf
        groups = rows.group_by(task, maintain_order=True).agg(pl.col("value").fill_null(worst))
        return cls([np.array(values) for values in groups["value"]], rows["value"].null_count(), better)

    def resampled(self) -> list[Array]:
        """Draw the runs of each task anew, with replacement: shapes ``(draws, runs)``."""
        generator = np.random.default_rng(0)
        return [
            values[generator.integers(len(values), size=(_DRAWS, len(values)))] for values in self.by_task
        ]


_SUMMARY = {
    **dict.fromkeys(("tasks", "n", "of"), pl.Int64),
    **dict.fromkeys(("mean", "median", "iqm", "low", "high"), pl.Float64),
}


def _runs(
    results: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    task: str,
    scale: Scale | None,
    name: str,
    allow_adaptive: bool,
) -> pl.DataFrame:
    require(results, [task], name)
    known = [*factors, *([] if task in treatments_of(factors) else [Factor("task", (task,))])]
    rows = learner_rows(results, metric, known, name, allow_adaptive).filter(pl.col("outcome") != "missing")
    if rows["value"].drop_nulls().is_empty():
        raise AnalysisError(f"{name}: no run has {metric!r}; all were lost")
    if scale is None:
        return rows
    for level in rows[task].unique(maintain_order=True):
        if level not in scale or scale[level][0] == scale[level][1]:
            raise AnalysisError(
                f"{name}: scale has no range for the task {level!r}; give the values that become 0 and 1, "
                f"as in scale={{{level!r}: (0.1, 0.9)}}"
            )
    zero, one = (
        pl.col(task).replace_strict({key: ends[i] for key, ends in scale.items()}, return_dtype=pl.Float64)
        for i in (0, 1)
    )
    return rows.with_columns((pl.col("value") - zero) / (one - zero))


def _split(runs: pl.DataFrame, treatments: Sequence[str]) -> list[pl.DataFrame]:
    return runs.partition_by(treatments, maintain_order=True) if treatments else [runs]


def _summary(scores: _Scores, confidence: float) -> dict[str, Any]:
    from scipy import stats

    values = np.concatenate(scores.by_task)
    ended = values[np.isfinite(values)]
    with np.errstate(invalid="ignore"):
        draws = stats.trim_mean(np.concatenate(scores.resampled(), axis=1), _CUT, axis=1)
        middle = float(stats.trim_mean(values, _CUT))
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    low, high = (float(np.quantile(draws, tail, method="nearest")) for tail in tails)
    return {
        "tasks": len(scores.by_task),
        "n": len(ended),
        "of": len(values),
        "mean": float(ended.mean()) if len(ended) == len(values) else None,
        "median": _finite(float(np.median(values))),
        "iqm": _finite(middle),
        "low": _finite(low),
        "high": _finite(high),
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _shares(scores: _Scores, thresholds: Array, better: Better, confidence: float) -> pl.DataFrame:
    drawn = [_beyond(draws, thresholds, better) for draws in scores.resampled()]
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    low, high = np.quantile(np.mean(drawn, axis=0), tails, axis=0)
    own = [_beyond(values[None, :], thresholds, better)[0] for values in scores.by_task]
    return pl.DataFrame({"threshold": thresholds, "share": np.mean(own, axis=0), "low": low, "high": high})


def _beyond(draws: Array, thresholds: Array, better: Better) -> Array:
    """Count the share of each row's values that are better than each threshold: ``(draws, thresholds)``."""
    sign = 1.0 if better == "higher" else -1.0
    ranked = np.sort(sign * draws, axis=1)
    places: Array = np.empty((len(draws), len(thresholds)))
    for place, threshold in enumerate(sign * thresholds):
        places[:, place] = (ranked > threshold).mean(axis=1)
    return places


def _notes(runs: pl.DataFrame, scale: Scale | None) -> list[str]:
    lost = runs["value"].null_count()
    notes = ["Intervals: runs drawn anew within each task, 2,000 times; they speak about these tasks only."]
    if lost:
        notes.append(f"{lost} of {runs.height} runs diverged or failed: they rank worst.")
    if scale is None:
        notes.append("The metric is not normalised: a task with wide values weighs more; give scale=.")
    return notes


def _shown(
    frame: pl.DataFrame, treatments: Sequence[str], labels: Mapping[str, str] | None, confidence: float
) -> pl.DataFrame:
    names, rows = short_names(treatments, labels), frame.to_dicts()
    columns = {names[column]: [level_text(row[column]) for row in rows] for column in treatments}
    columns["tasks"] = [str(row["tasks"]) for row in rows]
    columns["runs"] = [str(row["n"]) if row["n"] == row["of"] else f"{row['n']}/{row['of']}" for row in rows]
    columns[f"IQM [{100 * confidence:g}%]"] = [
        interval_text(row["iqm"], row["low"], row["high"]).replace("+", "") for row in rows
    ]
    columns["median"] = [number(row["median"]) for row in rows]
    columns["mean"] = [number(row["mean"]) for row in rows]
    return pl.DataFrame(columns)


def _shown_profile(
    middle: pl.DataFrame, treatments: Sequence[str], labels: Mapping[str, str] | None
) -> pl.DataFrame:
    names, rows = short_names(treatments, labels), middle.to_dicts()
    columns = {names[column]: [level_text(row[column]) for row in rows] for column in treatments}
    columns["threshold"] = [number(row["threshold"], None) for row in rows]
    columns["share of runs"] = [
        interval_text(row["share"], row["low"], row["high"]).replace("+", "") for row in rows
    ]
    return pl.DataFrame(columns)

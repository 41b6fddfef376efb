"""Comparisons after tuning: chosen on validation, reported on test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import polars as pl

from paribus.analysis import inference
from paribus.analysis.factors import Factor, learner_rows, require, treatments_of
from paribus.analysis.inference import Better, Sample, direction_of
from paribus.analysis.provenance import provenance_notes
from paribus.analysis.selection import check_validation
from paribus.analysis.table import Table
from paribus.analysis.wording import condition_text, interval_text, level_text, short_names
from paribus.errors import AnalysisError


def tuned(
    results: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    *,
    over: Sequence[str],
    by: str,
    better: Better | None = None,
    budgets: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    labels: Mapping[str, str] | None = None,
    allow_adaptive: bool = False,
) -> Table:
    """Report each condition at the hyperparameters that validation chose, and what fewer trials give.

    A configuration's validation score is its mean over all replicates; one of whose learners any diverged or
    failed ranks last. The chosen configuration is reported on `metric`, which had no say in the choice. The
    expected best of k trials is that of k configurations drawn from the grid without replacement, the best of
    them chosen on validation and read off on `metric` (exact; after Dodge et al. 2019).

    Args:
        results: One row per learner.
        metric: What is reported, such as ``"test/accuracy"``.
        factors: The factors of the experiment.
        over: Treatment columns that were tuned, such as ``["SetOptimizer.lr"]``.
        by: What chooses: a metric of the validation split, another than `metric`.
        better: Which direction of `by` is better; None: read from its name.
        budgets: Numbers of trials k to give the expected best of, as far as the grid goes.
        labels: Names to print in place of columns' names.
        allow_adaptive: Whether learners that an adaptive sampler placed may enter.

    Returns:
        One row per combination of the other treatments: their columns, those of `over` at the choice,
        `validation`, `n`, `of`, `mean`, `sd`, `low`, `high`, `trials`, and ``best of k`` for each budget.

    Raises:
        AnalysisError: If a column is absent, `by` is no validation metric, or no configuration ended well.
    """
    check_validation(metric, by, "tuned")
    direction = direction_of(by, better, "tuned")
    _check_over(over, factors)
    require(results, [by], "tuned")
    reported, chosen_by = (
        learner_rows(results, name, factors, "tuned", allow_adaptive) for name in (metric, by)
    )
    others = [column for column in treatments_of(factors) if column not in over]
    trials = _trials(reported.with_columns(chosen_by["value"].alias("validation")), [*others, *over])
    sign = 1.0 if direction == "higher" else -1.0
    groups = trials.partition_by(others, maintain_order=True) if others else [trials]
    rows = [_choose(group, [*others, *over], sign, budgets) for group in groups]
    kept = [f"best of {k}" for k in budgets if any(row.get(f"best of {k}") is not None for row in rows)]
    frame = pl.DataFrame(rows, infer_schema_length=None).select(pl.exclude("^best of .*$"), *kept)
    names = short_names([*others, *over], labels)
    lost = trials.height - trials.drop_nulls("validation").height
    tuned_names = ", ".join(names[column] for column in over)
    notes = [
        f"Chosen by {by} ({direction} is better), mean over replicates; {metric} had no say in the choice.",
        *provenance_notes(results),
    ]
    if lost:
        notes.append(f"{lost} of {trials.height} configurations lost a learner: they rank last.")
    return Table(
        frame, f"{metric} after tuning {tuned_names}.", tuple(notes), _shown(frame, others, over, names)
    )


def _check_over(over: Sequence[str], factors: Sequence[Factor]) -> None:
    if not over:
        raise AnalysisError("tuned: over is empty; name the treatment columns that were tuned")
    require(pl.DataFrame(schema=treatments_of(factors)), over, "tuned")


def _trials(rows: pl.DataFrame, treatments: Sequence[str]) -> pl.DataFrame:
    """Average each configuration over its replicates; `validation` is null where one was lost."""
    lost = pl.col("validation").null_count() > 0
    return rows.group_by(treatments, maintain_order=True).agg(
        pl.when(lost).then(None).otherwise(pl.col("validation").mean()).alias("validation"),
        pl.col("value").drop_nulls().alias("values"),
        pl.len().cast(pl.Int64).alias("of"),
    )


def _choose(
    trials: pl.DataFrame, treatments: Sequence[str], sign: float, budgets: Sequence[int]
) -> dict[str, object]:
    ranked = trials.sort(sign * pl.col("validation"), descending=True, nulls_last=True, maintain_order=True)
    best = ranked.row(0, named=True)
    if best["validation"] is None:
        raise AnalysisError("tuned: a condition has no configuration of which all learners ended well")
    sample = Sample.of(ranked["values"][0].to_numpy())
    low, high = inference.t_interval(sample) or (None, None)
    means = ranked.filter(pl.col("validation").is_not_null())["values"].list.mean().to_list()
    return {
        **{column: best[column] for column in treatments},
        "validation": best["validation"],
        "n": sample.n,
        "of": best["of"],
        "mean": sample.mean if sample.n else None,
        "sd": sample.sd if sample.n > 1 else None,
        "low": low,
        "high": high,
        "trials": trials.height,
        **{f"best of {k}": expected_best(means, trials.height, k) for k in budgets},
    }


def expected_best(ranked: Sequence[float | None], trials: int, k: int) -> float | None:
    """Return the mean of the best of `k` trials drawn without replacement from `trials`.

    Args:
        ranked: Reported values, the best-ranked trial first; trials that were lost are left out.
        trials: Number of trials, with those that were lost.
        k: Number of trials drawn.

    Returns:
        None where `k` exceeds the trials, a value is unknown, or all of the draw may be lost.
    """
    if k > trials or k <= trials - len(ranked) or None in ranked:
        return None
    ways = [math.comb(trials - 1 - rank, k - 1) for rank in range(len(ranked))]
    return sum(way * value for way, value in zip(ways, ranked, strict=True) if value is not None) / sum(ways)


def _shown(
    frame: pl.DataFrame, others: Sequence[str], over: Sequence[str], names: Mapping[str, str]
) -> pl.DataFrame:
    rows = frame.to_dicts()
    columns = {names[column]: [level_text(row[column]) for row in rows] for column in others}
    columns["chosen"] = [condition_text({column: row[column] for column in over}, names) for row in rows]
    columns["n"] = [str(row["n"]) if row["n"] == row["of"] else f"{row['n']}/{row['of']}" for row in rows]
    columns["mean [95%]"] = [
        interval_text(row["mean"], row["low"], row["high"]).replace("+", "") for row in rows
    ]
    for name in (name for name in frame.columns if name.startswith("best of ")):
        columns[name] = [level_text(row[name] and round(row[name], 4)) for row in rows]
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))

"""The numbers behind curves: means and intervals over runs, step by step. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from scipy import special

from paribus.analysis.factors import Factor, treatments_of

_BAND_FROM = 3  # below three runs an interval says nothing
_RUN_LINES = 3  # up to so many runs in a line, each is drawn too


def recorded(frame: pl.DataFrame, metric: str, x: str, factors: Sequence[Factor]) -> pl.DataFrame:
    """Keep the rows that have a finite value, of learners that ended well or diverged."""
    ended = frame.filter(pl.col("status").is_in(["done", "diverged"])).select(
        pl.col("learner").cast(pl.Int64),
        "status",
        *treatments_of(factors),
        pl.col(x).cast(pl.Float64),
        pl.col(metric).cast(pl.Float64).alias("value"),
    )
    return ended.filter(pl.col("value").is_finite(), pl.col(x).is_not_null()).sort("learner", x)


def marks_of(runs: pl.DataFrame, x: str, treatments: list[str]) -> pl.DataFrame:
    """Compute what is drawn: means with intervals, single runs where they are few, diverged runs."""
    ended = runs.filter(pl.col("status") == "done")
    few = _all_or_by(pl.col("learner").n_unique(), treatments) <= _RUN_LINES
    means = _means(ended, x, treatments)
    thin = ended.filter(few & (_all_or_by(pl.col("learner").n_unique(), treatments) > 1))
    diverged = runs.filter(pl.col("status") == "diverged")
    single = [
        rows.select(
            *treatments,
            x,
            pl.lit(mark).alias("mark"),
            "learner",
            pl.lit(1, dtype=pl.Int64).alias("n"),
            "value",
            pl.lit(None, dtype=pl.Float64).alias("low"),
            pl.lit(None, dtype=pl.Float64).alias("high"),
        )
        for mark, rows in (("run", thin), ("diverged", diverged))
    ]
    return pl.concat([means, *(rows.sort(*treatments, "learner", x) for rows in single)])


def _all_or_by(expression: pl.Expr, columns: list[str]) -> pl.Expr:
    return expression.over(columns) if columns else expression


def _means(runs: pl.DataFrame, x: str, treatments: list[str]) -> pl.DataFrame:
    means = runs.group_by(*treatments, x, maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("n"),
        pl.col("value").mean().alias("mean"),
        pl.col("value").std().alias("sd"),
    )
    quantile = {
        n: float(special.stdtrit(n - 1, 0.975)) / n**0.5 for n in means["n"].unique() if n >= _BAND_FROM
    }
    half = pl.col("n").replace_strict(quantile, default=None, return_dtype=pl.Float64) * pl.col("sd")
    return means.sort(*treatments, x).select(
        *treatments,
        x,
        pl.lit("mean").alias("mark"),
        pl.lit(None, dtype=pl.Int64).alias("learner"),
        "n",
        pl.col("mean").alias("value"),
        (pl.col("mean") - half).alias("low"),
        (pl.col("mean") + half).alias("high"),
    )


def losses_of(frame: pl.DataFrame) -> str:
    """Count the learners that are not in the means."""
    by_status = frame.group_by("status").agg(pl.col("learner").n_unique())
    counts = dict(by_status.iter_rows())
    total = frame["learner"].n_unique()
    words = [f"{counts[s]} of {total} runs {s}" for s in ("diverged", "failed", "missing") if counts.get(s)]
    return ", ".join(words) + " (not in the means)" if words else ""

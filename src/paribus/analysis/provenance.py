"""What a reader must know of where the numbers come from: samplers, library versions, machines."""

from __future__ import annotations

import polars as pl

from paribus.analysis.factors import adaptive_rows

_SHOWN = 4


def provenance_notes(results: pl.DataFrame, pairs: pl.DataFrame | None = None) -> tuple[str, ...]:
    """Say which learners an adaptive sampler placed, and whether all ran on equal libraries.

    Args:
        results: One row per learner; `adaptive` (boolean) and `environment` (text) are read if present.
        pairs: What `paribus.analysis.pair` made of them, to count the pairs of unlike environments.
    """
    return (*_adaptive(results), *_environments(results, pairs))


def _adaptive(results: pl.DataFrame) -> list[str]:
    count = adaptive_rows(results)
    if not count:
        return []
    return [
        f"An adaptive sampler chose the levels of {count} of {results.height} learners by looking at "
        "results: means over them are biased."
    ]


def _environments(results: pl.DataFrame, pairs: pl.DataFrame | None) -> list[str]:
    if "environment" not in results.columns:
        return []
    counts = results["environment"].drop_nulls().value_counts(sort=True).sort("count", "environment")[::-1]
    if counts.height < 2:
        return []
    listed = "; ".join(f"{text} ({count})" for text, count in counts.head(_SHOWN).iter_rows())
    more = "; …" if counts.height > _SHOWN else ""
    across = "" if pairs is None else f" {_across(results, pairs)} of {pairs.height} pairs are across them."
    return [f"The learners were trained in {counts.height} different environments: {listed}{more}.{across}"]


def _across(results: pl.DataFrame, pairs: pl.DataFrame) -> int:
    """Count the pairs whose learners ran in unlike environments."""
    rows = results if "learner" in results.columns else results.with_row_index("learner")
    known = rows.select(pl.col("learner").cast(pl.Int64), "environment")
    both = pairs.select("learner", "control_learner").join(known, on="learner")
    both = both.join(known, left_on="control_learner", right_on="learner", suffix="_control")
    return both.filter(pl.col("environment") != pl.col("environment_control")).height

"""Factors: which columns of a results frame were treated, and which only replicate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from paribus.errors import AnalysisError, suggest


@dataclass(frozen=True)
class Factor:
    """One factor of an experiment: an intervention, its treatments and its seeds.

    Attributes:
        name: Name of the intervention, such as ``"PerturbWeights"``.
        treatments: Columns whose levels are compared.
        replicates: Columns that hold seeds; a combination of them is a block.
        control: Values of the treatments at the control; ``None`` where no control was declared.

    Raises:
        AnalysisError: If the control names a column that is no treatment of the factor.

    Example:
        >>> Factor("PerturbWeights", ("PerturbWeights.epsilon",), ("PerturbWeights.seed",),
        ...        control={"PerturbWeights.epsilon": 0.0}).name
        'PerturbWeights'
    """

    name: str
    treatments: tuple[str, ...]
    replicates: tuple[str, ...] = ()
    control: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        """Refuse a control that the treatments cannot express."""
        object.__setattr__(self, "treatments", tuple(self.treatments))
        object.__setattr__(self, "replicates", tuple(self.replicates))
        for column in self.control or ():
            if column not in self.treatments:
                known = suggest(column, self.treatments)
                raise AnalysisError(
                    f"Factor {self.name!r}: the control names {column!r}, no treatment {known}"
                )

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns of the factor: treatments, then replicates."""
        return self.treatments + self.replicates


def treatments_of(factors: Iterable[Factor]) -> list[str]:
    """List the treatment columns of all factors, in order."""
    return [column for factor in factors for column in factor.treatments]


def replicates_of(factors: Iterable[Factor]) -> list[str]:
    """List the replicate columns of all factors, in order."""
    return [column for factor in factors for column in factor.replicates]


def varying_seeds(rows: pl.DataFrame, factors: Sequence[Factor]) -> list[str]:
    """List the replicate columns that take two values within some condition.

    Others tell conditions apart, not replicates: a control such as ``epsilon=0`` has no seed of its own.
    """
    treatments = treatments_of(factors)
    counts = [pl.col(column).n_unique() for column in replicates_of(factors)]
    if not counts:
        return []
    within = rows.group_by(treatments).agg(counts) if treatments else rows.select(counts)
    return [column for column in replicates_of(factors) if (within[column] > 1).any()]


def at_control(rows: pl.DataFrame, control: Mapping[str, object]) -> pl.Series:
    """Say for each row whether it is at a control.

    Raises:
        AnalysisError: If a value of the control cannot occur in its column.
    """
    same = pl.all_horizontal(pl.col(column).eq_missing(pl.lit(value)) for column, value in control.items())
    try:
        return rows.select(same).to_series()
    except pl.exceptions.PolarsError as error:
        kinds = ", ".join(f"{column!r} {rows.schema[column]}" for column in control)
        raise AnalysisError(
            f"the control {dict(control)} cannot be compared with its columns ({kinds}); "
            "declare it with values of their types"
        ) from error


def outcome(metric: str) -> pl.Expr:
    """Say how each learner ended as far as `metric` goes.

    That is "done", "pruned", "diverged", "failed" or "missing". A finished learner whose metric is NaN or
    infinite has diverged; one that never recorded it, is missing.
    """
    value = pl.col(metric)
    return (
        pl.when(pl.col("status") != "done")
        .then(pl.col("status"))
        .when(value.is_null())
        .then(pl.lit("missing"))
        .when(~value.cast(pl.Float64).is_finite())
        .then(pl.lit("diverged"))
        .otherwise(pl.lit("done"))
    )


def learner_rows(
    results: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    task: str,
    allow_adaptive: bool = False,
) -> pl.DataFrame:
    """Cut a results frame to what an analysis needs, in the order of the learners.

    Args:
        results: One row per learner.
        metric: Name of the metric's column.
        factors: The factors of the experiment.
        task: Name of the analysis, for its errors.
        allow_adaptive: Whether rows may be true in the column `adaptive`, if there is one: their levels were
            chosen by a sampler that had seen results, so their means are biased.

    Returns:
        Columns `learner`, those of the factors, `outcome` and `value`, null unless the learner is done.

    Raises:
        AnalysisError: If a column is absent, the frame is empty, two learners are equal in all factors, or
            rows of an adaptive sampler are not allowed.
    """
    if not allow_adaptive and adaptive_rows(results):
        raise AnalysisError(
            f"{task}: an adaptive sampler chose the levels of {adaptive_rows(results)} of {results.height} "
            "learners by looking at results, which biases every mean over them; compare a grid or random "
            "levels, or accept the bias with allow_adaptive=True"
        )
    if "learner" not in results.columns:
        results = results.with_row_index("learner")
    columns = [column for factor in factors for column in factor.columns]
    require(results, ["status", metric, *columns], task)
    if results.is_empty():
        raise AnalysisError(f"{task}: the results hold no learner; run the experiment first")
    if not results.schema[metric].is_numeric():
        raise AnalysisError(
            f"{task}: {metric!r} is {results.schema[metric]}, not a number; name a scalar metric"
        )
    rows = results.sort("learner").select(
        pl.col("learner").cast(pl.Int64),
        *columns,
        outcome(metric).alias("outcome"),
        pl.col(metric).cast(pl.Float64).alias("value"),
    )
    _require_distinct(rows, columns, task)
    return rows.with_columns(pl.when(pl.col("outcome") == "done").then("value").alias("value"))


def adaptive_rows(results: pl.DataFrame) -> int:
    """Count the learners whose levels an adaptive sampler chose; without a column `adaptive`, none."""
    return int(results["adaptive"].sum()) if "adaptive" in results.columns else 0


def require(frame: pl.DataFrame, columns: Iterable[str], task: str) -> None:
    """Raise an AnalysisError that names the first of `columns` that `frame` lacks."""
    for column in columns:
        if column not in frame.columns:
            known = suggest(column, frame.columns)
            raise AnalysisError(f"{task}: no column {column!r} in the results {known}")


def _require_distinct(rows: pl.DataFrame, columns: Sequence[str], task: str) -> None:
    twins = rows.filter(pl.struct(columns).is_duplicated()) if columns else rows.slice(1)
    if twins.height:
        names = ", ".join(str(learner) for learner in twins["learner"].head(3))
        raise AnalysisError(
            f"{task}: learners {names} are equal in all factors ({', '.join(columns)}); "
            "give the factors that tell them apart, or keep one row for each learner"
        )

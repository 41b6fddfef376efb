"""Pairing: each treated learner beside the control that differs from it in one factor only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import polars as pl

from paribus.analysis.factors import Factor, at_control, learner_rows, replicates_of, treatments_of
from paribus.analysis.wording import condition_text, short_names
from paribus.errors import AnalysisError

_CONTROL = {
    "learner": "control_learner",
    "outcome": "control_outcome",
    "value": "control",
}
_ALL = "(all)"  # a constant column: joins and windows over no other factor need no case of their own


def pair(
    results: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    *,
    allow_adaptive: bool = False,
    within: Collection[str] | None = None,
) -> pl.DataFrame:
    """Pair every treated learner, factor by factor, with its control.

    The control of a learner in a factor is the learner with that factor's treatments at control and all else
    equal: the treatments and the seeds of all other factors. The factor's own seeds are matched where the
    control has them; a control that is alone in its block serves all of the factor's seeds, since a control
    such as ``epsilon=0`` does not depend on its seed.

    A factor without a declared control is compared with the level at which the intervention is absent;
    failing that, with its first level in the order of the learners; where that level does not occur beside
    the levels of the other factors (levels computed from another factor's), with the first that does.

    Args:
        results: One row per learner.
        metric: Name of the metric's column.
        factors: The factors of the experiment.
        allow_adaptive: Whether learners that an adaptive sampler placed may enter.
        within: Names of the factors in which learners are paired; None: all that have treatments.

    Returns:
        One row per factor and treated learner: `factor`, `reference` (the control's levels, in words), all
        treatment and replicate columns, `learner`, `outcome`, `treated` (the metric), `control_learner`,
        `control_outcome`, `control` (the metric) and `difference`. `control_learner` is null where there is
        no control, `difference` where one of the two did not end well.

    Raises:
        AnalysisError: If columns are absent, the frame is empty, no factor has a treatment, or two learners
            are equal in all factors.
    """
    rows = learner_rows(results, metric, factors, "pair", allow_adaptive)
    rows = rows.with_columns(pl.lit(0).alias(_ALL))
    paired = [factor for factor in factors if factor.treatments and (within is None or factor.name in within)]
    parts = [_pair_in(rows, factor, factors) for factor in paired]
    if not parts:
        raise AnalysisError(
            "pair: no factor has a treatment, only seeds vary; add an intervention to compare"
        )
    return pl.concat(parts)


def _pair_in(rows: pl.DataFrame, factor: Factor, factors: Sequence[Factor]) -> pl.DataFrame:
    others = [other for other in factors if other is not factor]
    equal = [_ALL, *treatments_of(others), *replicates_of(others)]
    own = [column for column in factor.columns if column not in _reference_columns(factor)]
    rows = _mark_control(rows, factor, [_ALL, *treatments_of(others)])
    treated = rows.filter(~pl.col("is_control")).drop("level", "is_control")
    controls = rows.filter("is_control").select(*equal, *own, "level", *_renamed(_CONTROL))

    matched = treated.join(controls, on=equal + own, how="left", nulls_equal=True)
    found = matched.filter(pl.col("control_learner").is_not_null())
    left = treated.join(found, on="learner", how="anti")
    alone = controls.filter(pl.len().over(equal) == 1).drop(own)
    broadcast = left.join(alone, on=equal, how="left", nulls_equal=True)
    return pl.concat([found, broadcast.select(found.columns)]).sort("learner").select(
        pl.lit(factor.name).alias("factor"),
        pl.coalesce("level", pl.lit(_declared_text(factor), dtype=pl.String)).alias("reference"),
        *treatments_of(factors),
        *replicates_of(factors),
        "learner",
        "outcome",
        pl.col("value").alias("treated"),
        *_CONTROL.values(),
        (pl.col("value") - pl.col("control")).alias("difference"),
    )  # fmt: skip


def _renamed(names: Mapping[str, str]) -> list[pl.Expr]:
    return [pl.col(old).alias(new) for old, new in names.items()]


def _reference_columns(factor: Factor) -> tuple[str, ...]:
    """Columns in which a control differs from what is compared with it."""
    return factor.treatments if factor.control is None else tuple(factor.control)


def _declared_text(factor: Factor) -> str | None:
    if factor.control is None:
        return None
    return _level_text(factor.name, factor.control)


def _level_text(name: str, level: Mapping[str, object]) -> str:
    if all(value is None for value in level.values()):
        return f"no {name}"
    present = {column: value for column, value in level.items() if value is not None}
    return condition_text(present, short_names(list(level)))


def _mark_control(rows: pl.DataFrame, factor: Factor, stratum: list[str]) -> pl.DataFrame:
    """Add `is_control`, and `level`: the levels of `factor` that make the reference, in words."""
    columns = list(_reference_columns(factor))
    rows = _with_levels(rows, columns, factor.name)
    if factor.control is not None:
        return rows.with_columns(at_control(rows, factor.control).alias("is_control"))
    absent = pl.all_horizontal(pl.col(columns).is_null())
    first = pl.col("level_index") == rows["level_index"].first()
    best = pl.col("level_index").sort_by(~absent, ~first, "learner").first().over(stratum)
    return rows.with_columns((pl.col("level_index") == best).alias("is_control"))


def _with_levels(rows: pl.DataFrame, columns: list[str], name: str) -> pl.DataFrame:
    levels = rows.select(columns).unique(maintain_order=True)
    texts = [_level_text(name, level) for level in levels.iter_rows(named=True)]
    levels = levels.with_columns(pl.Series("level", texts, dtype=pl.String)).with_row_index("level_index")
    return rows.join(levels, on=columns, how="left", nulls_equal=True, maintain_order="left")

"""Analysis of variance: how much of the outcome each treatment and each interaction explains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from paribus.analysis import inference
from paribus.analysis.decomposition import Axes, degrees_of_freedom, full_grid, subsets, sums_of_squares
from paribus.analysis.factors import Factor, learner_rows, treatments_of, varying_seeds
from paribus.analysis.inference import Array
from paribus.analysis.provenance import provenance_notes
from paribus.analysis.table import Table
from paribus.analysis.wording import number, p_text, short_names
from paribus.errors import AnalysisError

_BLOCK = "(block)"
_NOISE = ("blocks", "residual")


def anova(
    results: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    *,
    order: int = 2,
    labels: Mapping[str, str] | None = None,
    allow_adaptive: bool = False,
) -> Table:
    """Split the variation of a metric among treatments, their interactions and the blocks of seeds.

    On a full grid the split is the exact functional decomposition, and each effect is tested against its own
    interaction with the blocks (a repeated-measures F). Where cells are missing or were lost, the table has
    type II sums of squares, with one residual for all tests, and says so.

    Args:
        results: One row per learner.
        metric: Name of the metric's column.
        factors: The factors of the experiment; every treatment column that varies enters, and a factor whose
            columns are not crossed with each other as a whole.
        order: The highest order of interaction to list; beyond it, effects count as "higher interactions".
        labels: Names to print in place of columns' names.
        allow_adaptive: Whether learners that an adaptive sampler placed may enter.

    Returns:
        One row per effect, main effects first, the largest on top; then "higher interactions", "blocks" and
        "residual" where there are any: `effect`, `order`, `df`, `ss`, `share` (of all variation),
        `importance` (share of the variation between conditions), `f`, `error_df`, `p`, `p_holm`.

    Raises:
        AnalysisError: If no treatment varies, or no learner ended well.
    """
    rows = learner_rows(results, metric, factors, "anova", allow_adaptive)
    rows, names = _sources(rows, factors, labels or {})
    columns = list(names)
    if not columns:
        raise AnalysisError("anova: no treatment has two levels; add a level to compare")
    seeds = varying_seeds(rows, factors)
    blocks = pl.struct(seeds) if seeds else pl.lit(0)
    rows = rows.with_columns(blocks.rank("dense").alias(_BLOCK))
    lost = rows["value"].null_count()
    if lost == rows.height:
        raise AnalysisError(f"anova: no learner has {metric!r}; all {lost} were lost")
    grid = full_grid(rows, [*columns, _BLOCK])
    lines = _exact(grid, order) if grid is not None else _type_two(rows.drop_nulls("value"), columns, order)
    frame = _frame(lines, [names[column] for column in columns])
    confounded = frame.filter(pl.col("df") == 0)["effect"].to_list()
    frame = frame.filter(pl.col("df") > 0)
    notes = [*_notes(grid is None, lost, rows.height), *provenance_notes(results)]
    if confounded:
        notes.append(f"Left out, since the other effects determine them: {', '.join(confounded)}.")
    return Table(frame, _caption(metric), tuple(notes), _shown(frame))


def _sources(
    rows: pl.DataFrame, factors: Sequence[Factor], labels: Mapping[str, str]
) -> tuple[pl.DataFrame, dict[str, str]]:
    """Name the columns that vary; those of one factor that are not crossed with each other become one.

    A control beside a sweep of two parameters has neither: only the two together tell it from the rest.
    """
    short = short_names([c for c in treatments_of(factors) if rows[c].n_unique() > 1], labels)
    names: dict[str, str] = {}
    for factor in factors:
        own = [column for column in factor.treatments if column in short]
        if len(own) > 1 and rows.select(own).n_unique() < math.prod(rows[c].n_unique() for c in own):
            rows = rows.with_columns(pl.struct(own).rank("dense").alias(factor.name))
            own, short = [factor.name], short | {factor.name: labels.get(factor.name, factor.name)}
        names |= {column: short[column] for column in own}
    return rows, names


@dataclass(frozen=True)
class _Line:
    """One source of variation; its axes are empty for the last three rows of a table."""

    name: str
    axes: Axes
    df: int
    ss: float
    f: float | None = None
    error_df: int | None = None
    p: float | None = None


def _tested(axes: Axes, df: int, ss: float, error_df: int, error_ss: float) -> _Line:
    noise = error_ss / error_df if error_df else 0.0
    if df == 0 or noise <= 1e-24 * max(ss, 1e-300):
        return _Line("", axes, df, ss)
    from scipy import special

    f = ss / df / noise
    return _Line("", axes, df, ss, f, error_df, float(special.fdtrc(df, error_df, f)))


def _exact(grid: Array, order: int) -> list[_Line]:
    treatments, block = tuple(range(grid.ndim - 1)), grid.ndim - 1
    ss = sums_of_squares(grid)
    df = {axes: degrees_of_freedom(grid.shape, axes) for axes in ss}
    lines: list[_Line] = []
    higher: list[_Line] = []
    for axes in subsets(treatments):
        against = (*axes, block)
        line = _tested(axes, df[axes], ss[axes], df[against], ss[against])
        (lines if len(axes) <= order else higher).append(line)
    within = [axes for axes in ss if block in axes and axes != (block,)]
    rest = [
        _Line("higher interactions", (), sum(line.df for line in higher), sum(line.ss for line in higher)),
        _Line("blocks", (), df[(block,)], ss[(block,)]),
        _Line("residual", (), sum(df[axes] for axes in within), sum(ss[axes] for axes in within)),
    ]
    return [*lines, *(line for line in rest if line.df)]


def _type_two(rows: pl.DataFrame, columns: Sequence[str], order: int) -> list[_Line]:
    """Fit by least squares; an effect is tested given all effects that do not contain it (Yates 1934)."""
    values = rows["value"].to_numpy() - float(np.mean(rows["value"].to_numpy()))
    dummies = {
        axes: _dummies(rows, [columns[axis] for axis in axes]) for axes in subsets(range(len(columns)))
    }
    kept = {axes: columns_ for axes, columns_ in dummies.items() if len(axes) <= order}
    block = _dummies(rows, [_BLOCK])
    rank_full, error_full = _fit([block, *kept.values()], values)
    rank_block, error_block = _fit([block], values)
    error_df = len(values) - rank_full
    lines = []
    for axes in kept:
        without = [block, *(columns_ for other, columns_ in kept.items() if not set(axes) <= set(other))]
        rank_without, error_without = _fit(without, values)
        rank_with, error_with = _fit([*without, kept[axes]], values)
        ss = max(error_without - error_with, 0.0)
        lines.append(_tested(axes, rank_with - rank_without, ss, error_df, error_full))
    rest = [
        _Line("blocks", (), rank_block - 1, float(values @ values) - error_block),
        _Line("residual", (), error_df, error_full),
    ]
    return [*lines, *(line for line in rest if line.df)]


def _dummies(rows: pl.DataFrame, columns: Sequence[str]) -> Array:
    codes = rows.select(pl.struct(columns).rank("dense")).to_series().to_numpy() - 1
    dummies: Array = np.eye(int(codes.max()) + 1)[codes]
    return dummies


def _fit(parts: Sequence[Array], values: Array) -> tuple[int, float]:
    """Return the rank of the design and the sum of squares that it leaves."""
    design = np.hstack([np.ones((len(values), 1)), *parts])
    sizes, directions = np.linalg.eigh(design.T @ design)  # of counts: what is no zero, is far from it
    spanned = sizes > 1e-10 * sizes[-1]
    kept = directions[:, spanned]
    solution = kept @ ((kept.T @ (design.T @ values)) / sizes[spanned])
    left = values - design @ solution
    return int(np.count_nonzero(spanned)), float(left @ left)


def _frame(lines: Sequence[_Line], names: Sequence[str]) -> pl.DataFrame:
    effects = sorted((line for line in lines if line.axes), key=lambda line: (len(line.axes), -line.ss))
    rest = [line for line in lines if not line.axes]
    total = sum(line.ss for line in lines)
    between = sum(line.ss for line in lines if line.name not in _NOISE)
    rows = [
        {
            "effect": line.name or " × ".join(names[axis] for axis in line.axes),
            "order": len(line.axes) or None,
            "df": line.df,
            "ss": line.ss,
            "share": line.ss / total if total else None,
            "importance": line.ss / between if between and line.name not in _NOISE else None,
            "f": line.f,
            "error_df": line.error_df,
            "p": line.p,
        }
        for line in [*effects, *rest]
    ]
    integers = ("order", "df", "error_df")
    schema = {key: pl.Int64 if key in integers else pl.Float64 for key in rows[0]} | {"effect": pl.String}
    frame = pl.DataFrame(rows, schema=schema)
    return frame.with_columns(pl.Series("p_holm", inference.holm(frame["p"].to_list()), dtype=pl.Float64))


def _shown(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(
        "effect",
        pl.col("df").cast(pl.String),
        pl.col("share").map_elements(_percent, pl.String, skip_nulls=False),
        pl.col("importance").map_elements(_percent, pl.String, skip_nulls=False),
        pl.col("f").map_elements(lambda f: number(f, 2), pl.String, skip_nulls=False).alias("F"),
        pl.col("error_df")
        .map_elements(lambda df: number(df, 0), pl.String, skip_nulls=False)
        .alias("error df"),
        pl.col("p_holm").map_elements(p_text, pl.String, skip_nulls=False).alias("p (Holm)"),
    )


def _percent(share: float | None) -> str:
    return number(share) if share is None else f"{100 * share:.1f}%"


def _caption(metric: str) -> str:
    return (
        f"Analysis of variance of {metric}: share of all variation, and importance, the share of the "
        "variation between conditions."
    )


def _notes(unbalanced: bool, lost: int, of: int) -> tuple[str, ...]:
    if not unbalanced:
        return (
            "Full grid: exact decomposition; each effect is tested against its interaction with the blocks.",
        )
    reason = f"{lost} of {of} learners were lost" if lost else "cells are missing"
    return (f"The grid is not full ({reason}): type II sums of squares, which need not add up to the whole.",)

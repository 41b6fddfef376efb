"""Ablation: one part changed, the others in place; and whether two parts matter more together than apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from paribus.analysis import inference
from paribus.analysis.compare import check_range, effect_cells, effect_notes
from paribus.analysis.effects import block_means, blocks_of, effects_of, numbers
from paribus.analysis.factors import Factor, learner_rows, treatments_of
from paribus.analysis.inference import Better, Sample, direction_of
from paribus.analysis.pairing import pair
from paribus.analysis.provenance import provenance_notes
from paribus.analysis.table import Contrast, Table
from paribus.analysis.wording import condition_text, interval_text, level_text, number, p_text, short_names
from paribus.errors import AnalysisError

_OFF = "parts_off"  # how many other factors are not as in the complete condition
_CHANGE = "change"
_PLACE, _SEEDS = "place of the factor", "seeds of the factor"

Levels = Mapping[str, object]


def leave_one_out(
    results: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    *,
    better: Better | None = None,
    margin: float | None = None,
    confidence: float = 0.95,
    labels: Mapping[str, str] | None = None,
    allow_adaptive: bool = False,
) -> Table:
    """Rank the parts of a whole by what it costs to change each, all others in place.

    The complete condition is the one at the declared controls of most factors; among equals, the one from
    which most other conditions differ in exactly one factor, the first of them. So it is the untouched model
    where interventions remove parts (`one_at_a_time`), and all entries together where they add them
    (`paribus.leave_one_out`).

    Args:
        results: One row per learner.
        metric: Name of the metric's column.
        factors: The factors of the experiment.
        better: Which direction of the metric is better; None: read from its name.
        margin: Half width of the range of equivalence, in the metric's unit.
        confidence: Coverage of the intervals.
        labels: Names to print in place of columns' names, or of a change as it would be written.
        allow_adaptive: Whether learners that an adaptive sampler placed may enter.

    Returns:
        One row per change, the most harmful first: `factor`, `reference`, `change` (in words), and the
        columns of `paribus.analysis.compare`.

    Raises:
        AnalysisError: If no condition differs from the complete one in one factor, the direction cannot be
            read, or an argument is out of range.
    """
    check_range(margin, confidence, "leave_one_out")
    direction = direction_of(metric, better, "leave_one_out")
    complete, pairs = _pairs(results, metric, factors, labels, "leave_one_out", allow_adaptive)
    singles = pairs.filter(pl.col(_OFF) == 0).drop(_OFF, _PLACE, _SEEDS)
    keys = ["factor", "reference", _CHANGE, *treatments_of(factors)]
    frame = _worst_first(effects_of(singles, keys, direction, margin, confidence), "difference", direction)
    caption = (
        f"Leave-one-out on {metric} ({direction} is better), from {_complete_text(complete, labels)}: mean "
        f"paired difference with its {100 * confidence:g}% t interval, the most harmful change first."
    )
    return Table(
        frame=frame,
        caption=caption,
        notes=(*effect_notes(frame, singles, margin), *provenance_notes(results, singles)),
        shown=pl.DataFrame({_CHANGE: frame[_CHANGE]} | effect_cells(frame, confidence)),
        paper_only=("d_z", "P(better)"),
        contrast=Contrast(metric, direction, margin, confidence, singles),
    )


def pairs_removed(
    results: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    *,
    better: Better | None = None,
    confidence: float = 0.95,
    labels: Mapping[str, str] | None = None,
    allow_adaptive: bool = False,
) -> Table:
    """Say for every two parts whether changing both does more than the sum of changing each.

    The interaction is ``y(both) - y(one) - y(other) + y(neither)``, within each block of equal seeds, so it
    needs a design that has all four, such as `paribus.pairs` or a full grid.

    Args:
        results: One row per learner.
        metric: Name of the metric's column.
        factors: The factors of the experiment.
        better: Which direction of the metric is better; None: read from its name.
        confidence: Coverage of the intervals; ``1 - confidence`` is the level of the verdicts' tests.
        labels: Names to print in place of columns' names, or of a change as it would be written.
        allow_adaptive: Whether learners that an adaptive sampler placed may enter.

    Returns:
        One row per pair of changes, the most harmful joint effect first: `first`, `second`, `n` and `of`
        (blocks), `joint` (the mean difference of both), `sum` (of the single differences), `interaction`
        with `low` and `high`, `p_t`, `p_sign_flip`, `p_holm`, `verdict`.

    Raises:
        AnalysisError: If no condition differs from the complete one in two factors.
    """
    check_range(None, confidence, "pairs_removed")
    direction = direction_of(metric, better, "pairs_removed")
    complete, pairs = _pairs(results, metric, factors, labels, "pairs_removed", allow_adaptive)
    quads = _quads(pairs)
    if quads.is_empty():
        raise AnalysisError(
            "pairs_removed: no condition has two parts changed beside those with one; use "
            "interventions=pairs(…), or a full grid"
        )
    groups = quads.group_by("first", "second", maintain_order=True).agg(pl.all())
    rows = [_interaction(group, confidence) for group in groups.iter_rows(named=True)]
    frame = pl.DataFrame(rows, infer_schema_length=None, schema_overrides=_QUAD_SCHEMA)
    frame = _worst_first(frame, "joint", direction)
    frame = frame.with_columns(pl.Series("p_holm", inference.holm(frame["p_t"].to_list()), dtype=pl.Float64))
    verdicts = [_word(row, direction, 1 - confidence) for row in frame.iter_rows(named=True)]
    frame = frame.with_columns(pl.Series("verdict", verdicts, dtype=pl.String))
    caption = (
        f"Two parts changed at once: {metric} ({direction} is better), from "
        f"{_complete_text(complete, labels)}. Interaction: the joint difference less the two single ones, "
        f"with its {100 * confidence:g}% t interval."
    )
    notes = [f"p values adjusted for {frame.height} pairs (Holm)."] if frame.height > 1 else []
    return Table(frame, caption, (*notes, *provenance_notes(results)), _shown(frame, confidence))


def _pairs(
    results: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    labels: Mapping[str, str] | None,
    task: str,
    allow_adaptive: bool,
) -> tuple[Levels, pl.DataFrame]:
    """Pair every learner, factor by factor, with the one whose level is that of the complete condition."""
    rows = learner_rows(results, metric, factors, task, allow_adaptive)
    treated = [factor for factor in factors if factor.treatments]
    if not treated:
        raise AnalysisError(f"{task}: no factor has a treatment, only seeds vary; add an intervention")
    complete = _complete(rows, treated)
    pinned = [replace(f, control={c: complete[c] for c in f.treatments} or None) for f in factors]
    pairs = pair(results, metric, pinned, allow_adaptive=allow_adaptive)
    off = [
        (pl.col("factor") != f.name) & ~pl.all_horizontal(_as_complete(c, complete) for c in f.treatments)
        for f in treated
    ]
    pairs = pairs.with_columns(pl.sum_horizontal(off).alias(_OFF))
    if pairs.filter(pl.col(_OFF) == 0).is_empty():
        raise AnalysisError(
            f"{task}: no condition differs in one factor from {_complete_text(complete, labels)}; use "
            "interventions=leave_one_out(…), one_at_a_time(…) or a grid"
        )
    return complete, _with_changes(pairs, treated, complete, labels)


def _complete(rows: pl.DataFrame, factors: Sequence[Factor]) -> Levels:
    columns = treatments_of(factors)
    conditions = rows.select(columns).unique(maintain_order=True)
    declared = [
        pl.all_horizontal(_as_complete(c, factor.control) for c in factor.control)
        for factor in factors
        if factor.control
    ]
    near = []
    for factor in factors:
        others = [column for column in columns if column not in factor.treatments]
        near.append(pl.len().over(others) if others else pl.len())
    ranked = conditions.with_columns(
        pl.sum_horizontal([pl.lit(0), *declared]).alias("(declared)"),
        pl.sum_horizontal(near).alias("(near)"),
    ).sort("(declared)", "(near)", descending=True, maintain_order=True)
    return ranked.select(columns).row(0, named=True)


def _as_complete(column: str, complete: Levels) -> pl.Expr:
    return pl.col(column).eq_missing(pl.lit(complete[column]))


def _with_changes(
    pairs: pl.DataFrame, factors: Sequence[Factor], complete: Levels, labels: Mapping[str, str] | None
) -> pl.DataFrame:
    """Add the factor's levels of the treated learner in words, its seeds, and the place of the factor."""
    names = short_names(treatments_of(factors), labels)
    parts = []
    for place, factor in enumerate(factors):
        own = pairs.filter(pl.col("factor") == factor.name)
        levels = own.select(factor.treatments).unique(maintain_order=True)
        told = _told([*levels.to_dicts(), {column: complete[column] for column in factor.treatments}])
        words = [_change(factor.name, level, told, names) for level in levels.iter_rows(named=True)]
        words = [(labels or {}).get(word, word) for word in words]
        levels = levels.with_columns(pl.Series(_CHANGE, words, dtype=pl.String))
        own = own.join(
            levels, on=list(factor.treatments), how="left", nulls_equal=True, maintain_order="left"
        )
        seeds = [pl.col(column).cast(pl.String).fill_null("") for column in factor.replicates]
        parts.append(
            own.with_columns(
                pl.lit(place).alias(_PLACE), pl.concat_str([pl.lit(""), *seeds], separator=" ").alias(_SEEDS)
            )
        )
    return pl.concat(parts)


def _told(levels: Sequence[Levels]) -> list[str]:
    """List the columns that tell a factor's present levels apart; for a single level, the first."""
    present = [level for level in levels if any(value is not None for value in level.values())]
    varying = [column for column in levels[0] if len({level[column] for level in present}) > 1]
    return varying or list(levels[0])[:1]


def _change(name: str, levels: Levels, told: Sequence[str], names: Mapping[str, str]) -> str:
    if all(level is None for level in levels.values()):
        return f"without {name}"
    return condition_text({c: levels[c] for c in told if levels[c] is not None}, names) or name


def _complete_text(complete: Levels, labels: Mapping[str, str] | None) -> str:
    present = {column: level for column, level in complete.items() if level is not None}
    if not present:
        return "the untouched control"
    return f"the complete condition ({condition_text(present, short_names(list(complete), labels))})"


def _worst_first(frame: pl.DataFrame, column: str, better: Better) -> pl.DataFrame:
    """Sort by a difference; what was lost everywhere stands on top, since nothing is worse."""
    return frame.sort(column, descending=better == "lower", nulls_last=False, maintain_order=True)


def _quads(pairs: pl.DataFrame) -> pl.DataFrame:
    """Put both single differences beside the difference that the second change makes after the first.

    The learner of both changes is paired with that of the first change alone, which is paired with the
    learner of neither.
    """
    singles = pairs.filter(pl.col(_OFF) == 0)
    after = pairs.filter(pl.col(_OFF) == 1).select(
        pl.col(_CHANGE).alias("second"),
        pl.col(_PLACE).alias("second_place"),
        pl.col(_SEEDS),
        pl.col("control_learner").alias("alone"),
        pl.col("difference").alias("after"),
    )
    first = singles.select(
        pl.col(_CHANGE).alias("first"),
        pl.col(_PLACE).alias("first_place"),
        pl.col("learner").alias("alone"),
        pl.col("control_learner").alias("neither"),
        pl.col("difference").alias("first_difference"),
    )
    second = singles.select(
        pl.col(_CHANGE).alias("second"),
        pl.col(_PLACE).alias("second_place"),
        pl.col(_SEEDS),
        pl.col("control_learner").alias("neither"),
        pl.col("difference").alias("second_difference"),
    )
    both = after.join(first, on="alone").filter(pl.col("first_place") < pl.col("second_place"))
    return both.join(
        second, on=["second", "second_place", _SEEDS, "neither"], how="left", maintain_order="left"
    )


_QUAD_SCHEMA = dict.fromkeys(("joint", "sum", "interaction", "low", "high", "p_t", "p_sign_flip"), pl.Float64)


def _interaction(group: Mapping[str, Any], confidence: float) -> dict[str, object]:
    after, first, second = (
        numbers(group[name]) for name in ("after", "first_difference", "second_difference")
    )
    known = np.isfinite(after) & np.isfinite(first) & np.isfinite(second)
    blocks, of = blocks_of(group["neither"])
    joint, apart = (block_means(values[known], blocks[known]) for values in (after + first, first + second))
    sample = Sample.of(joint - apart)
    low, high = inference.t_interval(sample, confidence) or (None, None)
    some = sample.n > 0
    return {
        "first": group["first"],
        "second": group["second"],
        "n": sample.n,
        "of": of,
        "joint": float(joint.mean()) if some else None,
        "sum": float(apart.mean()) if some else None,
        "interaction": sample.mean if some else None,
        "low": low,
        "high": high,
        "p_t": inference.p_t_test(sample),
        "p_sign_flip": inference.p_sign_flip(joint - apart),
    }


def _word(row: Mapping[str, float | None], better: Better, alpha: float) -> str:
    if row["interaction"] is None:
        return "no block to compare"
    if row["p_holm"] is None or row["p_holm"] > alpha:
        return "one block: no interval" if row["n"] == 1 else "inconclusive"
    return "better than the sum" if (row["interaction"] > 0) == (better == "higher") else "worse than the sum"


def _shown(frame: pl.DataFrame, confidence: float) -> pl.DataFrame:
    rows = frame.to_dicts()
    whole = all(row["n"] == row["of"] for row in rows)
    return pl.DataFrame(
        {
            "first": frame["first"],
            "second": frame["second"],
            "n": [level_text(row["n"]) if whole else f"{row['n']}/{row['of']}" for row in rows],
            "joint": [number(row["joint"], sign=True) for row in rows],
            "sum": [number(row["sum"], sign=True) for row in rows],
            f"interaction [{100 * confidence:g}%]": [
                interval_text(row["interaction"], row["low"], row["high"]) for row in rows
            ],
            "p (Holm)": [p_text(row["p_holm"]) for row in rows],
            "verdict": frame["verdict"],
        }
    )

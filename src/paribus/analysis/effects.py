"""The statistics of each condition's pairs, and what they allow to say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import polars as pl

from paribus.analysis import inference
from paribus.analysis.inference import Array, Better, Sample

_RANKED = frozenset({"done", "pruned", "diverged", "failed"})


def effects_of(
    pairs: pl.DataFrame, keys: Sequence[str], better: Better, margin: float | None, confidence: float
) -> pl.DataFrame:
    """Summarise pairs condition by condition; see `paribus.analysis.compare` for the columns.

    Args:
        pairs: What `paribus.analysis.pair` returned.
        keys: The columns that make a condition.
        better: Which direction of the metric is better.
        margin: Half width of the range of equivalence; None: equivalence is not tested.
        confidence: Coverage of the intervals.

    Returns:
        One row per condition, in order of appearance: `keys`, then the statistics.
    """
    groups = pairs.group_by(keys, maintain_order=True).agg(pl.exclude(keys))
    effects = [_effect(group, better, margin, confidence) for group in groups.iter_rows(named=True)]
    frame = pl.concat([groups.select(keys), _frame_of(effects)], how="horizontal")
    return _with_verdicts(frame, better, margin, 1 - confidence)


@dataclass(frozen=True)
class _Effect:
    """The statistics of one condition, before those that need the whole table."""

    n: int
    of: int
    pairs: int
    pairs_of: int
    diverged: int
    failed: int
    missing: int
    pruned: int
    mean: float | None
    sd: float | None
    control_mean: float | None
    difference: float | None
    difference_sd: float | None
    low: float | None
    high: float | None
    relative: float | None
    d_z: float | None
    p_better: float | None
    p_t: float | None
    p_sign_flip: float | None
    p_equivalent: float | None
    pairing_gain: float | None


def _frame_of(effects: Sequence[_Effect]) -> pl.DataFrame:
    schema = {field.name: pl.Int64 if field.type == "int" else pl.Float64 for field in fields(_Effect)}
    return pl.DataFrame([vars(effect) for effect in effects], schema=schema)


def _effect(group: Mapping[str, Any], better: Better, margin: float | None, confidence: float) -> _Effect:
    treated, control = numbers(group["treated"]), numbers(group["control"])
    ok = np.isfinite(treated) & np.isfinite(control)
    blocks, of = blocks_of(group["control_learner"])
    treated_means, control_means = (
        block_means(treated[ok], blocks[ok]),
        block_means(control[ok], blocks[ok]),
    )
    ended = Sample.of(treated[np.isfinite(treated)])
    controls = Sample.of(control_means)
    differences = Sample.of(treated_means - control_means)
    low, high = inference.t_interval(differences, confidence) or (None, None)
    outcomes = group["outcome"]
    return _Effect(
        n=differences.n,
        of=of,
        pairs=int(ok.sum()),
        pairs_of=len(outcomes),
        diverged=outcomes.count("diverged"),
        failed=outcomes.count("failed"),
        missing=outcomes.count("missing"),
        pruned=outcomes.count("pruned"),
        mean=_known(ended.mean),
        sd=_known(ended.sd),
        control_mean=_known(controls.mean),
        difference=_known(differences.mean),
        difference_sd=_known(differences.sd),
        low=low,
        high=high,
        relative=_known(differences.mean / abs(controls.mean)) if controls.mean else None,
        d_z=inference.hedges_d_z(differences),
        p_better=_p_better(treated, outcomes, control, group["control_outcome"], better),
        p_t=inference.p_t_test(differences),
        p_sign_flip=inference.p_sign_flip(treated_means - control_means),
        p_equivalent=None if margin is None else inference.p_equivalence(differences, margin),
        pairing_gain=inference.pairing_gain(Sample.of(treated_means), controls, differences),
    )


def numbers(values: Sequence[float | None]) -> Array:
    """Make an array of values, NaN for None."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def blocks_of(controls: Sequence[int | None]) -> tuple[Array, int]:
    """Number the independent blocks of a condition's pairs, and count them.

    A learner without a control is a block of its own: it was asked for, and its difference is lost.
    """
    distinct = {control for control in controls if control is not None}
    several = len(distinct) > 1
    blocks = [control if several and control is not None else -1 - i for i, control in enumerate(controls)]
    return np.array(blocks, dtype=np.float64), len(set(blocks))


def block_means(values: Array, blocks: Array) -> Array:
    """Average the values of each block."""
    if len(set(blocks.tolist())) == len(blocks):
        return values
    _, index = np.unique(blocks, return_inverse=True)
    return np.bincount(index, weights=values) / np.bincount(index)


def _p_better(
    treated: Array, outcomes: Sequence[str], control: Array, controls: Sequence[str | None], better: Better
) -> float | None:
    """Return the share of pairs won, ties half; who did not come to the end loses to who did."""
    sign = 1.0 if better == "higher" else -1.0
    won = [
        (ours > theirs) + (ours == theirs) / 2
        for ours, theirs, one, other in zip(
            _ranked(sign * treated), _ranked(sign * control), outcomes, controls, strict=True
        )
        if one in _RANKED and other in _RANKED
    ]
    return sum(won) / len(won) if won else None


def _ranked(values: Array) -> list[float]:
    return [value if math.isfinite(value) else -math.inf for value in values.tolist()]


def _with_verdicts(frame: pl.DataFrame, better: Better, margin: float | None, alpha: float) -> pl.DataFrame:
    tests = [flip if t is None else t for t, flip in zip(frame["p_t"], frame["p_sign_flip"], strict=True)]
    tests = [p if n > 1 else None for p, n in zip(tests, frame["n"], strict=True)]
    frame = frame.with_columns(
        pl.Series("p_holm", inference.holm(tests), dtype=pl.Float64),
        pl.Series("p_equivalent", inference.holm(frame["p_equivalent"].to_list()), dtype=pl.Float64),
    )
    family = max(1, sum(p is not None for p in tests))
    verdicts = [_verdict(row, better, margin, alpha, family) for row in frame.iter_rows(named=True)]
    frame = frame.with_columns(pl.Series("verdict", verdicts, dtype=pl.String))
    last = ["p_holm", "p_equivalent", "pairing_gain", "verdict"]
    return frame.select(pl.exclude(last), *last).drop("p_equivalent" if margin is None else [])


def _verdict(row: Mapping[str, Any], better: Better, margin: float | None, alpha: float, family: int) -> str:
    kinds = ("diverged", "failed", "missing", "pruned")
    lost = [f"{row[kind]} of {row['pairs_of']} {kind}" for kind in kinds if row[kind]]
    return "; ".join([_finding(row, better, margin, alpha, family), *lost])


def _finding(row: Mapping[str, Any], better: Better, margin: float | None, alpha: float, family: int) -> str:
    difference, n = row["difference"], row["n"]
    if n == 0:
        everywhere = row["diverged"] == row["pairs_of"] > 1 and row["p_better"] == 0
        return "worsens" if everywhere else "no pair to compare"
    if n == 1:
        return "one pair: no interval"
    if difference == 0 and row["difference_sd"] == 0:
        return "identical"
    if row["p_equivalent"] is not None and row["p_equivalent"] <= alpha:
        return "equivalent"
    if row["p_holm"] <= alpha:
        return "improves" if (difference > 0) == (better == "higher") else "worsens"
    needed = inference.seeds_needed(margin or difference, row["difference_sd"], alpha / family)
    if needed is None or row["difference_sd"] == 0:
        return "inconclusive"
    needed = max(needed, n + 1)
    return (
        f"inconclusive (≈ {needed} seeds needed)" if needed <= 1000 else "inconclusive (> 1000 seeds needed)"
    )

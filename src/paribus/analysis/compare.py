"""Paired effects: each treatment against its control, all seeds equal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import polars as pl

from paribus.analysis import inference
from paribus.analysis.factors import Factor, treatments_of
from paribus.analysis.inference import Array, Sample
from paribus.analysis.pairing import pair
from paribus.analysis.table import Contrast, Table
from paribus.analysis.wording import NONE, interval_text, level_text, number, p_text, short_names, spread_text
from paribus.errors import AnalysisError

Better = Literal["higher", "lower"]
_SECTION = "contrast"


def compare(
    results: pl.DataFrame,
    metric: str,
    factors: Sequence[Factor],
    *,
    better: Better | None = None,
    margin: float | None = None,
    confidence: float = 0.95,
    labels: Mapping[str, str] | None = None,
) -> Table:
    """Compare every treatment with its control, all seeds equal.

    Learners are paired by `paribus.analysis.pair`. Where several learners of a condition share one of several
    controls (ten perturbations of each of five initialisations), their differences are averaged first: the
    blocks, not the pairs, are independent, and `n` counts blocks. Where all pairs share one control, `n`
    counts pairs, and the interval speaks about that control only.

    Args:
        results: One row per learner.
        metric: Name of the metric's column.
        factors: The factors of the experiment.
        better: Which direction of the metric is better; None: read from its name.
        margin: Half width of the range of equivalence, in the metric's unit.
        confidence: Coverage of the intervals; ``1 - confidence`` is the level of the verdicts' tests.
        labels: Names to print in place of columns' names.

    Returns:
        One row per condition: `factor`, `reference`, the treatment columns, and

        - `n`, `of`: blocks with a difference, and in all; `pairs`, `pairs_of`: the same for pairs;
        - `diverged`, `failed`, `missing`: treated learners that ended so;
        - `mean`, `sd`: of the treated learners that ended well; `control_mean`: of their controls;
        - `difference`, `low`, `high`: mean paired difference and its t interval; `relative`: as a share of
          the control's mean; `difference_sd`: sd of the blocks' differences;
        - `d_z`: the difference over its sd, Hedges-corrected; `p_better`: the share of pairs in which the
          treated learner is better, ties half, diverged and failed learners worst;
        - `p_t`, `p_sign_flip`: two-sided, paired; `p_holm`: `p_t` (`p_sign_flip` where the differences have
          no spread) adjusted over the table; `p_equivalent`:
          two one-sided tests, adjusted, if a margin is given;
        - `pairing_gain`: how many times fewer blocks pairing needs; `verdict`.

    Raises:
        AnalysisError: If the direction cannot be read, an argument is out of range, or nothing can be
            compared.

    Example:
        >>> import polars as pl
        >>> from paribus.analysis import Factor, compare
        >>> results = pl.DataFrame({
        ...     "status": ["done"] * 6, "P.epsilon": [0.0, 0.1] * 3, "InitWeights.seed": [0, 0, 1, 1, 2, 2],
        ...     "test/accuracy": [0.90, 0.80, 0.92, 0.83, 0.91, 0.80]})
        >>> factors = [Factor("P", ("P.epsilon",), control={"P.epsilon": 0.0}),
        ...            Factor("InitWeights", (), ("InitWeights.seed",))]
        >>> compare(results, "test/accuracy", factors).frame["verdict"].item()
        'worsens'
    """
    _check(margin, confidence)
    direction = better or _direction(metric)
    pairs = pair(results, metric, factors)
    if pairs.is_empty():
        names = ", ".join(factor.name for factor in factors)
        raise AnalysisError(
            f"compare: every learner is at the control of {names}; add a level to compare with it"
        )
    keys = ["factor", "reference", *treatments_of(factors)]
    groups = pairs.group_by(keys, maintain_order=True).agg(pl.exclude(keys))
    effects = [_effect(group, direction, margin, confidence) for group in groups.iter_rows(named=True)]
    frame = pl.concat([groups.select(keys), _frame_of(effects)], how="horizontal")
    frame = _with_verdicts(frame, direction, margin, 1 - confidence)
    return Table(
        frame=frame,
        caption=_caption(metric, direction, frame, confidence),
        notes=_notes(frame, pairs, factors, margin),
        shown=_shown(frame, treatments_of(factors), labels, confidence),
        section=_SECTION if frame["reference"].n_unique() > 1 else None,
        paper_only=("d_z", "P(better)"),
        contrast=Contrast(metric, direction, margin, confidence, pairs),
    )


def _check(margin: float | None, confidence: float) -> None:
    if margin is not None and not margin > 0:
        raise AnalysisError(f"compare: margin is {margin}, expected a positive number in the metric's unit")
    if not 0 < confidence < 1:
        raise AnalysisError(
            f"compare: confidence is {confidence}, expected a share between 0 and 1, such as 0.95"
        )


def _direction(metric: str) -> Better:
    direction = inference.better_direction(metric)
    if direction is None:
        raise AnalysisError(
            f"compare: the name {metric!r} does not say which direction is better; "
            "give better='higher' or better='lower'"
        )
    return direction


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
    treated, control = _numbers(group["treated"]), _numbers(group["control"])
    ok = np.isfinite(treated) & np.isfinite(control)
    blocks, of = _blocks(group["control_learner"])
    treated_means, control_means = (
        _block_means(treated[ok], blocks[ok]),
        _block_means(control[ok], blocks[ok]),
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


def _numbers(values: Sequence[float | None]) -> Array:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _blocks(controls: Sequence[int | None]) -> tuple[Array, int]:
    """Number the independent blocks of a condition's pairs, and count them.

    A learner without a control is a block of its own: it was asked for, and its difference is lost.
    """
    distinct = {control for control in controls if control is not None}
    several = len(distinct) > 1
    blocks = [control if several and control is not None else -1 - i for i, control in enumerate(controls)]
    return np.array(blocks, dtype=np.float64), len(set(blocks))


def _block_means(values: Array, blocks: Array) -> Array:
    if len(set(blocks.tolist())) == len(blocks):
        return values
    _, index = np.unique(blocks, return_inverse=True)
    return np.bincount(index, weights=values) / np.bincount(index)


def _p_better(
    treated: Array, outcomes: Sequence[str], control: Array, controls: Sequence[str | None], better: Better
) -> float | None:
    """Return the share of pairs won, ties half; who diverged or failed loses to who ended well."""
    sign = 1.0 if better == "higher" else -1.0
    ranked = {"done", "diverged", "failed"}
    pairs = np.array(
        [ours in ranked and theirs in ranked for ours, theirs in zip(outcomes, controls, strict=True)]
    )
    if not pairs.any():
        return None
    ours = np.where(np.isfinite(treated), sign * treated, -np.inf)[pairs]
    theirs = np.where(np.isfinite(control), sign * control, -np.inf)[pairs]
    return float(np.mean(ours > theirs) + np.mean(ours == theirs) / 2)


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
    lost = [
        f"{row[kind]} of {row['pairs_of']} {kind}" for kind in ("diverged", "failed", "missing") if row[kind]
    ]
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


def _caption(metric: str, better: Better, frame: pl.DataFrame, confidence: float) -> str:
    references = frame["reference"].unique(maintain_order=True).to_list()
    against = f" against {references[0]}" if len(references) == 1 else " against the control"
    return (
        f"Paired effects on {metric} ({better} is better){against}: "
        f"mean paired difference with its {100 * confidence:g}% t interval."
    )


def _notes(
    frame: pl.DataFrame, pairs: pl.DataFrame, factors: Sequence[Factor], margin: float | None
) -> tuple[str, ...]:
    notes = []
    undeclared = [f.name for f in factors if f.control is None and f.name in frame["factor"]]
    levels = frame.filter(pl.col("factor").is_in(undeclared))["reference"].unique(maintain_order=True)
    references = f"the first level, {levels[0]}" if levels.len() == 1 else "its first level"
    if undeclared:
        notes.append(f"No control declared for {', '.join(undeclared)}: compared with {references}.")
    if (frame["pairs_of"] > frame["of"]).any():
        notes.append("n counts blocks: differences that share a control are averaged first.")
    shared = pairs.group_by("factor").agg(pl.col("control_learner").n_unique().alias("controls"), pl.len())
    if shared.filter((pl.col("controls") == 1) & (pl.col("len") > 1)).height:
        notes.append("All pairs share one control learner: the intervals speak about that control only.")
    lost = int((frame["pairs_of"] - frame["pairs"]).sum())
    if lost:
        notes.append(
            f"{lost} of {frame['pairs_of'].sum()} pairs have no difference (diverged, failed, missing, or "
            "without a control); who diverged or failed counts as worse in P(better)."
        )
    if frame.height > 1:
        notes.append(f"Verdicts use p values adjusted for {frame.height} comparisons (Holm).")
    if margin is not None:
        notes.append(f"Equivalent: within ±{margin:g} by two one-sided tests.")
    return tuple(notes)


def _shown(
    frame: pl.DataFrame, treatments: Sequence[str], labels: Mapping[str, str] | None, confidence: float
) -> pl.DataFrame:
    names = short_names(treatments, labels)
    varying = [column for column in treatments if frame[column].n_unique() > 1] or list(treatments[:1])
    columns = {names[column]: [level_text(value) for value in frame[column]] for column in varying}
    rows = frame.to_dicts()
    if frame["reference"].n_unique() > 1:
        columns[_SECTION] = [f"{row['factor']} against {row['reference'] or NONE}" for row in rows]
    whole = all(row["n"] == row["of"] for row in rows)
    columns["n"] = [str(row["n"]) if whole else f"{row['n']}/{row['of']}" for row in rows]
    columns["mean ± sd"] = [spread_text(row["mean"], row["sd"]) for row in rows]
    columns[f"difference [{100 * confidence:g}%]"] = [
        interval_text(row["difference"], row["low"], row["high"]) for row in rows
    ]
    columns["d_z"] = [number(row["d_z"], 2, sign=True) for row in rows]
    columns["P(better)"] = [number(row["p_better"], 2) for row in rows]
    columns["p (Holm)"] = [p_text(row["p_holm"]) for row in rows]
    columns["verdict"] = [row["verdict"] for row in rows]
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))

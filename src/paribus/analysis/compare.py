"""Paired effects: each treatment against its control, all seeds equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from paribus.analysis.effects import effects_of
from paribus.analysis.factors import Factor, treatments_of
from paribus.analysis.inference import Better, direction_of
from paribus.analysis.pairing import pair
from paribus.analysis.provenance import provenance_notes
from paribus.analysis.reference import complete, factors_named_by, named_factors, united
from paribus.analysis.table import Contrast, Table
from paribus.analysis.wording import (
    NONE,
    interval_text,
    level_text,
    number,
    p_text,
    short_names,
    spread_text,
)
from paribus.errors import AnalysisError

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
    allow_adaptive: bool = False,
    factor: str | Sequence[str] | None = None,
    against: Mapping[str, object] | None = None,
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
        allow_adaptive: Whether learners that an adaptive sampler placed may enter.
        factor: Names of the factors that are compared, each with its own control; None: all.
        against: Levels by treatment column that take the control's place. The factors that it names, or those
            of `factor`, are then one: any other combination of their levels is compared with this one. A
            factor of `factor` that it does not name is at its declared control there, else absent.

    Returns:
        One row per condition: `factor`, `reference`, the treatment columns, and

        - `n`, `of`: blocks with a difference, and in all; `pairs`, `pairs_of`: the same for pairs;
        - `diverged`, `failed`, `missing`, `pruned`: treated learners that ended so;
        - `mean`, `sd`: of the treated learners that ended well; `control_mean`: of their controls;
        - `difference`, `low`, `high`: mean paired difference and its t interval; `relative`: as a share of
          the control's mean; `difference_sd`: sd of the blocks' differences;
        - `d_z`: the difference over its sd, Hedges-corrected; `p_better`: the share of pairs in which the
          treated learner is better, ties half, diverged, failed and pruned learners worst;
        - `p_t`, `p_sign_flip`: two-sided, paired; `p_holm`: `p_t` (`p_sign_flip` where the differences have
          no spread) adjusted over the table; `p_equivalent`:
          two one-sided tests, adjusted, if a margin is given;
        - `pairing_gain`: how many times fewer blocks pairing needs; `verdict`.

    Raises:
        AnalysisError: If the direction cannot be read, an argument is out of range, no learner is at the
            levels of `against`, or nothing can be compared.

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
    check_range(margin, confidence, "compare")
    direction = direction_of(metric, better, "compare")
    factors, within = _chosen(results, factors, factor, against)
    pairs = pair(results, metric, factors, allow_adaptive=allow_adaptive, within=within)
    if pairs.is_empty():
        raise AnalysisError(
            f"compare: every learner is at the control of {', '.join(within)}; add a level to compare with it"
        )
    left_out: list[str] = []
    reference: Mapping[str, object] = {}
    if against is not None:
        pairs, left_out = _beside_reference(pairs, treatments_of(factors))
        reference = next(each.control or {} for each in factors if each.name in within)
    contrast = Contrast(metric, direction, margin, confidence, pairs, reference)
    keys = ["factor", "reference", *treatments_of(factors)]
    frame = effects_of(pairs, keys, direction, margin, confidence)
    return Table(
        frame=frame,
        caption=_caption(metric, direction, frame, confidence),
        notes=(
            *_control_notes(frame, factors),
            *left_out,
            *effect_notes(frame, pairs, margin),
            *provenance_notes(results, pairs),
        ),
        shown=_shown(frame, treatments_of(factors), labels, contrast),
        section=_SECTION if frame["reference"].n_unique() > 1 else None,
        paper_only=("d_z", "P(better)"),
        contrast=contrast,
    )


def _chosen(
    results: pl.DataFrame,
    factors: Sequence[Factor],
    factor: str | Sequence[str] | None,
    against: Mapping[str, object] | None,
) -> tuple[Sequence[Factor], list[str]]:
    """Return the factors as they are compared, and the names of those in which learners are paired."""
    if against is None:
        named = factors if factor is None else named_factors(factors, factor)
        return factors, [each.name for each in named]
    touched = factors_named_by(factors, against)
    chosen = touched if factor is None else named_factors(factors, factor)
    for each in touched:
        if each not in chosen:
            names = ", ".join(other.name for other in chosen)
            raise AnalysisError(f"compare: against names a level of {each.name}, expected one of {names}")
    merged = united(factors, chosen, complete(results, chosen, against))
    return merged, [each.name for each in merged if each not in factors]


def _beside_reference(pairs: pl.DataFrame, treatments: Sequence[str]) -> tuple[pl.DataFrame, list[str]]:
    """Leave out conditions that no reference stands beside, and say how many.

    Raises:
        AnalysisError: No condition is left.
    """
    has_any = pl.col("control_learner").is_not_null().any().over(treatments)
    kept = pairs.filter(has_any)
    if kept.is_empty():
        raise AnalysisError(
            f"compare: no learner differs from {pairs['reference'][0]} in {pairs['factor'][0]} alone; name "
            "more factors, as in factor=[…]"
        )
    count = pairs.filter(~has_any).select(treatments).n_unique()
    left = f"{count} conditions are" if count > 1 else "One condition is"
    note = f"{left} left out: no learner at {kept['reference'][0]} is equal in all else."
    return kept, [note] if count else []


def check_range(margin: float | None, confidence: float, task: str) -> None:
    """Refuse a margin that is not positive and a confidence that is no share."""
    if margin is not None and not margin > 0:
        raise AnalysisError(f"{task}: margin is {margin}, expected a positive number in the metric's unit")
    if not 0 < confidence < 1:
        raise AnalysisError(
            f"{task}: confidence is {confidence}, expected a share between 0 and 1, such as 0.95"
        )


def _caption(metric: str, better: Better, frame: pl.DataFrame, confidence: float) -> str:
    references = frame["reference"].unique(maintain_order=True).to_list()
    against = f" against {references[0]}" if len(references) == 1 else " against the control"
    return (
        f"Paired effects on {metric} ({better} is better){against}: "
        f"mean paired difference with its {100 * confidence:g}% t interval."
    )


def _control_notes(frame: pl.DataFrame, factors: Sequence[Factor]) -> list[str]:
    undeclared = [f.name for f in factors if f.control is None and f.name in frame["factor"]]
    if not undeclared:
        return []
    levels = frame.filter(pl.col("factor").is_in(undeclared))["reference"].unique(maintain_order=True)
    references = f"the first level, {levels[0]}" if levels.len() == 1 else "its first level"
    return [f"No control declared for {', '.join(undeclared)}: compared with {references}."] * bool(
        undeclared
    )


def effect_notes(frame: pl.DataFrame, pairs: pl.DataFrame, margin: float | None) -> list[str]:
    """Say what n counts, what was lost, and how the verdicts were reached."""
    notes = []
    if (frame["pairs_of"] > frame["of"]).any():
        notes.append("n counts blocks: differences that share a control are averaged first.")
    shared = pairs.group_by("factor").agg(pl.col("control_learner").n_unique().alias("controls"), pl.len())
    if shared.filter((pl.col("controls") == 1) & (pl.col("len") > 1)).height:
        notes.append("All pairs share one control learner: the intervals speak about that control only.")
    lost = int((frame["pairs_of"] - frame["pairs"]).sum())
    if lost:
        notes.append(
            f"{lost} of {frame['pairs_of'].sum()} pairs have no difference (diverged, failed, pruned, "
            "missing, or without a control); who diverged, failed or was pruned counts as worse in P(better)."
        )
    if frame.height > 1:
        notes.append(f"Verdicts use p values adjusted for {frame.height} comparisons (Holm).")
    if margin is not None:
        notes.append(f"Equivalent: within ±{margin:g} by two one-sided tests.")
    return notes


def _shown(
    frame: pl.DataFrame, treatments: Sequence[str], labels: Mapping[str, str] | None, contrast: Contrast
) -> pl.DataFrame:
    names = short_names(treatments, labels)
    varying = contrast.telling(frame.select(treatments))
    columns = {names[column]: [level_text(value) for value in frame[column]] for column in varying}
    if frame["reference"].n_unique() > 1:
        reference = frame["reference"].fill_null(NONE)
        columns[_SECTION] = [f"{f} against {r}" for f, r in zip(frame["factor"], reference, strict=True)]
    return pl.DataFrame(
        columns | effect_cells(frame, contrast.confidence), schema_overrides=dict.fromkeys(columns, pl.String)
    )


def effect_cells(frame: pl.DataFrame, confidence: float) -> dict[str, list[str]]:
    """Write the statistics of each condition as a table shows them, by heading."""
    rows = frame.to_dicts()
    whole = all(row["n"] == row["of"] for row in rows)
    return {
        "n": [str(row["n"]) if whole else f"{row['n']}/{row['of']}" for row in rows],
        "mean ± sd": [spread_text(row["mean"], row["sd"]) for row in rows],
        f"difference [{100 * confidence:g}%]": [
            interval_text(row["difference"], row["low"], row["high"]) for row in rows
        ],
        "d_z": [number(row["d_z"], 2, sign=True) for row in rows],
        "P(better)": [number(row["p_better"], 2) for row in rows],
        "p (Holm)": [p_text(row["p_holm"]) for row in rows],
        "verdict": [row["verdict"] for row in rows],
    }

"""What a table of effects says, in whole sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paribus.analysis.table import Contrast, Table
from paribus.analysis.wording import condition_text, interval_text, p_text, short_names
from paribus.errors import AnalysisError


def sentences(table: Table, labels: Mapping[str, str] | None = None) -> list[str]:
    """Write the verdict on each condition of a table of effects as a sentence.

    Args:
        table: What `paribus.analysis.compare` or `paribus.analysis.leave_one_out` returned.
        labels: Names to print in place of columns' names, and of the metric.

    Returns:
        One sentence for each row of the table, in their order.

    Raises:
        AnalysisError: If the table compares nothing.

    Example:
        >>> import polars as pl
        >>> from paribus.analysis import Factor, compare, sentences
        >>> results = pl.DataFrame({
        ...     "status": ["done"] * 6, "P.epsilon": [0.0, 0.1] * 3, "InitWeights.seed": [0, 0, 1, 1, 2, 2],
        ...     "test/accuracy": [0.90, 0.80, 0.92, 0.83, 0.91, 0.80]})
        >>> factors = [Factor("P", ("P.epsilon",), control={"P.epsilon": 0.0}),
        ...            Factor("InitWeights", (), ("InitWeights.seed",))]
        >>> sentences(compare(results, "test/accuracy", factors))
        ['epsilon = 0.1 worsens test/accuracy against epsilon = 0: difference -0.100 [-0.125, -0.075], \
n = 3, p = 0.003.']
    """
    if table.contrast is None:
        raise AnalysisError("sentences: this table has no pairs; give the table that compare(...) returns")
    frame = table.frame
    treatments = [c for c in frame.columns[2 : frame.columns.index("n")] if c != "change"]
    varying = table.contrast.telling(frame.select(treatments))
    names = short_names(treatments, labels)
    written = []
    for row in frame.iter_rows(named=True):
        levels = {column: row[column] for column in varying if row[column] is not None}
        subject = row.get("change") or condition_text(levels, names) or f"no {row['factor']}"
        written.append(_sentence(subject, row, table.contrast, (labels or {})))
    return written


def _sentence(subject: str, row: Mapping[str, Any], contrast: Contrast, labels: Mapping[str, str]) -> str:
    metric = labels.get(contrast.metric, contrast.metric)
    finding, *lost = row["verdict"].split("; ")
    against = f" against {row['reference']}" if row["reference"] else ""
    middle = f"{_claim(finding, metric, against, contrast)}{_numbers(row)}"
    return f"{subject} {middle}{_lost(lost)}."


def _claim(finding: str, metric: str, against: str, contrast: Contrast) -> str:
    word = finding.partition(" ")[0]
    match word:
        case "improves" | "worsens":
            return f"{word} {metric}{against}"
        case "equivalent":
            return f"is equivalent on {metric}{against}, within ±{contrast.margin:g}"
        case "identical":
            return f"changes no value of {metric}{against}"
        case "inconclusive":
            return f"shows no conclusive effect on {metric}{against}{_needed(finding)}"
        case "one":
            return f"has one pair on {metric}{against}, which gives no interval"
        case _:
            return f"has no pair to compare on {metric}{against}"


def _needed(finding: str) -> str:
    inside = finding.partition("(")[2].rstrip(")")
    return f" ({inside} for one of this size)" if inside else ""


def _numbers(row: Mapping[str, Any]) -> str:
    if row["difference"] is None:
        return ""
    difference = interval_text(row["difference"], row["low"], row["high"])
    p = p_text(row["p_holm"])
    probability = "" if row["p_holm"] is None else f", p {p}" if p.startswith("<") else f", p = {p}"
    return f": difference {difference}, n = {row['n']}{probability}"


def _lost(lost: list[str]) -> str:
    return f" ({', '.join(lost)})" if lost else ""

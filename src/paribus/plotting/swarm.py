"""Where dots of one group stand beside each other, and how their axis is labelled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from paribus.analysis.inference import Array, Sample
from paribus.analysis.wording import level_text

_LETTER = 0.075  # inches


def offsets(n: int) -> Array:
    """Spread `n` dots evenly over (-0.5, 0.5), the first at 0, and always alike (golden-ratio sequence)."""
    spread: Array = (np.arange(n, dtype=np.float64) * 0.6180339887498949 + 0.5) % 1.0 - 0.5
    return spread


def ordered_levels(column: pl.Series) -> list[object]:
    """List the levels of a column in their order: an absent one first, numbers and texts ascending."""
    return column.unique().sort().to_list()


def block_samples(rows: pl.DataFrame, by: Sequence[str], replicates: Sequence[str]) -> pl.DataFrame:
    """Average `value` within each block of seeds, since blocks are independent and their learners are not.

    Returns:
        One row for each combination of `by`, sorted by it, with `blocks`: the list of block means.
    """
    means = rows.group_by(*by, *replicates).agg(pl.col("value").mean()) if replicates else rows
    return means.sort(*by, *replicates).group_by(by, maintain_order=True).agg(pl.col("value").alias("blocks"))


def samples_of(groups: pl.DataFrame) -> list[Sample]:
    """Summarise the lists of block means."""
    return [Sample.of(np.array(values)) for values in groups["blocks"]]


def staggered(titles: Sequence[str], room: float) -> list[str]:
    """Lower every second title where one is wider than its `room` in inches."""
    lines = [title.split("\n") for title in titles]
    if _LETTER * max(len(line) for parts in lines for line in parts) <= room:
        return list(titles)
    deepest = max(len(parts) for parts in lines[::2])
    return ["\n" * deepest * (place % 2) + title for place, title in enumerate(titles)]


def label_levels(axes: Axes, places: Sequence[float], levels: Sequence[object], width: float) -> None:
    """Write the levels under an axis of `width` inches, turned where they would not fit."""
    texts = [level_text(level) for level in levels]
    longest = _LETTER * max(len(text) for text in texts)
    room = width / len(texts)
    axes.set_xticks(places, texts)
    if longest > room:
        steep = room < 0.3
        axes.tick_params(axis="x", rotation=90 if steep else 35)
        for label in axes.get_xticklabels():
            label.set(ha="center" if steep else "right", rotation_mode="default" if steep else "anchor")

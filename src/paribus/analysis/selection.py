"""Choices that may look at results: by a validation metric only, so that what is reported had no say."""

from __future__ import annotations

import polars as pl

from paribus.analysis.factors import require
from paribus.analysis.inference import Better, direction_of
from paribus.errors import AnalysisError

_NO_VALIDATION = frozenset({"train", "test"})


def check_validation(metric: str, by: str, task: str) -> None:
    """Refuse to choose by what is reported, by its split, or by the train or test split.

    Raises:
        AnalysisError: `by` is no validation metric beside `metric`.
    """
    if by == metric:
        raise AnalysisError(f"{task}: {metric!r} cannot both choose and report; give by= a validation metric")
    split, reported = by.partition("/")[0], metric.partition("/")[0]
    if split in _NO_VALIDATION or split == reported:
        raise AnalysisError(
            f"{task}: {by!r} cannot choose, since its split is {split!r}; give by= a metric of a split that "
            'is neither trained on nor reported, as in dataset={"train": …, "validation": …, "test": …}'
        )


def at_best(frame: pl.DataFrame, metric: str, *, by: str, better: Better | None = None) -> pl.DataFrame:
    """Keep each learner's row at the step where a validation metric was best, for "best over time".

    Args:
        frame: One row per learner and step.
        metric: What will be reported; only steps at which it was recorded count.
        by: What chooses: a metric of a validation split. The earliest of equally good steps is kept.
        better: Which direction of `by` is better; None: read from its name.

    Returns:
        One row per learner, as a results frame has it, with the `step` that was chosen (null where none
        could be).

    Raises:
        AnalysisError: A column is absent, or `by` is no validation metric.
    """
    require(frame, ["learner", "step", metric, by], "at_best")
    check_validation(metric, by, "at_best")
    sign = 1.0 if direction_of(by, better, "at_best") == "higher" else -1.0
    usable = frame.filter(pl.col(by).is_finite() & pl.col(metric).is_not_null())
    best = usable.sort("learner", sign * pl.col(by), "step", descending=[False, True, False])
    best = best.unique("learner", keep="first", maintain_order=True)
    others = frame.join(best, on="learner", how="anti").unique("learner", keep="first", maintain_order=True)
    nothing = [pl.lit(None, dtype=frame.schema[name]).alias(name) for name in ("step", metric, by)]
    return pl.concat([best, others.with_columns(nothing)]).sort("learner")

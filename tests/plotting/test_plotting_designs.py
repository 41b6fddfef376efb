from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from plotting_cases import (
    ACCURACY,
    EPSILON,
    INITS,
    KICKS,
    MOMENTUM,
    OPTIMIZER,
    PERTURB,
    WHEN,
    epsilons,
    final,
    kicks,
)
from scipy import stats

from paribus.analysis import Table, anova
from paribus.errors import AnalysisError
from paribus.plotting import Figure, importance, interaction, slice

FACTORS = [INITS, OPTIMIZER, KICKS]


@pytest.fixture(scope="module")
def results() -> pl.DataFrame:
    return final(kicks())


def drawn(axes: Axes, kind: str) -> list[object]:
    return [child for child in axes.get_children() if child.get_gid() == kind]


def assert_nothing_overlaps(figure: Figure) -> None:
    figure.figure.canvas.draw()
    for axes in figure.figure.axes:
        boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_rotation() == 0]
        assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_a_slice_has_a_panel_for_each_treatment(results: pl.DataFrame) -> None:
    figure = slice(results, ACCURACY, FACTORS)
    momentum, kick, when = figure.figure.axes
    assert len(drawn(momentum, "trend")) == 1
    assert drawn(when, "trend") == []
    assert len(drawn(when, "violin")) == 3  # 54 learners a window; the 9 controls have none
    assert sum(len(dots.get_offsets()) for dots in drawn(kick, "learners")) == results.height
    assert "rank correlation" in momentum.get_title("left")
    assert_nothing_overlaps(figure)


def test_a_slice_interval_is_over_blocks_not_learners(results: pl.DataFrame) -> None:
    figure = slice(results, ACCURACY, FACTORS, column=MOMENTUM)
    (axes,) = figure.figure.axes
    blocks = results.filter(pl.col(MOMENTUM) == 0.9).group_by("InitWeights.seed").agg(pl.col(ACCURACY).mean())
    known = stats.ttest_1samp(blocks[ACCURACY].to_numpy(), 0).confidence_interval(0.95)
    assert drawn(axes, "interval")[0].get_ydata() == pytest.approx(tuple(known))


def test_levels_that_span_magnitudes_stand_evenly() -> None:
    (axes,) = slice(final(epsilons()), ACCURACY, [PERTURB]).figure.axes
    assert axes.get_xticks().tolist() == [0, 1, 2, 3]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.001", "0.01", "0.1"]


def test_a_slice_counts_the_lost(results: pl.DataFrame) -> None:
    lossy = results.with_columns(
        pl.when(pl.col("learner") < 4).then(pl.lit("failed")).otherwise("status").alias("status")
    )
    assert "4 of 171 learners lost" in slice(lossy, ACCURACY, FACTORS).caption


def test_a_slice_needs_two_levels(results: pl.DataFrame) -> None:
    with pytest.raises(AnalysisError, match="two levels"):
        slice(results, ACCURACY, FACTORS, column="SetOptimizer.lr")


def test_an_interaction_has_a_line_for_each_level(results: pl.DataFrame) -> None:
    figure = interaction(results, ACCURACY, FACTORS, x=WHEN, hue=MOMENTUM)
    (axes,) = figure.figure.axes
    assert len(drawn(axes, "mean")) == 3
    assert [text.get_text() for text in figure.figure.legends[0].get_texts()] == ["0.9", "0.99", "0.999"]
    assert figure.table.height == 12
    assert_nothing_overlaps(figure)


def test_an_interaction_needs_two_treatments_that_vary() -> None:
    with pytest.raises(AnalysisError, match="fewer than two"):
        interaction(final(epsilons()), ACCURACY, [PERTURB])


def test_importance_draws_a_bar_for_each_effect() -> None:
    rng = np.random.default_rng(0)
    cells = [(m, e, s) for m in (0.9, 0.99) for e in (0.0, 0.1, 0.2) for s in range(4)]
    frame = pl.DataFrame(
        {
            "status": "done",
            MOMENTUM: [m for m, _, _ in cells],
            EPSILON: [e for _, e, _ in cells],
            "PerturbWeights.seed": [s for _, _, s in cells],
            ACCURACY: [m - e + rng.normal(0, 0.01) for m, e, _ in cells],
        }
    )
    figure = importance(anova(frame, ACCURACY, [OPTIMIZER, PERTURB]))
    (axes,) = figure.figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "epsilon",
        "momentum",
        "momentum × epsilon",
    ]
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == sorted(widths, reverse=True)
    assert sum(widths) == pytest.approx(100)


def test_importance_needs_an_analysis_of_variance() -> None:
    with pytest.raises(AnalysisError, match="anova"):
        importance(Table(pl.DataFrame({"a": [1]}), "No importances."))

from __future__ import annotations

import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from plotting_cases import (
    ACCURACY,
    EPSILON,
    INIT,
    INITS,
    KICKS,
    KIND,
    OPTIMIZER,
    ORDER,
    PERTURB,
    distances,
    epsilons,
    final,
    kicks,
    seeds,
    several_tasks,
)

from paribus.analysis import Factor, Table
from paribus.analysis import profile as profile_table
from paribus.analysis import variance as variance_table
from paribus.errors import AnalysisError
from paribus.plotting import pairs, parallel, profile, ridge, slice, variance

OPTIMIZERS = [Factor("SetOptimizer", (KIND,)), Factor("InitWeights", (), (INIT,))]


def drawn(axes: Axes, kind: str) -> list[object]:
    return [child for axis in axes.figure.axes for child in axis.get_children() if child.get_gid() == kind]


def test_a_profile_has_a_line_and_a_band_for_each_condition() -> None:
    figure = profile(profile_table(several_tasks(), ACCURACY, OPTIMIZERS, task="task"), labels={"sgd": "SGD"})
    (axes,) = figure.figure.axes
    assert len(drawn(axes, "profile")) == len(drawn(axes, "band")) == 3
    assert [text.get_text() for text in figure.figure.legends[0].get_texts()] == ["SGD", "adam", "lion"]


def test_many_profiles_go_to_panels() -> None:
    kinds = tuple(f"kind{place}" for place in range(14))
    figure = profile(profile_table(several_tasks(kinds), ACCURACY, OPTIMIZERS, task="task"), width="page")
    assert [len(axes.get_lines()) for axes in figure.figure.axes] == [12, 2]


def test_the_variance_has_a_bar_for_each_seed() -> None:
    table = variance_table(seeds(), ACCURACY, [INITS, Factor("Order", (), (ORDER,))])
    (axes,) = variance(table).figure.axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([100 * s for s in table.frame["share"]])


@pytest.mark.parametrize("draw", [profile, variance])
def test_a_table_of_something_else_is_refused(draw: object) -> None:
    with pytest.raises(AnalysisError, match=f"{draw.__name__}\\(\\.\\.\\.\\) returns"):
        draw(Table(pl.DataFrame({"a": [1]}), "Something else."))


def test_a_parallel_plot_has_a_line_for_each_learner_and_black_controls() -> None:
    results = final(kicks()).with_columns(
        pl.when(pl.col("learner") < 2).then(pl.lit("diverged")).otherwise("status").alias("status")
    )
    figure = parallel(results, ACCURACY, [INITS, OPTIMIZER, KICKS])
    (axes,) = figure.figure.axes
    (learners,), (control,), (lost,) = (drawn(axes, kind) for kind in ("learners", "control", "lost"))
    assert len(lost.get_segments()) == 2
    assert len(control.get_segments()) == 9 - 1, "learner 0 is a control and was lost"
    assert len(learners.get_segments()) + len(control.get_segments()) + 2 == results.height
    assert to_hex(control.get_colors()[0]) == "#000000"


def test_a_parallel_plot_counts_adaptive_learners() -> None:
    results = final(epsilons()).with_columns((pl.col("learner") > 20).alias("adaptive"))
    assert "10 placed by an adaptive sampler" in parallel(results, ACCURACY, [PERTURB]).caption
    for draw in (slice, ridge):
        with pytest.raises(AnalysisError, match="allow_adaptive"):
            draw(results, ACCURACY, [PERTURB])
        assert draw(results, ACCURACY, [PERTURB], allow_adaptive=True).table.height == 31


def test_a_ridge_needs_ten_learners_and_the_control_is_black() -> None:
    (axes,) = ridge(final(epsilons()), ACCURACY, [PERTURB]).figure.axes
    assert len(drawn(axes, "ridge")) == 3, "the control is one learner"
    assert to_hex(drawn(axes, "learners")[0].get_color()[0]) == "#000000"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "0.001", "0.01", "0.1"]


def test_pairs_of_one_factor_make_a_symmetric_matrix() -> None:
    frame, results = distances()
    figure = pairs(frame, "stability/distance", results, [INITS])
    grid = drawn(figure.figure.axes[0], "matrix")[0].get_array()
    assert grid.shape == (5, 5)
    assert grid[0, 4] == grid[4, 0] == 104
    assert grid.mask.diagonal().all()
    assert "10 pairs, at step 100" in figure.caption
    earlier = pairs(frame, "stability/distance", results, [INITS], step=0)
    assert drawn(earlier.figure.axes[0], "matrix")[0].get_array()[0, 4] == 4


def test_pairs_with_the_control_average_over_seeds() -> None:
    results = final(epsilons(4))
    rows = [
        {"metric": "m", "learner": i, "other": 0, "step": 9, "name": "m", "value": e * (1 + i % 2)}
        for i, e in zip(results["learner"], results[EPSILON], strict=True)
        if i
    ]
    figure = pairs(pl.DataFrame(rows), "m", results, [PERTURB])
    grid = drawn(figure.figure.axes[0], "matrix")[0].get_array()
    assert grid.ravel().tolist() == pytest.approx([0.0015, 0.015, 0.15])
    assert "over 4 of 12 pairs" in figure.caption


def test_an_unknown_value_or_step_of_pairs_is_named() -> None:
    frame, results = distances()
    with pytest.raises(AnalysisError, match="did you mean 'stability/distance'"):
        pairs(frame, "stability/distanse", results, [INITS])
    with pytest.raises(AnalysisError, match="not measured at step 7, but at 0, 100"):
        pairs(frame, "stability/distance", results, [INITS], step=7)

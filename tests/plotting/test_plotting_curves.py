from __future__ import annotations

import matplotlib
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from plotting_cases import (
    ACCURACY,
    EPSILON,
    EPSILON_SEED,
    INIT,
    INITS,
    KICK,
    KICKS,
    MOMENTUM,
    OPTIMIZER,
    PERTURB,
    WHEN,
    epsilons,
    kicks,
    trained,
)
from scipy import stats

from paribus.analysis import Factor
from paribus.errors import AnalysisError
from paribus.plotting import Figure, curves
from paribus.plotting.style import HUES


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.figure.axes if axes.get_visible()]


def drawn(axes: Axes, kind: str) -> list[object]:
    return [artist for artist in axes.get_children() if artist.get_gid() == kind]


def legend_texts(figure: Figure) -> list[str]:
    legends = [
        *figure.figure.legends,
        *(axes.get_legend() for axes in figure.figure.axes if axes.get_legend()),
    ]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def subtitle(figure: Figure) -> str:
    return figure.figure._suptitle.get_text().replace("\n", " ")


def test_one_line_for_each_condition_and_the_control_black() -> None:
    figure = curves(epsilons(), ACCURACY, [PERTURB])
    (axes,) = panels(figure)
    assert [to_hex(line.get_color()) for line in drawn(axes, "control")] == ["#000000"]
    colours = [to_hex(line.get_color()) for line in drawn(axes, "mean")]
    assert len(set(colours)) == 3
    assert "#000000" not in colours
    assert legend_texts(figure) == ["0 (control), n = 1", "0.001, n = 10", "0.01, n = 10", "0.1, n = 10"]


def test_lines_differ_by_marker_as_well_as_by_colour() -> None:
    assert len({hue.marker for hue in HUES}) == len({hue.colour for hue in HUES}) == len(HUES) == 12


def test_the_band_is_the_t_interval_of_the_mean() -> None:
    frame = epsilons()
    figure = curves(frame, ACCURACY, [PERTURB])
    row = figure.table.filter(
        (pl.col(EPSILON) == 0.01) & (pl.col("step") == 300), pl.col("mark") == "mean"
    ).row(0, named=True)
    values = frame.filter((pl.col(EPSILON) == 0.01) & (pl.col("step") == 300))[ACCURACY].to_numpy()
    known = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (row["n"], row["value"]) == (10, pytest.approx(values.mean()))
    assert (row["low"], row["high"]) == pytest.approx(tuple(known))
    assert len(drawn(panels(figure)[0], "band")) == 3
    assert "95% t interval" in figure.caption
    assert "95% t interval" in subtitle(figure)


def test_two_runs_are_thin_lines_without_a_band() -> None:
    figure = curves(epsilons(seeds=2), ACCURACY, [PERTURB])
    (axes,) = panels(figure)
    assert drawn(axes, "band") == []
    runs = drawn(axes, "run")
    assert len(runs) == 6
    assert all(run.get_linewidth() < 1 for run in runs)
    assert "thin: single runs" in subtitle(figure)


def test_steps_without_a_record_are_passed_over() -> None:
    figure = curves(epsilons(), "train/loss", [PERTURB])
    (control,) = drawn(panels(figure)[0], "control")
    assert control.get_xdata().tolist() == [0, 200, 400, 600, 800, 1000]


def test_windows_are_shaded_in_the_unit_of_the_axis() -> None:
    figure = curves(epsilons(), ACCURACY, [PERTURB], x="epoch", windows=[(200, 300)])
    (span,) = drawn(panels(figure)[0], "window")
    assert (span.get_x(), span.get_width()) == pytest.approx((2.0, 1.0))
    assert panels(figure)[0].get_xlabel() == "epoch"


@pytest.fixture(scope="module")
def many() -> Figure:
    return curves(kicks(), ACCURACY, [INITS, OPTIMIZER, KICKS])


def test_over_twelve_conditions_go_to_panels_each_with_its_window(many: Figure) -> None:
    axes = panels(many)
    assert len(axes) == 9
    for each in axes:
        assert len(drawn(each, "mean")) == 6
        assert len(drawn(each, "control")) == 1
        assert len(drawn(each, "window")) == 1
    assert [drawn(each, "window")[0].get_x() for each in axes[:3]] == [0, 300, 800]
    assert [each.get_title("left") for each in axes[:3]] == [
        "when = 0–100",
        "when = 300–400",
        "when = 800–900",
    ]


def test_hue_chooses_what_colours_mean() -> None:
    frame = kicks(seeds=1).filter(pl.col(MOMENTUM) == 0.9)
    figure = curves(frame, ACCURACY, [INITS, OPTIMIZER, KICKS], hue=WHEN)
    assert len(panels(figure)) == 6
    assert all(len(drawn(axes, "mean")) == 3 for axes in panels(figure))
    with pytest.raises(AnalysisError, match="did you mean"):
        curves(frame, ACCURACY, [INITS, OPTIMIZER, KICKS], hue="PerturbMomentum.whem")


def test_one_treatment_of_many_levels_never_recycles_a_colour() -> None:
    levels = [i / 100 for i in range(1, 31)]
    figure = curves(epsilons(seeds=1, levels=levels), ACCURACY, [PERTURB])
    counts = [len(drawn(axes, "mean")) for axes in panels(figure)]
    assert counts == [12, 12, 6]
    for axes in panels(figure):
        colours = [line.get_color() for line in drawn(axes, "mean")]
        assert len(set(colours)) == len(colours)
        assert len(drawn(axes, "control")) == 1


def test_diverged_runs_are_dotted_counted_and_not_averaged() -> None:
    rows = [{INIT: s, EPSILON: e, EPSILON_SEED: 0, "status": "done"} for s in range(4) for e in (0.0, 0.1)]
    rows[1]["status"] = "diverged"
    rows[3]["status"] = "failed"
    figure = curves(trained(rows), ACCURACY, [INITS, PERTURB])
    (axes,) = panels(figure)
    (dotted,) = drawn(axes, "diverged")
    assert dotted.get_linestyle() == ":"
    (cross,) = drawn(axes, "divergence")
    assert cross.get_xdata()[0] == 500
    assert "1 of 8 runs diverged, 1 of 8 runs failed (not in the means)" in subtitle(figure)
    assert figure.table.filter(pl.col(EPSILON) == 0.1, pl.col("mark") == "mean")["n"].unique().to_list() == [
        2
    ]


def test_a_diverged_run_does_not_flatten_the_others() -> None:
    rows = [{EPSILON: e, EPSILON_SEED: 0, "status": "done"} for e in (0.0, 0.1)]
    rows[1]["status"] = "diverged"
    frame = trained(rows).with_columns(
        pl.when(status="diverged").then(pl.col(ACCURACY) * 1e12).otherwise(ACCURACY).alias(ACCURACY)
    )
    assert panels(curves(frame, ACCURACY, [PERTURB]))[0].get_ylim()[1] < 2


def test_a_frame_in_which_all_diverged_is_still_drawn() -> None:
    rows = [{EPSILON: e, EPSILON_SEED: 0, "status": "diverged"} for e in (0.0, 0.1)]
    figure = curves(trained(rows), ACCURACY, [PERTURB])
    assert "No run ended" in subtitle(figure)
    assert len(drawn(panels(figure)[0], "diverged")) == 2


def test_seeds_alone_make_one_line() -> None:
    figure = curves(trained([{INIT: seed} for seed in range(5)]), ACCURACY, [INITS])
    assert len(drawn(panels(figure)[0], "mean")) == 1
    assert "Replicates: InitWeights.seed (5)." in figure.caption


def test_several_treatments_in_one_panel_are_named_once() -> None:
    conditions = [{MOMENTUM: m, EPSILON: e, EPSILON_SEED: 0} for m in (0.9, 0.99) for e in (0.0, 0.1)]
    figure = curves(trained(conditions), ACCURACY, [OPTIMIZER, PERTURB])
    assert figure.figure.legends[0].get_title().get_text() == "momentum, epsilon"
    assert sorted(legend_texts(figure)) == ["0.9, 0 (control)", "0.9, 0.1", "0.99, 0 (control)", "0.99, 0.1"]
    solid, dashed = drawn(panels(figure)[0], "control")
    assert solid.get_linestyle() != dashed.get_linestyle()


STEP = "PerturbWeights.step"
TIMED = Factor("PerturbWeights", (EPSILON, STEP), control={EPSILON: None, STEP: None})
RATES = Factor("SetOptimizer", (MOMENTUM,), control={MOMENTUM: None})


def one_at_a_time() -> pl.DataFrame:
    none: dict[str, object] = {MOMENTUM: None, EPSILON: None, STEP: None}
    timed = [none | {EPSILON: 0.5, STEP: step} for step in (200, 800)]
    return trained([none, none | {MOMENTUM: 0.99}, *timed])


@pytest.mark.parametrize("width", ["column", "page"])
def test_where_interventions_are_absent_each_line_names_those_that_it_has(width: str) -> None:
    figure = curves(one_at_a_time(), ACCURACY, [RATES, TIMED], width=width)
    words = ["control", "momentum = 0.99", "step = 200", "step = 800"]
    assert legend_texts(figure) == words
    figure.figure.canvas.draw()
    legend = figure.figure.legends[0].get_window_extent()
    assert not legend.overlaps(panels(figure)[0].get_window_extent())
    labels = {"step = 200": "early noise"}
    assert "early noise" in legend_texts(curves(one_at_a_time(), ACCURACY, [RATES, TIMED], labels=labels))


def test_a_control_without_a_value_has_no_place_in_the_legend() -> None:
    value = pl.when(pl.col(EPSILON) > 0).then(ACCURACY).alias(ACCURACY)
    figure = curves(epsilons().with_columns(value), ACCURACY, [PERTURB])
    assert legend_texts(figure) == ["0.001", "0.01", "0.1"]


def test_more_controls_than_dashes_go_to_panels_one_in_each() -> None:
    rows = [{MOMENTUM: m / 10, EPSILON: e, EPSILON_SEED: 0} for m in range(5) for e in (0.0, 0.1)]
    figure = curves(trained(rows), ACCURACY, [OPTIMIZER, PERTURB])
    assert [len(drawn(axes, "control")) for axes in panels(figure)] == [1] * 5
    assert legend_texts(figure) == ["0 (control)", "0.1"]


def test_labels_replace_names() -> None:
    figure = curves(
        epsilons(), ACCURACY, [PERTURB], labels={EPSILON: "ε", "0.1": "large", ACCURACY: "accuracy"}
    )
    assert "large, n = 10" in legend_texts(figure)
    assert figure.figure.legends[0].get_title().get_text() == "ε"
    assert panels(figure)[0].get_ylabel() == "accuracy"


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("width", ["column", "page"])
def test_nothing_reaches_over_the_edge(scale: str, width: str) -> None:
    figure = curves(epsilons(), ACCURACY, [PERTURB], scale=scale, width=width).figure
    figure.canvas.draw()
    box = figure.get_tightbbox()
    assert box.x0 > -0.01
    assert box.y0 > -0.01
    assert box.x1 < figure.get_figwidth() + 0.01
    assert box.y1 < figure.get_figheight() + 0.01


def test_no_global_state_changes() -> None:
    before = dict(matplotlib.rcParams)
    curves(epsilons(), ACCURACY, [PERTURB])._repr_png_()
    assert dict(matplotlib.rcParams) == before


def test_the_order_of_rows_does_not_matter() -> None:
    frame = epsilons()
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=3)
    a, b = curves(frame, ACCURACY, [PERTURB]), curves(shuffled, ACCURACY, [PERTURB])
    assert a.table.equals(b.table)
    assert legend_texts(a) == legend_texts(b)


def test_an_unrecorded_metric_is_an_error() -> None:
    empty = epsilons().with_columns(pl.lit(None, dtype=pl.Float64).alias(ACCURACY))
    with pytest.raises(AnalysisError, match="no learner recorded"):
        curves(empty, ACCURACY, [PERTURB])
    with pytest.raises(AnalysisError, match="did you mean"):
        curves(epsilons(), "test/acuracy", [PERTURB])


def test_means_of_levels_computed_from_others_stay_apart(many: Figure) -> None:
    table = many.table
    means = table.filter(pl.col("mark") == "mean", pl.col("step") == 0)
    assert means.height == 3 * 19
    assert (means["n"] == 3).all()
    assert {MOMENTUM, KICK, WHEN} <= set(table.columns)

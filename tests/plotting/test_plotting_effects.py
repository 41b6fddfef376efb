from __future__ import annotations

import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from plotting_cases import (
    ACCURACY,
    EPSILON,
    INITS,
    KICKS,
    OPTIMIZER,
    PERTURB,
    epsilons,
    final,
    kicks,
    trained,
)

from paribus.analysis import Factor, Table, compare, leave_one_out
from paribus.errors import AnalysisError
from paribus.plotting import Figure, effects


@pytest.fixture(scope="module")
def table() -> Table:
    shifted = final(epsilons()).with_columns(pl.col(ACCURACY) - pl.col(EPSILON))
    return compare(shifted, ACCURACY, [PERTURB], margin=0.02)


def drawn(figure: Figure, kind: str) -> list[object]:
    return [child for axes in figure.figure.axes for child in axes.get_children() if child.get_gid() == kind]


def forest(figure: Figure) -> Axes:
    return figure.figure.axes[0]


def test_each_condition_has_its_mean_its_interval_and_its_pairs(table: Table) -> None:
    figure = effects(table)
    assert len(drawn(figure, "effect")) == len(drawn(figure, "interval")) == 3
    assert [len(dots.get_offsets()) for dots in drawn(figure, "pairs")] == [10, 10, 10]
    assert [mark.get_xdata()[0] for mark in drawn(figure, "effect")] == table.frame["difference"].to_list()


def test_the_control_is_the_black_line_at_zero(table: Table) -> None:
    (line,) = drawn(effects(table), "control")
    assert to_hex(line.get_color()) == "#000000"
    assert list(line.get_xdata()) == [0, 0]


def test_the_margin_of_equivalence_is_shaded(table: Table) -> None:
    (band,) = drawn(effects(table), "margin")
    assert (band.get_x(), band.get_width()) == pytest.approx((-0.02, 0.04))


def test_the_table_has_every_mark(table: Table) -> None:
    counts = dict(effects(table).table["mark"].value_counts().iter_rows())
    assert counts == {"effect": 3, "pair": 30}


def test_the_caption_says_what_the_bars_are(table: Table) -> None:
    caption = effects(table).caption
    assert "95% t interval" in caption
    assert "over 10 independent blocks" in caption


def test_headings_stay_on_a_line_and_levels_are_told_in_the_room_that_they_take(table: Table) -> None:
    texts = [text.get_text() for axes in effects(table).figure.axes for text in axes.texts]
    assert {"epsilon", "p (Holm)", "difference [95%]"} <= set(texts)
    parts = {f"Part{place}.level": None for place in range(6)}
    rows = [parts, *(parts | {column: 0.5} for column in parts)]
    factors = [Factor(column.partition(".")[0], (column,)) for column in parts]
    figure = effects(compare(final(trained(rows)), ACCURACY, factors), width="column")
    assert figure.figure.get_figwidth() == pytest.approx(3.5)
    texts = [text.get_text() for axes in figure.figure.axes for text in axes.texts]
    assert {"condition", "Part0 level = 0.5", "Part5 level = 0.5"} <= set(texts)


def test_one_pair_has_a_dot_and_no_interval() -> None:
    figure = effects(compare(final(epsilons(seeds=1)), ACCURACY, [PERTURB]))
    assert drawn(figure, "interval") == []
    assert len(drawn(figure, "effect")) == 3


def test_a_condition_that_diverged_everywhere_keeps_its_row() -> None:
    results = final(epsilons(seeds=3)).with_columns(
        pl.when(pl.col(EPSILON) == 0.1).then(pl.lit("diverged")).otherwise("status").alias("status")
    )
    figure = effects(compare(results, ACCURACY, [PERTURB]))
    words = [text.get_text() for axes in figure.figure.axes for text in axes.texts]
    assert "0/3" in words
    assert len(drawn(figure, "effect")) == 2


@pytest.mark.parametrize("which", ["few, column", "few, page", "many, page"])
def test_words_stay_inside_and_apart(table: Table, which: str) -> None:
    if which == "many, page":
        table = compare(final(kicks()), ACCURACY, [INITS, OPTIMIZER, KICKS])
    figure = effects(table, width="column" if which.endswith("column") else "page").figure
    figure.canvas.draw()
    box = figure.get_tightbbox()
    assert box.x0 > -0.01
    assert box.x1 < figure.get_figwidth() + 0.01
    texts = [text for axes in figure.axes for text in axes.texts if text.get_text()]
    boxes = [text.get_window_extent().shrunk(0.98, 0.9) for text in texts]
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[:i]), texts[i].get_text()


def test_dots_stand_beside_their_own_mean_however_the_rows_are_sorted() -> None:
    shifted = final(epsilons()).with_columns(pl.col(ACCURACY) + pl.col(EPSILON))
    figure = effects(leave_one_out(shifted, ACCURACY, [PERTURB], better="lower"))
    means = [mark.get_xdata()[0] for mark in drawn(figure, "effect")]
    dots = [float(points.get_offsets()[:, 0].mean()) for points in drawn(figure, "pairs")]
    assert means == pytest.approx(dots)
    assert means == sorted(means, reverse=True)
    assert "epsilon = 0.1" in [text.get_text() for axes in figure.figure.axes for text in axes.texts]


def test_a_table_without_pairs_is_refused() -> None:
    with pytest.raises(AnalysisError, match="compare"):
        effects(Table(pl.DataFrame({"a": [1]}), "No pairs."))

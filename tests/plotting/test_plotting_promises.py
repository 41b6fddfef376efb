"""What every figure promises: its words, its numbers, its bytes, and that it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import polars as pl
import pytest
from plotting_cases import (
    ACCURACY,
    INIT,
    INITS,
    KICKS,
    KIND,
    MOMENTUM,
    OPTIMIZER,
    ORDER,
    distances,
    epsilons,
    final,
    kicks,
    seeds,
    several_tasks,
)

from paribus.analysis import Factor, Table, anova, compare
from paribus.analysis import profile as profile_table
from paribus.analysis import variance as variance_table
from paribus.plotting import (
    Figure,
    curves,
    effects,
    importance,
    interaction,
    pairs,
    parallel,
    profile,
    ridge,
    slice,
    variance,
)
from paribus.plotting.style import WIDTHS

FACTORS = [INITS, OPTIMIZER, KICKS]
FRAME = kicks().filter(pl.col(MOMENTUM) == 0.9)
LOST = final(FRAME).with_columns(
    pl.when(pl.col("learner") % 40 == 3).then(pl.lit("diverged")).otherwise("status").alias("status")
)


def profiles() -> Table:
    factors = [Factor("SetOptimizer", (KIND,)), Factor("InitWeights", (), (INIT,))]
    return profile_table(several_tasks(), ACCURACY, factors, task="task")


def shares() -> Table:
    return variance_table(seeds(), ACCURACY, [INITS, Factor("Order", (), (ORDER,))])


DRAW: dict[str, Callable[..., Figure]] = {
    "curves": lambda **o: curves(FRAME, ACCURACY, FACTORS, **o),
    "effects": lambda **o: effects(compare(LOST, ACCURACY, FACTORS), **o),
    "slice": lambda **o: slice(LOST, ACCURACY, FACTORS, **o),
    "interaction": lambda **o: interaction(LOST, ACCURACY, FACTORS, **o),
    "importance": lambda **o: importance(anova(LOST, ACCURACY, FACTORS), **o),
    "pairs": lambda **o: pairs(distances()[0], "stability/distance", distances()[1], [INITS], **o),
    "profile": lambda **o: profile(profiles(), **o),
    "variance": lambda **o: variance(shares(), **o),
    "parallel": lambda **o: parallel(LOST, ACCURACY, FACTORS, **o),
    "ridge": lambda **o: ridge(LOST, ACCURACY, FACTORS, **o),
}


def words(figure: Figure) -> str:
    suptitle = figure.figure._suptitle
    texts = [] if suptitle is None else [suptitle]
    return " ".join(text.get_text().replace("\n", " ") for text in [*texts, *figure.figure.texts])


@pytest.mark.parametrize("kind", DRAW)
def test_made_again_it_has_the_same_bytes(kind: str, tmp_path: Path) -> None:
    one, two = (DRAW[kind]().save(tmp_path / each / "figure") for each in ("one", "two"))
    assert [file.suffix for file in one] == [".png", ".pdf", ".svg", ".csv", ".txt"]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True))
    _, pdf, svg, csv, _ = one
    assert b"/FontFile2" in pdf.read_bytes()
    assert "<text" in svg.read_text(encoding="utf-8")
    assert pl.read_csv(csv).height > 0


@pytest.mark.parametrize("kind", DRAW)
@pytest.mark.parametrize("width", ["column", "page"])
def test_nothing_reaches_over_the_edge(kind: str, width: str) -> None:
    figure = DRAW[kind](width=width).figure
    assert figure.get_figwidth() == pytest.approx(WIDTHS[width], rel=0.4 if kind == "effects" else 1e-9)
    figure.canvas.draw()
    box = figure.get_tightbbox()
    assert min(box.x0, box.y0) > -0.02
    assert box.x1 < figure.get_figwidth() + 0.02
    assert box.y1 < figure.get_figheight() + 0.02


@pytest.mark.parametrize("kind", DRAW)
def test_no_global_state_changes_and_the_caption_is_whole(kind: str) -> None:
    before = dict(matplotlib.rcParams)
    figure = DRAW[kind]()
    assert dict(matplotlib.rcParams) == before
    assert figure.caption.endswith(".")
    assert figure.name
    assert figure.table.height > 0


@pytest.mark.parametrize("kind", ["effects", "slice", "interaction", "parallel", "ridge", "profile"])
def test_what_was_lost_is_counted_in_the_figure(kind: str) -> None:
    lost = {"effects": "pairs lost a learner", "profile": "2 of 72 runs"}.get(kind, "2 ")
    assert lost in words(DRAW[kind]())


def test_many_lines_go_to_panels_and_no_colour_comes_twice() -> None:
    many = interaction(
        final(epsilons(3, levels=tuple(range(1, 21)))).with_columns(
            pl.Series(OPTIMIZER.treatments[0], [0.9, 0.99] * 30 + [0.9])
        ),
        ACCURACY,
        [OPTIMIZER, Factor("PerturbWeights", ("PerturbWeights.epsilon",), ("PerturbWeights.seed",))],
        hue="PerturbWeights.epsilon",
    )
    assert len(many.figure.axes) == 2
    for axes in many.figure.axes:
        colours = [line.get_color() for line in axes.get_lines() if line.get_gid() == "mean"]
        assert len(colours) == len(set(colours)) <= 12

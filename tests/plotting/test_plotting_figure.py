from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from plotting_cases import ACCURACY, PERTURB, epsilons

from paribus.errors import AnalysisError
from paribus.plotting import Figure, curves


@pytest.fixture(scope="module")
def figure() -> Figure:
    return curves(epsilons(seeds=3), ACCURACY, [PERTURB])


def test_a_folder_gets_the_figure_its_data_and_its_caption(figure: Figure, tmp_path: Path) -> None:
    files = figure.save(tmp_path)
    assert [file.name for file in files] == [
        f"curves-test-accuracy.{e}" for e in ("png", "pdf", "svg", "csv", "txt")
    ]
    assert pl.read_csv(files[3]).height == figure.table.height
    assert files[4].read_text(encoding="utf-8").strip() == figure.caption


def test_a_stem_names_the_files_and_keeps_its_dots(figure: Figure, tmp_path: Path) -> None:
    files = figure.save(tmp_path / "new" / "fig.1", formats=("png",))
    assert [file.name for file in files] == ["fig.1.png", "fig.1.txt"]


def test_the_caption_travels_in_the_files(figure: Figure, tmp_path: Path) -> None:
    png, svg, _ = figure.save(tmp_path, formats=("png", "svg"))
    assert figure.caption[:40].encode() in png.read_bytes()
    assert figure.caption[:40] in svg.read_text(encoding="utf-8")


def test_fonts_are_embedded_and_svg_text_stays_text(figure: Figure, tmp_path: Path) -> None:
    pdf, svg, _ = figure.save(tmp_path, formats=("pdf", "svg"))
    assert b"/FontFile2" in pdf.read_bytes()
    assert b"/Type3" not in pdf.read_bytes()
    assert "test/accuracy" in svg.read_text(encoding="utf-8")


def test_saving_again_gives_the_same_bytes(figure: Figure, tmp_path: Path) -> None:
    again = curves(epsilons(seeds=3), ACCURACY, [PERTURB])
    for one, other in zip(figure.save(tmp_path / "one"), again.save(tmp_path / "two"), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_notebook_gets_a_png(figure: Figure) -> None:
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_an_unknown_format_is_named(figure: Figure, tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="did you mean 'svg'"):
        figure.save(tmp_path, formats=("svgz",))

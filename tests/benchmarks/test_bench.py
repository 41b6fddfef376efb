"""``paribus bench`` and the suite: table, JSON and picture of a run that never was; a run that is tiny."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from benchmarks.table import write_page

from paribus.__main__ import main
from paribus.bench import ratios
from paribus.bench.measure import Benchmark, Figure
from paribus.bench.picture import better_than_target, draw

FIGURES = [
    Figure("speed over a loop", 1.0, "×", 1.5, "more", detail="10 against 10 steps/s"),
    Figure("time", 1.0, "s", 2.0),
    Figure("share", -3.0, "%", 5.0),
    Figure("of no target", 4.0, "×"),
]
FAKE = Benchmark("fake", "What never was measured.", {"full": {}, "quick": {}}, lambda: FIGURES)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratios, "BENCHMARK", FAKE)


@pytest.mark.usefixtures("fake")
def test_the_command_prints_a_table_and_tells_misses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit, match="0"):
        main(["bench", "--quick", "--picture", str(tmp_path / "bench.png")])
    told = capsys.readouterr().out
    assert all(figure.what in told for figure in FIGURES)
    assert "2 of 3 targets met. Missed: speed over a loop." in told
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("fake")
def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["bench", "--json"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [figure["met"] for figure in told["figures"]["fake"]] == [False, True, True, None]
    assert {"date", "cores", "torch", "joblib"} <= set(told["machine"])


@pytest.mark.parametrize("name", ["bench.gif", "no/folder/bench.png"])
def test_a_picture_that_cannot_be_written_is_refused_before(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["bench", "--picture", str(tmp_path / name)])
    assert "cannot be drawn; name a file in a folder that is there" in capsys.readouterr().err


def test_the_picture_places_a_figure_by_its_own_direction() -> None:
    at = [better_than_target(figure) for figure in FIGURES[:3]]
    assert at[0] == pytest.approx(2 / 3)
    assert at[1] == 2
    assert at[2] > 1


def test_the_picture_is_the_same_each_time_and_beside_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- figures -->\n<!-- end of figures -->\n")
    files = [draw({"fake": FIGURES}, tmp_path / name) for name in ("benchmarks.png", "again.png")]
    assert files[0].read_bytes() == files[1].read_bytes()
    write_page(page, [FAKE], {"fake": FIGURES})
    assert "(benchmarks.png)" in page.read_text()


def test_the_ratios_that_no_other_benchmark_has_are_measured() -> None:
    figures = [*ratios.stored(learners=2, steps=2, repetitions=1), ratios.planning(2, 2, repetitions=1)]
    assert len(figures) == 3
    assert all(math.isfinite(figure.reached) and figure.unit == "×" for figure in figures)

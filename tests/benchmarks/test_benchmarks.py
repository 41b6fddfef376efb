"""Each benchmark runs at a tiny size; what it measures is no test's business."""

from __future__ import annotations

import math

import pytest
from benchmarks.__main__ import BENCHMARKS
from benchmarks.table import as_json, for_terminal, write_page

from paribus.bench.measure import Benchmark, Figure


@pytest.mark.slow
@pytest.mark.parametrize("benchmark_run", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_benchmark_runs(benchmark_run: Benchmark) -> None:
    figures = benchmark_run.measure(**benchmark_run.sizes["tiny"])
    assert figures
    assert all(math.isfinite(figure.reached) for figure in figures)


@pytest.mark.parametrize("benchmark_run", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_sizes_name_the_same_arguments(benchmark_run: Benchmark) -> None:
    arguments = {name: set(size) for name, size in benchmark_run.sizes.items()}
    assert arguments["full"] == arguments["quick"] == arguments["tiny"]


def test_a_target_is_met_in_its_own_direction() -> None:
    assert Figure("speed", 2.0, "×", 1.5, "more").met
    assert not Figure("time", 2.0, "s", 1.5, "less").met
    assert Figure("anything", 2.0, "s").met is None


def test_the_page_tells_misses_and_keeps_its_text(tmp_path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("before\n<!-- figures -->\nold\n<!-- end of figures -->\nafter\n")
    benchmark = BENCHMARKS[0]
    results = {benchmark.name: [Figure("speed", 1.0, "×", 1.5, "more"), Figure("time", 1.0, "s", 2.0)]}
    write_page(page, BENCHMARKS, results)
    text = page.read_text()
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "1 of 2 targets met. Missed: speed." in text
    assert for_terminal(results).row_count == 2
    assert as_json(results)["figures"][benchmark.name][0]["met"] is False


def test_the_page_says_what_was_skipped(tmp_path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("<!-- figures -->\n<!-- end of figures -->\n")
    benchmark = BENCHMARKS[0]
    write_page(page, BENCHMARKS, {benchmark.name: []})
    assert f"### {benchmark.name}" in page.read_text()
    assert "Skipped: this machine lacks what is measured." in page.read_text()

"""The figures of a run in the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paribus.bench.measure import Benchmark
from paribus.bench.table import HEADINGS, Results, as_json, cells, for_terminal, machine, tally

__all__ = ["PICTURE", "as_json", "for_terminal", "write_page"]

PICTURE = "benchmarks.png"  # beside the page
_BEGIN, _END = "<!-- figures -->", "<!-- end of figures -->"


def write_page(page: Path, benchmarks: Sequence[Benchmark], results: Results) -> None:
    """Put the figures between the page's two marks; the text around them stays."""
    before, rest = page.read_text().split(_BEGIN)
    after = rest.split(_END)[1]
    lines = [", ".join(f"{name} {value}" for name, value in machine().items()) + ".", ""]
    if (page.parent / PICTURE).exists():
        lines += [f"![Each figure over its target, misses marked]({PICTURE})", ""]
    lines += [tally(results)]
    for benchmark in benchmarks:
        if benchmark.name in results:
            lines += ["", f"### {benchmark.name}", "", benchmark.description, ""]
            if not results[benchmark.name]:
                lines += ["Skipped: this machine lacks what is measured."]
                continue
            lines += ["| " + " | ".join(HEADINGS) + " |", "| --- | ---: | ---: | ---: | --- | --- |"]
            lines += ["| " + " | ".join((f.what, *cells(f))) + " |" for f in results[benchmark.name]]
    page.write_text(before + "\n".join([_BEGIN, "", *lines, "", _END]) + after)

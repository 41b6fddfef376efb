"""``python -m benchmarks``: measure, print one table, and write JSON and a picture where asked to."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from benchmarks import (
    cache,
    figures,
    frames,
    fusion,
    gpu,
    identity,
    logging,
    overhead,
    peers,
    scale,
    search,
    step,
    store,
    trajectories,
)
from benchmarks.table import PICTURE, as_json, for_terminal, write_page
from paribus.bench.picture import draw

BENCHMARKS = [
    module.BENCHMARK
    for module in (
        step,
        overhead,
        logging,
        trajectories,
        fusion,
        gpu,
        cache,
        peers,
        scale,
        identity,
        store,
        search,
        frames,
        figures,
    )
]
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def main() -> None:
    """Run the benchmarks that are asked for."""
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=names, action="append", help="one of them; may be repeated")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw them there too")
    parser.add_argument("--write", action="store_true", help="put table and picture into docs/benchmarks.md")
    given = parser.parse_args()
    console, results = Console(), {}
    for benchmark in BENCHMARKS:
        if benchmark.name in (given.only or names):
            with console.status(f"{benchmark.name} …"):
                results[benchmark.name] = benchmark.measure(
                    **benchmark.sizes["quick" if given.quick else "full"]
                )
    console.print(for_terminal(results))
    if given.json:
        given.json.write_text(json.dumps(as_json(results), indent=2, ensure_ascii=False) + "\n")
    for picture in [given.picture, PAGE.parent / PICTURE if given.write else None]:
        if picture is not None:
            draw(results, picture)
    if given.write:
        write_page(PAGE, BENCHMARKS, results)


if __name__ == "__main__":
    main()

"""The command line that the examples share."""

from __future__ import annotations

import argparse

from paribus.datasets import digits, mnist


def parser(description: str | None, steps: int | None = None) -> argparse.ArgumentParser:
    """Make a parser; `steps` is the default length of a run, None being Experiment's own 5 epochs."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument(
        "dataset",
        nargs="?",
        type=mnist,
        default=digits(),
        help="folder with torchvision's MNIST; else digits",
    )
    made.add_argument("--steps", type=int, default=steps, help="length of each run, in steps")
    made.add_argument("--store", default="runs", help="folder of results")
    made.add_argument("--plan", action="store_true", help="show the plan and train nothing")
    return made

"""Synthetic learners with planted effects."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import polars as pl

from paribus.analysis import Factor

ACCURACY = "test/accuracy"
EPSILON, EPSILON_SEED = "PerturbWeights.epsilon", "PerturbWeights.seed"
MOMENTUM, INIT = "SetOptimizer.momentum", "InitWeights.seed"

PERTURB = Factor("PerturbWeights", (EPSILON,), (EPSILON_SEED,), control={EPSILON: 0.0})
PLAIN_PERTURB = Factor("PerturbWeights", (EPSILON,), control={EPSILON: 0.0})
OPTIMIZER = Factor("SetOptimizer", (MOMENTUM,))
INITS = Factor("InitWeights", (), (INIT,))


def learners(rows: Iterable[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(
        [{"learner": i, "key": f"{i:032x}", "status": "done"} | row for i, row in enumerate(rows)],
        infer_schema_length=None,
    )


def first_snippet(
    accuracy: Callable[[float, int], float], inits: Sequence[int] | None = None, seeds: int = 10
) -> pl.DataFrame:
    """One control beside epsilon = (0.001, 0.01, 0.1) × `seeds`, crossed with `inits` where given."""
    rows = []
    for init in inits or [None]:
        cells = [(0.0, 0), *itertools.product((0.001, 0.01, 0.1), range(seeds))]
        for epsilon, seed in cells:
            row: dict[str, object] = {EPSILON: epsilon, EPSILON_SEED: seed, ACCURACY: accuracy(epsilon, seed)}
            rows.append(row | ({} if init is None else {INIT: init}))
    return learners(rows)


def paired(
    effects: Sequence[float], n: int, rng: np.random.Generator, block_sd: float = 0.05, noise: float = 0.01
) -> pl.DataFrame:
    """A control and a treatment for each effect over n inits; a difference is its effect plus noise."""
    blocks = rng.normal(0.9, block_sd, n)
    rows = []
    for seed, block in enumerate(blocks):
        rows.append({INIT: seed, EPSILON: 0.0, ACCURACY: block})
        for level, effect in enumerate(effects, start=1):
            rows.append({INIT: seed, EPSILON: float(level), ACCURACY: block + effect + rng.normal(0, noise)})
    return learners(rows)

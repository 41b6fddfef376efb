"""Synthetic training curves to draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from paribus.analysis import Factor

ACCURACY = "test/accuracy"
EPSILON, EPSILON_SEED = "PerturbWeights.epsilon", "PerturbWeights.seed"
MOMENTUM, INIT = "SetOptimizer.momentum", "InitWeights.seed"
KICK, WHEN = "PerturbMomentum.momentum", "PerturbMomentum.when"

PERTURB = Factor("PerturbWeights", (EPSILON,), (EPSILON_SEED,), control={EPSILON: 0.0})
OPTIMIZER = Factor("SetOptimizer", (MOMENTUM,))
KICKS = Factor("PerturbMomentum", (KICK, WHEN), control={KICK: None, WHEN: None})
INITS = Factor("InitWeights", (), (INIT,))

STEPS = tuple(range(0, 1001, 100))


def trained(conditions: Sequence[dict[str, object]]) -> pl.DataFrame:
    """Let a learner of each condition train for 1,000 steps; those that diverge stop at step 500."""
    rng = np.random.default_rng(0)
    rows = []
    for learner, condition in enumerate(conditions):
        diverges = condition.get("status") == "diverged"
        for step in STEPS:
            accuracy = 0.9 - 0.8 * float(np.exp(-step / 300)) + rng.normal(0, 0.01)
            row = {"learner": learner, "key": f"{learner:032x}", "status": "done", "step": step}
            row |= {"epoch": step / 100, ACCURACY: None if diverges and step > 500 else accuracy}
            row |= {"train/loss": accuracy if step % 200 == 0 else None}
            rows.append(row | condition)
    return pl.DataFrame(rows, infer_schema_length=None)


def epsilons(seeds: int = 10, levels: Sequence[float] = (0.001, 0.01, 0.1)) -> pl.DataFrame:
    control: dict[str, object] = {EPSILON: 0.0, EPSILON_SEED: 0}
    return trained([control, *({EPSILON: e, EPSILON_SEED: s} for e in levels for s in range(seeds))])


def kicks(seeds: int = 3) -> pl.DataFrame:
    """3 momenta × (6 kicks × 3 windows, and the control) × seeds; a kick is a share of its momentum."""
    conditions: list[dict[str, object]] = []
    for seed in range(seeds):
        for momentum in (0.9, 0.99, 0.999):
            base: dict[str, object] = {INIT: seed, MOMENTUM: momentum}
            conditions.append(base | {KICK: None, WHEN: None})
            for share in (0.001, -0.001, 0.01, -0.01, 0.1, -0.1):
                whens = ("0–100", "300–400", "800–900")
                conditions.extend(base | {KICK: momentum * (1 + share), WHEN: when} for when in whens)
    return trained(conditions)


def final(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("step") == STEPS[-1]).drop("step", "epoch")


KIND, ORDER = "SetOptimizer.optimizer", "Order.seed"
TASKS = ("digits", "letters", "faces")


def several_tasks(kinds: Sequence[str] = ("sgd", "adam", "lion")) -> pl.DataFrame:
    """8 runs of each optimizer on three tasks; two of the last one's diverge on faces."""
    rng = np.random.default_rng(1)
    cells = [(task, kind, seed) for task in TASKS for kind in kinds for seed in range(8)]
    return pl.DataFrame(
        {
            "learner": learner,
            "status": "diverged" if (task, kind) == ("faces", kinds[-1]) and seed < 2 else "done",
            "task": task,
            KIND: kind,
            INIT: seed,
            ACCURACY: 0.8 + 0.05 * kinds.index(kind) + rng.normal(0, 0.04),
        }
        for learner, (task, kind, seed) in enumerate(cells)
    )


def seeds(n: int = 5) -> pl.DataFrame:
    """Initialisations crossed with orders of the data: the first matters more."""
    rng = np.random.default_rng(2)
    inits, orders = rng.normal(0, 0.03, n), rng.normal(0, 0.01, n)
    return pl.DataFrame(
        {
            "learner": i * n + j,
            "status": "done",
            INIT: i,
            ORDER: j,
            ACCURACY: 0.9 + inits[i] + orders[j] + rng.normal(0, 0.003),
        }
        for i in range(n)
        for j in range(n)
    )


def distances(n: int = 5, name: str = "stability/distance") -> tuple[pl.DataFrame, pl.DataFrame]:
    """Values of all pairs of n initialisations at two steps, and the learners."""
    pairs = pl.DataFrame(
        {
            "metric": "stability",
            "learner": i,
            "other": j,
            "step": step,
            "name": name,
            "value": float(j - i + step),
        }
        for step in (0, 100)
        for i in range(n)
        for j in range(i + 1, n)
    )
    return pairs, pl.DataFrame({"learner": range(n), "status": ["done"] * n, INIT: range(n)})

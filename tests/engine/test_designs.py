"""How a grid is read: each sentence of the design."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learning_cases import experiment, run
from paribus import Experiment, leave_one_out, one_at_a_time, pairs
from paribus.errors import LevelError
from paribus.interventions import (
    InitWeights,
    InitWeightsIntervention,
    OptimizerIntervention,
    PerturbMomentum,
    PerturbMomentumIntervention,
    PerturbWeights,
    SetHyperparameter,
    SetOptimizer,
)

SEEDS = InitWeights.make_variations(seed=range(2))
NOISE = PerturbWeights.make_variations(epsilon=(0.1, 0.2))
RATES = SetOptimizer.make_variations(lr=(0.1, 0.2, 0.3))


def rows(exp: Experiment) -> list[dict[str, object]]:
    return [learner.levels for learner in exp]


def keys(exp: Experiment) -> list[str]:
    return [learner.key for learner in exp]


def test_no_interventions_are_one_learner(folder: Path) -> None:
    assert len(experiment(folder)) == len(experiment(folder, [])) == 1


def test_entries_are_crossed_the_last_fastest(folder: Path) -> None:
    exp = experiment(folder, [SEEDS, NOISE])
    assert rows(exp) == [
        {"InitWeights.seed": seed, "PerturbWeights.epsilon": epsilon}
        for seed in (0, 1)
        for epsilon in (0.1, 0.2)
    ]


def test_the_written_order_holds_whatever_is_applied_first(folder: Path) -> None:
    """A momentum perturbation reads the optimizer's momentum, also when it is written before it."""
    exp = experiment(
        folder,
        [
            PerturbMomentum.make_variations(momentum=lambda m: m / 2, when=(0, 3)),
            SetOptimizer.make_variations(momentum=(0.8, 0.4)),
            SEEDS,
        ],
    )
    assert [list(row.values()) for row in rows(exp)] == [
        [0.4, "0–3", 0.8, 0],
        [0.4, "0–3", 0.8, 1],
        [0.2, "0–3", 0.4, 0],
        [0.2, "0–3", 0.4, 1],
    ]


def test_entries_of_one_intervention_are_united(folder: Path) -> None:
    control = PerturbWeights.make_variations(epsilon=0, control=True)
    assert len(experiment(folder, [control, NOISE, SEEDS])) == (1 + 2) * 2
    assert len(experiment(folder, [control, SEEDS, NOISE])) == (1 + 2) * 2, "also when they are apart"


def test_a_sum_is_a_union_and_a_product_a_product(folder: Path) -> None:
    assert len(experiment(folder, NOISE + RATES)) == 5
    assert len(experiment(folder, NOISE * RATES)) == 6
    assert len(experiment(folder, (NOISE + RATES) * SEEDS)) == 10
    assert len(experiment(folder, NOISE + RATES * SEEDS)) == 8


def test_a_sum_of_different_interventions_is_one_factor_beside_others(folder: Path) -> None:
    assert len(experiment(folder, [NOISE + RATES, SEEDS])) == 10


def test_classic_designs(folder: Path) -> None:
    a, b, c = PerturbWeights(epsilon=0.1), SetOptimizer(momentum=0.0), SetHyperparameter(weight_decay=0.1)
    base = keys(experiment(folder))[0]

    one = experiment(folder, one_at_a_time(a, b, c))
    assert len(one) == 4
    assert keys(one)[0] == base, "the control comes first"
    assert [list(row) for row in rows(one)] == [
        [],
        [f"PerturbWeights.{name}" for name in ("epsilon", "seed", "step", "layers", "sphere")],
        ["SetOptimizer.momentum"],
        ["SetHyperparameter.weight_decay"],
    ]

    out = experiment(folder, leave_one_out(a, b, c))
    assert len(out) == 4
    assert keys(out) == [keys(experiment(folder, design))[0] for design in (a * b * c, b * c, a * c, a * b)]

    two = experiment(folder, pairs(a, b, c))
    assert len(two) == 1 + 3 + 3
    assert keys(two)[:4] == keys(one)
    assert keys(two)[4:] == [keys(experiment(folder, design))[0] for design in (a * b, a * c, b * c)]


def test_classic_designs_of_sweeps_beside_seeds(folder: Path) -> None:
    assert len(experiment(folder, [SEEDS, one_at_a_time(NOISE, RATES)])) == 2 * (1 + 2 + 3)


def test_equal_learners_are_one(folder: Path) -> None:
    assert len(experiment(folder, InitWeights.make_variations(seed=(0, 1, 0, 1)))) == 2
    assert len(experiment(folder, NOISE + NOISE)) == 2
    assert len(experiment(folder, SetOptimizer.make_variations(lr=(1, 1.0)))) == 1
    beyond = PerturbMomentum.make_variations(momentum=0.5, when=((4, 6), (4, 100), (6, 100)))
    assert len(experiment(folder, beyond)) == 2, "steps after the end count for nothing"


def test_of_equal_learners_the_declared_control_is_kept(folder: Path) -> None:
    swept = PerturbWeights.make_variations(epsilon=(0.0, 0.1))
    control = PerturbWeights.make_variations(epsilon=0, control=True)
    exp = experiment(folder, [swept, control])
    assert len(exp) == 2
    assert [cell.control for cell in exp.cells] == [True, False]


@given(order=st.permutations(range(4)))
def test_the_order_of_entries_changes_no_key(
    order: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    entries: list[Any] = [
        InitWeights(seed=3),
        SetOptimizer(momentum=0.5),
        PerturbMomentum.make_variations(momentum=lambda m: (m, m / 2), when=(1, 3)),
        PerturbWeights(epsilon=0.1, step=1),
    ]
    folder = tmp_path_factory.getbasetemp() / "order"
    written = experiment(folder, entries)
    assert sorted(keys(experiment(folder, [entries[place] for place in order]))) == sorted(keys(written))


def test_a_callable_level_under_several_base_momenta(folder: Path) -> None:
    exp = experiment(
        folder,
        [
            SetOptimizer.make_variations(momentum=(0.9, 0.5)),
            PerturbMomentum.make_variations(momentum=lambda m: (m * 2, m / 2)),
        ],
    )
    assert [row["PerturbMomentum.momentum"] for row in rows(exp)] == [1.8, 0.45, 1.0, 0.25]


def test_an_intervention_twice_in_a_cell_has_columns_of_its_own(folder: Path) -> None:
    early, late = PerturbWeights(epsilon=0.1), PerturbWeights(epsilon=0.2, step=3)
    exp = experiment(folder, early * late)
    assert rows(exp)[0]["PerturbWeights.epsilon"] == 0.1
    assert rows(exp)[0]["PerturbWeights_2.epsilon"] == 0.2


def test_two_controls_in_one_factor_are_refused(folder: Path) -> None:
    with pytest.raises(LevelError, match=r"two controls.*mark only one level with control=True"):
        experiment(folder, PerturbWeights.make_variations(epsilon=(0, 0.1), control=True))


def test_one_control_under_several_seeds_is_one_control(folder: Path) -> None:
    exp = experiment(
        folder,
        [
            InitWeights.make_variations(seed=range(3)),
            PerturbWeights.make_variations(epsilon=0, seed=(0, 1), control=True),
            NOISE,
        ],
    )
    assert sum(cell.control for cell in exp.cells) == 3


# --- the three snippets of the origin -----------------------------------------------------------------------


def test_the_first_snippet_is_30_learners_and_1_control(folder: Path) -> None:
    exp = experiment(
        folder,
        [
            PerturbWeights.make_variations(epsilon=0, seed=0, control=True),
            PerturbWeights.make_variations(epsilon=(0.001, 0.01, 0.1), seed=range(10)),
        ],
    )
    assert len(exp) == 31
    assert [cell.control for cell in exp.cells] == [True] + [False] * 30
    assert str(exp.plan()).startswith("30 learners and 1 control: 0 cached, 31 to run")


def test_the_second_snippet_is_60_learners(folder: Path) -> None:
    exp = experiment(
        folder,
        [
            InitWeightsIntervention.make_variations(seed=range(10)),
            OptimizerIntervention.make_variations(
                optimizers=(torch.optim.SGD, torch.optim.Adam), lr=(0.001, 0.01, 0.1)
            ),
        ],
    )
    assert len(exp) == 60


def test_the_third_snippet_is_540_learners_of_which_54_are_cached(folder: Path) -> None:
    """Shortened to windows of a few steps; some of its levels reach momentum 1 and above."""

    def snippet(*first: Any) -> Experiment:
        return experiment(
            folder,
            [
                *first,
                OptimizerIntervention.make_variations(momentum=(0.9, 0.99, 0.999)),
                PerturbMomentumIntervention.make_variations(
                    momentum=lambda m: (
                        m * (1 + epsilon) for epsilon in (0.001, -0.001, 0.01, -0.01, 0.1, -0.1)
                    ),
                    when=((0, 1), (2, 3), (4, 5)),
                ),
            ],
        )

    without = snippet()
    assert len(without) == 54
    assert not run(without).failed
    momenta = [learner.levels["PerturbMomentum.momentum"] for learner in without]
    assert max(momenta) > 1  # type: ignore[type-var]
    assert set(without.results()["status"]) <= {"done", "diverged"}
    back = snippet(InitWeightsIntervention.make_variations(seed=range(10)))
    assert len(back) == 540
    assert back.plan().cached == 54
    assert str(back.plan()).startswith("540 learners: 54 cached, 486 to run")

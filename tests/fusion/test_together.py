"""Who is trained with whom: learners meet, sizes are few, and so are models."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fusion_cases import walked

from paribus import Experiment
from paribus.datasets import digits
from paribus.engine.fusion import WORTH, together
from paribus.engine.fusion.together import Together
from paribus.interventions import InitWeights, PerturbMomentum
from paribus.models import MLP

DATA = digits(size=8)


@pytest.fixture(autouse=True)
def _nothing_known() -> None:
    together.known.clear()


def experiment(store: Path, steps: int, *interventions: Any) -> Experiment:
    return Experiment(partial(MLP, 64, (16,)), DATA, interventions, steps=steps, store=store)


def sizes() -> set[Any]:
    """Of the groups that were made."""
    return {place[1] for place in together.known}


def perturbed(*starts: int) -> Any:
    return PerturbMomentum.make_variations(momentum=(0.8, 0.5), when=[(start, start + 3) for start in starts])


def test_learners_of_all_trees_meet_at_every_step(folder: Path) -> None:
    """Up to step 10 each seed has its trunk and two forks; from there on four forks."""
    walked(experiment(folder, 16, InitWeights.make_variations(seed=(0, 1)), perturbed(0, 10)), 64)
    assert sizes() == {6, 8}


def test_a_few_groups_have_models_at_a_time(folder: Path) -> None:
    exp = experiment(folder, 2, InitWeights.make_variations(seed=range(20)))
    group, made, ended, most = Together(exp.work, 2), 0, 0, 0

    def past() -> Any:
        nonlocal made, most
        made, most = made + 1, max(most, made + 1 - ended)
        return None, {}

    for task in exp.plan().tasks():
        group.admit(task, past)
    while group:
        ended += len(group.advance())
    assert made == ended == 20
    assert most <= 8


def test_forks_a_few_steps_apart_make_few_sizes(folder: Path) -> None:
    """Each new size costs its program: who could join too early goes on until it is worth one."""
    windows = [(start, start + 1) for start in range(10, 40, 3)]
    exp = experiment(folder, WORTH // 4, PerturbMomentum.make_variations(momentum=0.5, when=windows))
    exp.run(progress=False)
    assert len(sizes()) == 1
    assert exp.run(progress=False).steps_trained == 0

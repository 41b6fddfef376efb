"""Which states stay on disk, and what a dropped one costs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learning_cases import POINTS
from paribus import Experiment
from paribus.engine.planning.plan import Plan
from paribus.engine.running.retention import dispensable
from paribus.errors import ConfigurationError
from paribus.interventions import InitWeights, PerturbWeights
from paribus.models import MLP
from paribus.store import stats, verify


def forked(folder: Path) -> Experiment:
    kicks = PerturbWeights.make_variations(epsilon=0.1, step=(0, 4))
    control = PerturbWeights.make_variations(epsilon=0, control=True)
    seeds = InitWeights.make_variations(seed=range(2))
    return Experiment(
        MLP(inputs=4, hidden=(8,), outputs=3), POINTS, [seeds, control, kicks], steps=8, store=folder
    )


def plan_of(folder: Path) -> Plan:
    return forked(folder).plan()


def test_ends_are_kept_and_forks_are_dropped(folder: Path) -> None:
    exp = forked(folder)
    exp.run(progress=False, keep="ends")
    states = exp.plan().states
    ends = {learner.key for learner in exp}
    assert set(states) == ends
    assert verify(exp.store).sound


def test_what_was_dropped_is_replayed_to_the_same_bits(folder: Path, tmp_path: Path) -> None:
    lean, full = forked(folder), forked(tmp_path / "full")
    lean.run(progress=False, keep=0)
    full.run(progress=False)
    assert lean.plan().states == {}
    for one, other in zip(lean, full, strict=True):
        ours, theirs = one.checkpoint(6).model, other.checkpoint(6).model
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_a_run_without_states_stays_cached(folder: Path) -> None:
    forked(folder).run(progress=False, keep=0)
    again = forked(folder).run(progress=False)
    assert (again.cached, again.steps_trained) == (len(forked(folder)), 0)


def test_a_budget_in_bytes_holds(folder: Path) -> None:
    exp = forked(folder)
    exp.run(progress=False)
    objects = sorted(exp.store.path_of(digest).stat().st_size for digest in exp.plan().states.values())
    words = stats(exp.store).object_bytes - sum(objects)
    exp.run(progress=False, keep=2 * objects[-1])
    assert stats(exp.store).object_bytes <= words + 2 * objects[-1]
    assert len(exp.plan().states) == 2


@given(sizes=st.lists(st.integers(0, 100), min_size=8, max_size=8), budget=st.integers(0, 900))
def test_a_budget_is_never_exceeded_and_ends_go_last(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], budget: int
) -> None:
    plan = plan_of(tmp_path_factory.mktemp("store"))
    known = dict(zip((segment.key for segment in plan.segments), sizes, strict=False))
    dropped = set(dispensable(plan, known, budget))
    assert sum(size for key, size in known.items() if key not in dropped) <= budget
    assert dispensable(plan, known, sum(sizes)) == []


@pytest.mark.parametrize("keep", ["some", -1, 1.5, True, None])
def test_a_rule_that_is_none_is_refused_before_training(folder: Path, keep: object) -> None:
    exp = forked(folder)
    with pytest.raises(ConfigurationError, match=r"keep=.*expected 'all', 'ends' or a number of bytes"):
        exp.run(progress=False, keep=keep)  # type: ignore[arg-type]
    assert exp.plan().cached == 0

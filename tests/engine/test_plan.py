"""Planning: pure, with reasons, and only what is new is trained."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from learning_cases import QUIET, FailsFrom, experiment, forked, run
from paribus import Logger, register_metric
from paribus.engine.planning.known import Known
from paribus.engine.planning.plan import grow, make_plan
from paribus.interventions import InitWeights, PerturbMomentum, PerturbWeights, SetOptimizer
from paribus.loggers import Every


class Norm(Logger):
    @register_metric
    def norm(self, learner: Any) -> torch.Tensor:
        return learner.model.fc1.weight.norm()


def content(folder: Path) -> dict[str, bytes]:
    # SQLite's readers meet in the shared index of its log: it holds locks, and nothing that is kept.
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm"))
    return {str(path): path.read_bytes() for path in files}


def test_planning_is_pure(folder: Path) -> None:
    exp = experiment(folder, forked())
    run(exp)
    extended = experiment(folder, forked(), steps=9)
    before = content(folder)
    plans = [extended.plan() for _ in range(2)]
    assert plans[0] == plans[1]
    assert content(folder) == before
    assert "work" not in vars(extended), "planning reads no data"


def test_a_plan_of_a_function_of_values(folder: Path) -> None:
    cells = experiment(folder, forked()).cells
    configurations = [cell.configuration for cell in cells]
    kept = copy.copy(configurations)
    plan = make_plan(configurations, [], Known({}))
    assert configurations == kept
    assert plan == make_plan(configurations, [], Known({}))


def test_an_empty_store_is_all_to_run(folder: Path) -> None:
    plan = experiment(folder, forked()).plan()
    assert {learner.decision for learner in plan.learners} == {"to run"}
    assert {learner.reason for learner in plan.learners} == {"new: not in the store"}
    assert plan.cached == 0
    assert plan.steps_to_train == plan.steps_distinct < plan.steps_asked


@given(drawn=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=6, unique=True))
def test_the_tree_is_a_tree(drawn: list[tuple[int, int]], tmp_path_factory: Any) -> None:
    windows = [(start, start + length) for start, length in drawn]
    exp = experiment(
        tmp_path_factory.getbasetemp() / "tree",
        [
            InitWeights.make_variations(seed=(0, 1)),
            PerturbMomentum.make_variations(momentum=0.5, when=windows),
        ],
        steps=10,
    )
    configurations = [cell.configuration for cell in exp.cells]
    segments, paths = grow(configurations, [c.edges() for c in configurations])
    assert len({segment.key for segment in segments}) == len(segments), "no state twice"
    for index, segment in enumerate(segments):
        assert segment.start < segment.stop
        assert segment.parent is None or (
            segment.parent < index and segments[segment.parent].stop == segment.start
        )
    for learner, path in enumerate(paths):
        assert [segments[place].start for place in path] == [0, *(segments[p].stop for p in path[:-1])]
        assert segments[path[-1]].stop == 10
        assert segments[path[-1]].key == configurations[learner].key()
        assert all(segments[place].key == configurations[learner].key(segments[place].stop) for place in path)
        assert all(learner in segments[place].learners for place in path)


def test_more_levels_and_seeds_train_only_what_is_new(folder: Path) -> None:
    few = [InitWeights.make_variations(seed=range(2)), SetOptimizer.make_variations(lr=(0.1, 0.2))]
    more = [InitWeights.make_variations(seed=range(3)), SetOptimizer.make_variations(lr=(0.1, 0.2, 0.3))]
    assert run(experiment(folder, few)).steps_trained == 4 * 6
    plan = experiment(folder, more).plan()
    assert (plan.cached, len(plan.learners)) == (4, 9)
    assert run(experiment(folder, more)).steps_trained == 5 * 6
    assert experiment(folder, more).plan().cached == 9


def test_more_epochs_go_on_from_the_end(folder: Path) -> None:
    run(experiment(folder, epochs=2))
    plan = experiment(folder, epochs=3).plan()
    assert plan.learners[0].decision == "resumable"
    assert plan.learners[0].reason == "goes on from a stored state"
    assert plan.steps_to_train == 3


def test_another_intervention_forks_from_the_control(folder: Path) -> None:
    window = PerturbMomentum.make_variations(momentum=(0.9, 0.5), when=(3, 6))
    run(experiment(folder, window))
    kicked = experiment(folder, [window, PerturbWeights(epsilon=0.1, step=4)])
    assert kicked.plan().steps_to_train == 2 * 3, "from step 3 on, where a state is stored"
    assert {learner.decision for learner in kicked.plan().learners} == {"resumable"}


def test_a_new_metric_is_said_to_be_missing(folder: Path) -> None:
    run(experiment(folder))
    plan = experiment(folder, logger=Norm()).plan()
    assert plan.cached == 0
    assert "norm" in plan.learners[0].reason


def test_fewer_metrics_need_nothing(folder: Path) -> None:
    run(experiment(folder, logger=Norm()))
    assert run(experiment(folder)).steps_trained == 0
    assert run(experiment(folder, logger=QUIET)).steps_trained == 0


def test_a_metric_due_more_often_is_missing(folder: Path) -> None:
    run(experiment(folder))
    assert experiment(folder, logger=Logger(schedule=Every(2))).plan().cached == 0
    assert experiment(folder, logger=Logger(schedule=Every(3))).plan().cached == 1


def test_failed_learners_are_tried_again(folder: Path) -> None:
    exp = experiment(folder, InitWeights.make_variations(seed=range(6)), model=FailsFrom())
    failed = len(run(exp).failed)
    assert 0 < failed < 6
    plan = experiment(folder, InitWeights.make_variations(seed=range(6)), model=FailsFrom()).plan()
    assert plan.cached == 6 - failed
    assert sum(learner.reason == "failed before: tried again" for learner in plan.learners) == failed


def test_diverged_learners_are_results_and_not_tried_again(folder: Path) -> None:
    rates = SetOptimizer.make_variations(lr=(0.01, 1e30))
    summary = run(experiment(folder, rates, loss="mse", dataset=regression(), model=linear()))
    assert (summary.diverged, summary.failed) == (1, ())
    again = experiment(folder, rates, loss="mse", dataset=regression(), model=linear())
    assert again.results()["status"].to_list() == ["done", "diverged"]
    assert run(again).steps_trained == 0
    longer = experiment(folder, rates, loss="mse", dataset=regression(), model=linear(), steps=12)
    assert run(longer).steps_trained == 6, "nothing follows a divergence"
    assert longer.results()["status"].to_list() == ["done", "diverged"]


def regression() -> Any:
    from paribus.datasets import synthetic_regression

    return synthetic_regression(n=64, features=4)


def linear() -> torch.nn.Module:
    return torch.nn.Linear(4, 1)


def test_a_plan_in_words(folder: Path) -> None:
    exp = experiment(folder, forked(), steps=6000)
    lines = str(exp.plan()).splitlines()
    assert lines[0] == f"{len(exp)} learners: 0 cached, {len(exp)} to run"
    assert lines[1].startswith(f"{len(exp) * 6000:,} steps asked, ")
    assert lines[2] == f"  {len(exp)} × new: not in the store"
    assert "<ul><li>" in exp.plan()._repr_html_()

"""Tables and figures of an experiment: each in one call, from what the store holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from learning_cases import POINTS, experiment, run
from paribus import Experiment, Logger, leave_one_out, register_metric
from paribus.errors import AnalysisError
from paribus.evidence import environments
from paribus.interventions import InitWeights, PerturbWeights, SetOptimizer
from paribus.loggers import distance
from paribus.plotting import Figure

SEEDS = InitWeights.make_variations(seed=range(3))
RATES = SetOptimizer.make_variations(lr=(0.1, 0.3))
NOISE = PerturbWeights.make_variations(epsilon=0.5)
CONTROL = PerturbWeights.make_variations(epsilon=0.0, control=True)


class Distances(Logger):
    @register_metric(on="end", pair="InitWeights")
    def apart(self, learner, other):
        return distance(learner, other)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    exp = experiment(
        tmp_path_factory.mktemp("evidence"),
        [SEEDS, RATES, NOISE, CONTROL],
        dataset=POINTS | {"validation": POINTS["test"]},
        logger=Distances(),
    )
    run(exp)
    return exp


def test_every_table_in_one_call(study: Experiment) -> None:
    assert study.compare("test/loss").frame["n"].to_list() == [3] * 4
    assert "lr × epsilon" in study.anova("test/loss").frame["effect"].to_list()
    assert study.variance("test/loss").frame["source"].to_list() == ["seed"]
    assert study.leave_one_out("test/loss").frame.height == 2
    assert study.leave_one_out("test/loss", pairs=True).frame["n"].to_list() == [3]
    tuned = study.tuned("test/loss", over=["SetOptimizer.lr"], by="validation/loss")
    assert tuned.frame["trials"].to_list() == [2, 2]
    assert study.aggregate("test/loss", task="SetOptimizer.lr").frame["tasks"].to_list() == [2, 2]


def test_best_over_time_is_chosen_by_validation(study: Experiment) -> None:
    table = study.compare("test/loss", best_by="validation/loss")
    assert table.notes[-1] == "Each learner counts at the step where its validation/loss was best."
    with pytest.raises(AnalysisError, match="cannot choose"):
        study.compare("test/loss", best_by="test/accuracy")


@pytest.mark.parametrize(
    "kind", ["curves", "effects", "slice", "interaction", "importance", "variance", "parallel", "ridge"]
)
def test_every_figure_in_one_call(study: Experiment, kind: str) -> None:
    assert isinstance(study.plot("test/loss", kind, width="column"), Figure)


def test_pairs_and_profiles_are_drawn(study: Experiment) -> None:
    assert study.plot("apart", "pairs").table["pairs"].sum() == study.pairs().height
    assert study.plot("test/loss", "profile", task="SetOptimizer.lr").table["threshold"].n_unique() == 101


def test_options_reach_the_table_and_the_figure(study: Experiment) -> None:
    labels = {"PerturbWeights.epsilon": "ε"}
    figure = study.plot("test/loss", "effects", margin=0.5, labels=labels)
    assert "±0.5" in figure.caption
    assert "ε" in [text.get_text() for axes in figure.figure.axes for text in axes.texts]


def test_an_unknown_kind_or_metric_is_named(study: Experiment) -> None:
    with pytest.raises(AnalysisError, match="did you mean 'slice'"):
        study.plot("test/loss", "slices")
    with pytest.raises(AnalysisError, match=r"'test/los' was not recorded .* did you mean 'test/loss'"):
        study.compare("test/los")


def test_the_default_figures_are_those_that_the_design_allows(study: Experiment, folder: Path) -> None:
    names = [figure.name for figure in study.evidence().figures()]
    assert len(names) == len(set(names))
    assert {"curves-test-loss", "effects-test-accuracy", "importance", "variance"} <= set(names)
    plain = experiment(folder)
    assert list(plain.evidence().figures()) == []
    run(plain)
    assert all(figure.name.startswith("curves") for figure in plain.evidence().figures())


def test_a_leave_one_out_design_is_read_as_one(folder: Path) -> None:
    parts = leave_one_out(SetOptimizer(lr=0.3), PerturbWeights(epsilon=0.5, step=2, seed=1))
    exp = experiment(folder, [SEEDS, parts])
    run(exp)
    table = exp.leave_one_out("test/loss")
    assert set(table.frame["change"]) == {"without SetOptimizer", "without PerturbWeights"}
    assert (table.frame["n"] == 3).all()


def test_learners_of_unlike_environments_are_told(study: Experiment) -> None:
    plan, records = study._session.plan()
    assert len(set(environments(plan, records))) == 1
    other = {
        key: replace(record, environment=dict(record.environment) | {"torch": "1.0"})
        for key, record in list(records.items())[: len(records) // 2]
    }
    found = environments(plan, {**records, **other})
    assert any("torch 1.0" in text for text in found)
    assert all("numpy" not in text for text in found), "only what differs is named"


def test_results_are_not_widened(study: Experiment) -> None:
    assert "environment" not in study.results().columns
    assert study.results().height == study.frame().select(pl.col("learner").n_unique()).item() == len(study)

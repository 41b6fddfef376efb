"""Searches, planned and run."""

from __future__ import annotations

import os
import re
import runpy
import time
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.samplers import RandomSampler, TPESampler
from search_cases import ARMS, LOSS, LR, LRS, SEEDS, experiment, searched, values
from torch import nn

from paribus import Categorical, Experiment, Float, Int, Logger, Median, Search
from paribus.engine.running.executors import Executor, Serial
from paribus.engine.running.run import execute
from paribus.engine.search.asking import Asker, distribution_of
from paribus.errors import AnalysisError, ConfigurationError, LevelError
from paribus.interventions import InitWeights, PerturbWeights, SetHyperparameter, SetOptimizer
from paribus.loggers import Every
from paribus.store import Retention, Store, gc


def ran(exp: Experiment, executor: str | Executor = "serial", **options: Any) -> Experiment:
    exp.run(executor, progress=False, **options)
    return exp


# --- trials that are known when the experiment is planned


def test_every_cell_gets_the_same_points_and_its_defaults_first(folder: Path) -> None:
    exp = searched(folder, [SEEDS, ARMS], trials=4)
    trials = exp.trials()
    sgd, adam = trials.partition_by("study", maintain_order=True)
    assert len(exp) == 4 * 2 * 2
    assert (sgd[LR][0], adam[LR][0], adam["SetOptimizer.eps"][0]) == (0.01, 0.001, 1e-8)
    # Adam's range is the lower three quarters of SGD's on the same logarithmic axis.
    expected = (sgd[LR][1:].log(10) + 4) * 3 / 4 - 4
    assert adam[LR][1:].log(10).to_list() == pytest.approx(expected.to_list())
    assert sgd["SetOptimizer.eps"].null_count() == 4


def test_a_trial_is_the_mean_over_its_seeds(folder: Path) -> None:
    exp = ran(searched(folder, [SEEDS, LRS], trials=2))
    results, trials = exp.results(), exp.trials()
    assert trials["learners"].to_list() == [[0, 1], [2, 3]]
    for learners, mean in zip(trials["learners"], trials[LOSS], strict=True):
        assert results[LOSS].gather(learners).mean() == pytest.approx(mean)
    assert exp.best()["trial"].item() == trials[LOSS].arg_min()


def test_more_trials_train_only_what_is_new(folder: Path) -> None:
    ran(searched(folder, trials=2))
    assert searched(folder, trials=3).plan().cached == 2
    assert ran(searched(folder, trials=2)).run(progress=False).steps_trained == 0


def test_dimensions_stand_beside_levels_and_in_any_intervention(folder: Path) -> None:
    design = [
        SetHyperparameter(batch_size=Int(8, 32, step=8)),
        PerturbWeights.make_variations(epsilon=(0.0, Float(0.01, 0.1)), step=1),
    ]
    exp = searched(folder, design, trials=3)
    trials = exp.trials()
    assert trials["SetHyperparameter.batch_size"].to_list()[:2] == [16, 16]  # the base's, in both cells
    epsilons = trials.filter(trials["study"] == 1)["PerturbWeights.epsilon"]
    assert all(0.01 <= epsilon <= 0.1 for epsilon in epsilons)
    assert trials.filter(trials["study"] == 0)["PerturbWeights.epsilon"].null_count() == 3


def test_cells_without_a_dimension_are_ordinary_learners(folder: Path) -> None:
    design = SetOptimizer.make_variations(momentum=0.0, control=True) + LRS
    exp = searched(folder, [SEEDS, design], trials=2)
    assert len(exp) == 2 + 2 * 2
    assert exp.plan().controls == 2
    assert exp.results().columns.count("adaptive") == 0


def test_callable_levels_read_what_was_suggested(folder: Path) -> None:
    design = [LRS, SetHyperparameter.make_variations(lr=lambda lr: (lr, lr / 2))]
    exp = searched(folder, design, trials=3)
    rates = {cell.configuration.optimizer["lr"] for cell in exp.cells}
    assert rates == {rate / half for rate in values(exp) for half in (1, 2)}


def test_a_grid_has_every_point(folder: Path) -> None:
    design = SetOptimizer(lr=Float(0.1, 0.3, step=0.1), nesterov=Categorical([True, False]))
    exp = experiment(folder, design, Search(LOSS, "minimize", sampler="grid"))
    assert len(exp) == 6
    assert values(exp) == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]


def test_a_joint_study_chooses_the_cell(folder: Path) -> None:
    exp = searched(folder, [SEEDS, ARMS], trials=8, per="joint", sampler="random")
    trials = exp.trials()
    assert trials["study"].n_unique() == 1
    assert trials["cell"].n_unique() == 2
    assert len(exp) == 8 * 2


# --- adaptive samplers


def test_trial_n_is_asked_after_the_trials_up_to_n_minus_lag(folder: Path) -> None:
    """The same as a loop over Optuna that is written by hand."""
    exp = ran(
        searched(folder, [SEEDS, LRS], trials=8, sampler=partial(TPESampler, n_startup_trials=2), lag=3)
    )
    losses = exp.trials()[LOSS].to_list()
    study = optuna.create_study(sampler=TPESampler(seed=0, n_startup_trials=2))
    study.enqueue_trial({LR: 0.01})
    trials: list[optuna.Trial] = []
    for number in range(8):
        if number >= 3:
            study.tell(trials[number - 3], losses[number - 3])
        trials.append(study.ask({LR: distribution_of(Float(1e-4, 1.0, log=True))}))
    assert values(exp) == [trial.params[LR] for trial in trials]


class CountsConnections(Executor):
    """Serial."""

    connections = 0

    def connect(self, work: Any, journal: Any, tell: Any) -> Any:
        self.connections += 1
        return Serial().connect(work, journal, tell)


def test_a_rerun_asks_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = searched(folder, trials=6, sampler="tpe", lag=2)
    with pytest.raises(ConfigurationError, match=r"search has asked for no trial yet; call run\(\) first"):
        first.audit()
    counted = CountsConnections()
    ran(first, counted)
    assert counted.connections == 1, "agents are there for all rounds of a run"

    def refuse(*_: object) -> None:
        raise AssertionError("a sampler was asked")

    monkeypatch.setattr(Asker, "suggest", refuse)
    again = searched(folder, trials=6, sampler="tpe", lag=2)
    assert again.plan().cached == 6
    summary = again.run(counted, progress=False)
    assert (summary.steps_trained, summary.notes, counted.connections) == (0, (), 1)
    assert again.frame().equals(first.frame())


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "nsga2", "gp"])
def test_a_search_that_was_cut_off_goes_on_as_if_it_had_not_been(
    folder: Path, tmp_path: Path, sampler: str
) -> None:
    options: dict[str, Any] = {"sampler": sampler, "lag": 2}
    whole = ran(searched(tmp_path / "whole", trials=7, **options))
    for trials in (3, 4, 7):
        ran(searched(folder, trials=trials, **options))
    assert values(searched(folder, trials=7, **options)) == values(whole)


def test_executors_and_workers_suggest_the_same(folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"trials": 4, "sampler": "tpe", "lag": 3}
    serial = ran(searched(folder, [SEEDS, LRS], **options))
    other = ran(searched(tmp_path / "local", [SEEDS, LRS], **options), "local", workers=2)
    assert other.frame().equals(serial.frame())
    keys = [cell.configuration.key() for cell in serial.cells]
    one, two = (exp.store.records(keys) for exp in (serial, other))
    assert [one[key].references["state"] for key in keys] == [two[key].references["state"] for key in keys]


def test_a_search_killed_in_a_round_goes_on_with_the_same_suggestions(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"trials": 6, "sampler": "tpe", "lag": 2}
    whole = ran(searched(tmp_path / "whole", [SEEDS, LRS], **options))
    rounds = iter([None, None, "killed"])

    def cut_off(tasks: Any, *rest: Any, **named: Any) -> Any:
        if next(rounds):
            execute(tasks[:1], *rest, **named)  # of two trials with two seeds each, one learner
            raise KeyboardInterrupt
        return execute(tasks, *rest, **named)

    with monkeypatch.context() as patched:
        patched.setattr("paribus.experiment.execute", cut_off)
        with pytest.raises(KeyboardInterrupt):
            ran(searched(folder, [SEEDS, LRS], **options))
    again = searched(folder, [SEEDS, LRS], **options)
    assert again.plan().cached == 2 * 2 * 2 + 1
    assert ran(again).frame().equals(whole.frame())


FAILS_IN = "PARIBUS_TEST_FAILS_IN"


def failing_once(model: nn.Module, batch: Any) -> torch.Tensor:
    """Cross-entropy; what is counted down raises."""
    left = int(os.environ.get(FAILS_IN, "0")) - model.training
    os.environ[FAILS_IN] = str(left)
    if left == 0 and model.training:
        raise RuntimeError("once")
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def test_a_failure_that_heals_leaves_the_search_that_never_failed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was suggested after the failure is not told any more; what is asked for instead is kept."""
    options: dict[str, Any] = {"trials": 4, "sampler": "tpe", "lag": 1, "objective": failing_once}
    whole = ran(searched(tmp_path / "whole", **options))
    monkeypatch.setenv(FAILS_IN, "8")
    failed = searched(folder, **options)
    assert len(failed.run(progress=False).failed) == 1
    assert values(ran(searched(folder, **options))) == values(whole)
    assert searched(folder, **options).plan().cached == 4


def test_another_optuna_does_not_matter_for_what_is_known(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = values(ran(searched(folder, trials=4, sampler="tpe", lag=1)))
    monkeypatch.setattr(TPESampler, "sample_relative", RandomSampler.sample_relative)
    monkeypatch.setattr(TPESampler, "sample_independent", lambda self, *_: self._rng.rng.uniform(1e-4, 1.0))
    after = values(ran(searched(folder, trials=6, sampler="tpe", lag=1)))
    assert after[:4] == before


def test_learners_of_an_adaptive_sampler_are_marked_and_effects_refused(folder: Path) -> None:
    exp = ran(searched(folder, [SEEDS, LRS], trials=3, sampler="tpe"))
    assert exp.frame()["adaptive"].all()
    with pytest.raises(AnalysisError, match="adaptive sampler"):
        exp.compare(LOSS)
    assert any("biased" in note for note in exp.compare(LOSS, allow_adaptive=True).notes)


def test_a_plan_says_how_many_trials_are_open(folder: Path) -> None:
    exp = searched(folder, trials=6, sampler="tpe", lag=2)
    assert "6 of 6 trials of the search were not asked for yet" in str(exp.plan())
    ran(exp)
    assert "asked" not in str(exp.plan()).splitlines()[-1].replace("steps asked", "")


def test_after_the_timeout_no_trial_is_asked_for(folder: Path) -> None:
    exp = searched(folder, trials=6, sampler="tpe", lag=2, timeout=1e-9)
    assert "its 1e-09 s were over" in str(exp.run(progress=False))
    assert len(exp.trials()) == 0


def test_a_planted_optimum_is_found(folder: Path) -> None:
    exp = ran(searched(folder, trials=14, sampler="tpe", lag=1, steps=2))
    losses = exp.trials()[LOSS]
    assert losses[7:].min() <= losses[:7].min()
    assert exp.best()[LR].item() > 0.05  # on these points anything less has not come far in two steps


def test_several_metrics_make_a_front(folder: Path) -> None:
    search = Search((LOSS, "test/accuracy"), ("minimize", "maximize"), 6, sampler="nsga2")
    exp = ran(experiment(folder, LRS, search))
    front = exp.front()
    assert 1 <= front.height <= 6
    best = exp.trials().sort(LOSS)[0]
    assert best["trial"].item() in front["trial"]
    with pytest.raises(AnalysisError, match=re.escape("exp.front()")):
        exp.best()
    after_the_fact = exp.front(**{"train/loss": "minimize"})
    assert after_the_fact.height == 1


def test_a_diverged_trial_is_told_as_bad(folder: Path) -> None:
    design = SetOptimizer(lr=Categorical([0.01, 1e30]))
    exp = ran(searched(folder, design, trials=4, sampler="tpe", lag=1))
    assert {"done", "diverged"} >= set(exp.trials()["status"]) >= {"done"}
    assert exp.best()[LR].item() == 0.01


# --- Optuna's own tools


def test_the_study_opens_in_optuna(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    exp = ran(searched(folder, [SEEDS, ARMS], trials=4, sampler="tpe"))
    study = exp.study(0)
    assert [trial.params[LR] for trial in study.trials] == values(exp)[::2]
    assert study.best_value == exp.best()[LOSS][0]
    assert sorted(study.trials[0].intermediate_values) == [0, 1, 2, 3]
    for draw in ("plot_optimization_history", "plot_slice", "plot_intermediate_values"):
        assert getattr(optuna.visualization, draw)(study).data
    name = exp.study(1).study_name
    assert "Adam" in name


def test_the_dashboard_reads_what_is_stored(folder: Path, tmp_path: Path) -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    exp, storage = ran(searched(folder, trials=3)), tmp_path / "optuna.db"
    exp.study(storage=storage)
    exp.study(storage=storage)  # again: it is replaced
    stored = optuna.storages.RDBStorage(f"sqlite:///{storage}")
    (summary,) = optuna.get_all_study_summaries(stored)
    assert (summary.study_name, summary.n_trials) == ("search", 3)
    assert dashboard.wsgi(stored) is not None
    stored.remove_session()
    stored.engine.dispose()


def test_another_study_of_that_name_stays(folder: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    optuna.create_study(study_name="search", storage=url)
    with pytest.raises(ConfigurationError, match="another study 'search'"):
        ran(searched(folder, trials=1)).study(storage=url)


# --- bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metric": "test/los"}, "no logger records 'test/los'.*did you mean 'test/loss'"),
        ({"direction": None}, "the direction of 'test/loss' is missing"),
        ({"direction": "lower"}, "expected 'minimize' or 'maximize'"),
        ({"direction": ("minimize", "maximize")}, "1 metrics and 2 directions"),
        ({"trials": 0}, "trials=0"),
        ({"trials": None}, "trials=None"),
        ({"lag": 0}, "lag=0"),
        ({"per": "arm"}, "'cell' or 'joint'"),
        ({"sampler": "sobl"}, "did you mean 'sobol'"),
        ({"sampler": 3}, "expected a name such as 'tpe'"),
        ({"sampler": TPESampler()}, "has no seed"),
        ({"sampler": "grid"}, "give it a step"),
        ({"timeout": 60}, "all trials before the run"),
        ({"pruner": "median"}, "expected one such as Median"),
        ({"metric": (LOSS, "t/l"), "direction": ("minimize",) * 2, "pruner": Median()}, "one metric"),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_a_sentence(
    folder: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        experiment(folder, LRS, Search(**({"metric": LOSS, "direction": "minimize", "trials": 2} | options)))
    assert not folder.exists()


@pytest.mark.parametrize(
    ("level", "words"),
    [
        (SetOptimizer(lr=Float(-1.0, 1.0)), "Invalid learning rate: -1.0"),
        (SetOptimizer(torch.optim.Adam, betas=Categorical([(0.9, 0.99), (1.5, 0.9)])), "index 0: 1.5"),
        (PerturbWeights(epsilon=0.1, layers=Categorical(["*", "nix"])), "'nix' matches no"),
        (PerturbWeights(epsilon=0.1, step=Int(-1, 3)), "step=-1 is no whole number"),
    ],
)
def test_a_range_whose_end_is_refused_is_so_before_anything_is_trained(
    folder: Path, level: Any, words: str
) -> None:
    with pytest.raises(LevelError, match=words):
        ran(searched(folder, level, sampler="tpe", trials=2))
    assert not any(record.kind == "segment" for record in Store.open(folder).scan())


def test_a_dimension_needs_a_search_and_a_search_a_dimension(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="no search="):
        experiment(folder, LRS)
    with pytest.raises(ConfigurationError, match="without a search dimension"):
        searched(folder, SEEDS)
    assert not folder.exists()
    with pytest.raises(ConfigurationError, match="there is no search"):
        experiment(folder, InitWeights(seed=1)).trials()


def test_a_metric_that_is_not_there_at_the_end_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="not recorded at the last step, 3"):
        searched(folder, logger=Logger(Every(2)))


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paribus.engine.search.search.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=re.escape("pip install 'paribus[search]'")):
        Search(LOSS, "minimize", 2, sampler="tpe")
    assert not Search(LOSS, "minimize", 2).is_adaptive  # Sobol needs none


def test_samplers_may_be_given_as_instances(folder: Path) -> None:
    given = TPESampler(seed=5, n_startup_trials=2)
    one = values(ran(searched(folder, trials=4, sampler=given)))
    assert values(searched(folder, trials=4, sampler=TPESampler(seed=5, n_startup_trials=2))) == one
    assert len(searched(folder, trials=4, sampler=TPESampler(seed=6, n_startup_trials=2)).trials()) == 0


# --- beside the rest


def test_the_users_own_training_is_searched_by_what_it_reports(folder: Path) -> None:
    exp = ran(searched(folder, metric="distance", trials=4, train=one_step, sampler="tpe", lag=1))
    rates = values(exp)
    assert exp.trials()["distance"].to_list() == pytest.approx([abs(rate - 0.3) for rate in rates])


def one_step(learner: Any) -> None:
    """Report how far the learning rate is from the best one."""
    learner.report(3, distance=abs(learner.settings["lr"] - 0.3))


def test_suggestions_of_a_search_in_use_outlive_gc(folder: Path) -> None:
    exp = ran(searched(folder, trials=2, sampler="tpe"))
    used = {record.kind for record in exp.store.scan()}
    assert used == {"segment", "suggestion"}
    ran(exp)
    now = time.time()
    gone = gc(exp.store, Retention(unused_for=60.0, grace=0.0), now=now + 30).records
    assert gone == ()


@pytest.mark.parametrize("text", ["docs/search.md", "examples/search.py"])
def test_what_is_shown_runs(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = (Path(__file__).parents[2] / text).read_text(encoding="utf-8")
    if text.endswith("md"):
        shown = "\n".join(re.findall(r"^```python\n(.*?)^```", shown, re.MULTILINE | re.DOTALL))
        shown = shown.replace("steps=300", "steps=4").replace("Every(50)", "Every(1)")
    (tmp_path / "shown.py").write_text(shown, encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["search.py", "--trials=2", "--steps=2"])
    names = runpy.run_path(str(tmp_path / "shown.py"))
    assert set(names["exp"].trials()["status"]) == {"done"}

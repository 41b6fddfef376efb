"""Metrics of two learners: who is paired with whom, at which steps, and what is computed."""

from __future__ import annotations

import os
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trajectory_cases import TALLY, forked_driver

from learning_cases import QUIET, Stochastic, experiment, run, states
from paribus import Experiment, Logger, register_metric
from paribus.engine.running import pairs
from paribus.errors import MetricError
from paribus.interventions import InitWeights, PerturbMomentum, PerturbWeights, SetOptimizer
from paribus.loggers import Every, On, barrier, disagreement, distance, log_spaced
from paribus.store import verify


class Distance(Logger):
    def __init__(self, **options: Any) -> None:
        super().__init__(defaults=False, **options)

    @register_metric(on="end", pair="control")
    def apart(self, learner: Any, other: Any) -> float:
        return distance(learner, other)


def logger_of(pair: str, **due: Any) -> Logger:
    class Siblings(Logger):
        @register_metric(pair=pair, **(due or {"on": "end"}))
        def apart(self, learner: Any, other: Any) -> float:
            return distance(learner, other)

    return Siblings(defaults=False)


def paired(exp: Experiment) -> list[tuple[int, int]]:
    return sorted({(pair.learner, pair.other) for pair in exp._session.pairs})


CONTROL = PerturbMomentum.make_variations(momentum=0.9, when=(0, 3), control=True)
MOMENTA = PerturbMomentum.make_variations(momentum=(0.5, 0.0), when=(0, 3))
SEEDS = InitWeights.make_variations(seed=range(2))


def levels(exp: Experiment, index: int) -> dict[str, object]:
    return exp[index].levels


# --- who is paired with whom --------------------------------------------------------------------------------


def test_each_treatment_is_paired_with_the_control_of_its_seed(folder: Path) -> None:
    exp = experiment(folder, [SEEDS, CONTROL, MOMENTA], logger=Distance())
    assert len(paired(exp)) == 4
    for learner, other in paired(exp):
        assert exp[other].cell.control
        assert not exp[learner].cell.control
        assert levels(exp, learner)["InitWeights.seed"] == levels(exp, other)["InitWeights.seed"]


def test_with_two_treatments_the_control_has_both_at_control(folder: Path) -> None:
    noise = PerturbWeights.make_variations(epsilon=(0.1, 0.2), step=1)
    still = PerturbWeights.make_variations(epsilon=0.0, step=1, control=True)
    exp = experiment(folder, [SEEDS, CONTROL, MOMENTA, still, noise], logger=Distance())
    assert len(exp) == 2 * 3 * 3
    assert len(paired(exp)) == 2 * (3 * 3 - 1)
    for learner, other in paired(exp):
        assert levels(exp, other)["PerturbMomentum.momentum"] == 0.9
        assert levels(exp, other)["PerturbWeights.epsilon"] == 0.0
        assert levels(exp, learner)["InitWeights.seed"] == levels(exp, other)["InitWeights.seed"]


def test_a_factor_without_a_control_is_held_equal(folder: Path) -> None:
    rates = SetOptimizer.make_variations(lr=(0.01, 0.1))
    exp = experiment(folder, [rates, CONTROL, MOMENTA], logger=Distance())
    assert len(paired(exp)) == 2 * 2
    assert all(levels(exp, a)["SetOptimizer.lr"] == levels(exp, b)["SetOptimizer.lr"] for a, b in paired(exp))


def test_one_control_without_a_seed_of_its_own_serves_all_seeds_of_the_treatment(folder: Path) -> None:
    noise = PerturbWeights.make_variations(epsilon=0.1, seed=range(3))
    still = PerturbWeights.make_variations(epsilon=0.0, control=True)
    exp = experiment(folder, [still, noise], logger=Distance())
    (control,) = [learner.index for learner in exp if learner.cell.control]
    assert paired(exp) == [(learner.index, control) for learner in exp if learner.index != control]


def test_siblings_differ_in_one_factor_and_each_two_are_paired_once(folder: Path) -> None:
    exp = experiment(folder, [SEEDS, CONTROL, MOMENTA], logger=logger_of("InitWeights"))
    assert len(paired(exp)) == 3
    for one, other in paired(exp):
        assert levels(exp, one)["InitWeights.seed"] != levels(exp, other)["InitWeights.seed"]
        momenta = {levels(exp, each)["PerturbMomentum.momentum"] for each in (one, other)}
        assert len(momenta) == 1


@pytest.mark.parametrize(
    ("pair", "design", "told"),
    [
        (
            "control",
            [SEEDS, MOMENTA],
            "no factor of the grid has a control; mark one level",
        ),
        ("InitWeight", [SEEDS], r"'InitWeight' is no factor of the grid .*did you mean 'InitWeights'\?"),
        ("Control", [SEEDS], r"did you mean 'control'\?"),
        ("SetOptimizer", [SEEDS], "is no factor of the grid"),
    ],
)
def test_a_pair_that_the_grid_does_not_have_is_refused_as_it_is_written(
    pair: str, design: Any, told: str, folder: Path
) -> None:
    with pytest.raises(MetricError, match=told):
        experiment(folder, design, logger=logger_of(pair))


# --- when -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("due", "steps"),
    [
        ({"at": [0, 2, 99]}, [0, 2]),
        ({"every": 2}, [0, 2, 4, 6]),
        ({"on": "epoch"}, [3, 6]),
        ({"on": "intervention"}, [3]),
        ({"schedule": log_spaced(3) | On("start")}, [0, 1, 2, 6]),
        ({"schedule": Every(3)}, [0, 3, 6]),
    ],
    ids=str,
)
def test_it_is_due_at_the_steps_of_its_schedule(due: Any, steps: list[int], folder: Path) -> None:
    exp = experiment(folder, [CONTROL, MOMENTA], logger=logger_of("control", **due))
    assert sorted({pair.step for pair in exp._session.pairs}) == steps


# --- what -----------------------------------------------------------------------------------


class All(Logger):
    @register_metric(at=[0, 2, 6], pair="control")
    def versus(self, learner: Any, other: Any) -> dict[str, Any]:
        return {
            "distance": distance(learner, other),
            "relative": distance(learner, other, relative=True),
            "disagreement": disagreement(learner, other, "train"),
            "barrier": barrier(learner, other, "train", points=3),
            "steps": [learner.step, other.step],
        }


def test_the_values_are_those_of_a_computation_by_hand(folder: Path) -> None:
    exp = experiment(folder, [CONTROL, MOMENTA], logger=All(), loss="cross_entropy")
    assert "5 × a metric of two learners, computed from their states, 4 of which are replayed" in str(
        exp.plan()
    )
    summary = run(exp)
    assert summary.pairs == 1 + 2 * 2, "at step 0 both learners are one"
    assert summary.replayed == 4, "step 2 of three learners, and the weights that they all start from"
    inputs, targets = exp.work.splits["train"].contents
    for learner in exp:
        if learner.cell.control:
            assert "versus/distance" not in learner.frame().columns
            continue
        for row in learner.frame().iter_rows(named=True):
            if row["versus/distance"] is None:
                continue
            one = learner.checkpoint(row["step"]).model.eval()
            other = exp[0].checkpoint(row["step"]).model.eval()
            mine, theirs = (torch.nn.utils.parameters_to_vector(m.parameters()) for m in (one, other))
            apart = torch.linalg.vector_norm(mine.double() - theirs.double()).item()
            assert row["versus/distance"] == pytest.approx(apart, rel=1e-12)
            assert row["versus/relative"] == pytest.approx(apart / theirs.double().norm().item(), rel=1e-12)
            with torch.no_grad():
                outputs = one(inputs), other(inputs)
                differ = (outputs[0].argmax(1) != outputs[1].argmax(1)).double().mean().item()
                ends = [torch.nn.functional.cross_entropy(each, targets).item() for each in outputs]
                torch.nn.utils.vector_to_parameters((mine + theirs) / 2, one.parameters())
                middle = torch.nn.functional.cross_entropy(one(inputs), targets).item()
            assert row["versus/disagreement"] == differ
            assert row["versus/barrier"] == pytest.approx(max(0.0, middle - sum(ends) / 2), abs=1e-6)
            assert row["versus/steps"] == [row["step"]] * 2
    start = exp[1].frame().row(0, named=True)
    assert (start["step"], start["versus/distance"], start["versus/barrier"]) == (0, 0.0, 0.0), "one past"


def test_the_second_run_computes_nothing_and_trajectories_are_untouched(folder: Path) -> None:
    run(experiment(folder, [CONTROL, MOMENTA]))
    exp = experiment(folder, [CONTROL, MOMENTA], logger=All())
    assert exp.plan().pairs == 5
    kept = states(exp)
    first = run(exp)
    assert (first.pairs, first.steps_trained) == (5, 0)
    second = run(experiment(folder, [CONTROL, MOMENTA], logger=All()))
    assert (second.pairs, second.replayed, second.steps_trained) == (0, 0, 0)
    assert exp.plan().pairs == 0
    assert states(exp) == kept
    assert verify(exp.store).sound


def test_values_of_siblings_are_a_frame_of_their_own(folder: Path) -> None:
    exp = experiment(folder, [SEEDS, CONTROL, MOMENTA], logger=logger_of("InitWeights"))
    run(exp)
    frame = exp.pairs()
    assert list(zip(frame["learner"], frame["other"], strict=True)) == paired(exp)
    assert frame["name"].unique().to_list() == ["apart"]
    assert all(value > 0 for value in frame["value"])
    assert "apart" not in exp.frame().columns


def test_a_longer_run_computes_only_what_it_adds(folder: Path) -> None:
    for steps, computed in ((4, 1 + 2 * 2), (8, 2 * 2), (6, 0)):
        exp = experiment(folder, [CONTROL, MOMENTA], logger=logger_of("control", every=2), steps=steps)
        assert run(exp).pairs == computed


def test_a_partner_that_diverged_is_counted_and_stops_nobody(folder: Path) -> None:
    wild = PerturbMomentum.make_variations(momentum=1e38, when=(0, None))
    exp = experiment(folder, [CONTROL, MOMENTA, wild], logger=logger_of("control", at=[0, 9]), steps=9)
    summary = run(exp)
    assert (summary.diverged, summary.failed) == (1, ())
    assert summary.pairs == 1 + 2, "the one that all are at step 0, and those who live to step 9"
    again = run(exp)
    assert (again.pairs, again.replayed, exp.plan().pairs) == (0, 0, 0), "it is not tried again"


def test_pairs_are_the_same_in_a_model_with_buffers_and_draws(tmp_path: Path) -> None:
    """Running means are interpolated, counts of batches are kept, dropout is off."""
    frames = []
    for name, late in (("at once", False), ("late", True)):
        if late:
            run(experiment(tmp_path / name, [CONTROL, MOMENTA], model=Stochastic(), logger=QUIET))
        exp = experiment(tmp_path / name, [CONTROL, MOMENTA], model=Stochastic(), logger=All())
        run(exp)
        frames.append(exp.frame())
    assert frames[0].equals(frames[1].select(frames[0].columns))


class Tallied(Logger):
    """Adds a byte to a file for each value that is computed."""

    @register_metric(every=2, pair="InitWeights")
    def apart(self, learner: Any, other: Any) -> float:
        with open(os.environ[TALLY], "ab", buffering=0) as tally:
            tally.write(b".")
        return distance(learner, other)


def paired_experiment(store: Path) -> Experiment:
    seeds = InitWeights.make_variations(seed=range(5))
    return experiment(store, seeds, logger=Tallied(defaults=False), checkpoints=Every(2))


def compare_together(store: Path, ready: Any, told: Any) -> None:
    exp = paired_experiment(store)
    compute = exp._compute_pairs

    def together(*arguments: Any) -> Any:
        ready.wait()
        return compute(*arguments)

    exp._compute_pairs = together  # type: ignore[method-assign]
    told.send(run(exp).pairs)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_drivers_compute_each_value_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TALLY, str(tmp_path / "tally"))
    run(experiment(tmp_path / "store", InitWeights.make_variations(seed=range(5)), checkpoints=Every(2)))
    ready, (here, there) = get_context("fork").Barrier(2), get_context("fork").Pipe(duplex=False)
    drivers = [forked_driver(compare_together, tmp_path / "store", ready, there) for _ in range(2)]
    computed = [here.recv() for _ in drivers]
    for driver in drivers:
        driver.join()
        assert driver.exitcode == 0
    values = 10 * 4  # pairs of five, at steps 0, 2, 4, 6
    assert sum(computed) == values == (tmp_path / "tally").stat().st_size
    exp = paired_experiment(tmp_path / "store")
    assert exp.plan().pairs == 0
    assert exp.store.claims.live() == {}
    assert verify(exp.store).sound


def test_a_value_that_another_driver_computes_is_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies in the end, and this one computes the value."""
    exp = experiment(folder, [CONTROL, MOMENTA], logger=Distance())
    (first, *_) = exp._session.pairs
    exp.store.claims.acquire(first.key, "elsewhere 1 abcd", 3600.0)
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(len(exp.pairs()))
        if len(waits) == 2:
            exp.store.claims.release(first.key, "elsewhere 1 abcd")

    monkeypatch.setattr(pairs, "time", SimpleNamespace(sleep=sleep))
    assert run(exp).pairs == 2
    assert waits == [1, 1], "what is free is computed first"


def test_learners_that_no_single_control_matches_are_told(folder: Path) -> None:
    noise = PerturbWeights.make_variations(epsilon=0.2, seed=range(3))
    less = PerturbWeights.make_variations(epsilon=0.1, seed=range(2), control=True)
    with pytest.warns(UserWarning, match="apart: 1 of 5 learners, as learner 4, get no value: .*seeds"):
        exp = experiment(folder, [less, noise], logger=Distance())
    assert paired(exp) == [(2, 0), (3, 1)]


def test_an_exception_in_a_pair_metric_is_told_and_tried_again(folder: Path) -> None:
    class Broken(Logger):
        @register_metric(pair="control", on="end")
        def broken(self, learner: Any, other: Any) -> float:
            raise KeyError("no such layer")

    exp = experiment(folder, [CONTROL, MOMENTA], logger=Broken(defaults=False))
    first, again = run(exp), run(exp)
    assert [index for index, _ in first.failed] == [1, 2]
    assert all("broken at step" in error and "no such layer" in error for _, error in first.failed)
    assert (again.steps_trained, again.failed) == (0, first.failed)

"""What every intervention promises, tried on each: placebo, windows, shared prefixes, equal bits anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from intervention_cases import CASES, WINDOW, Case, experiment

from learning_cases import run, states, trained, written
from paribus import Experiment
from paribus.engine.learners.resolver import Resolver
from paribus.interventions import InitWeights

NULLS = [null for case in CASES for null in case.nulls]


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    exp = experiment(tmp_path_factory.mktemp("control"), logger=None)
    run(exp)
    return exp


@pytest.mark.parametrize("null", NULLS, ids=written)
def test_placebo_is_executed_and_changes_no_bit(null: Any, control: Experiment) -> None:
    base = control[0].configuration
    resolver = Resolver()
    placebo = resolver.resolved(resolver.apply(base, null))  # not canonical: it stays and is executed
    assert placebo.timeline or null.when is None
    assert trained(control.work, placebo).to_bytes() == states(control)[0]


@pytest.mark.parametrize("null", NULLS, ids=written)
def test_placebo_is_the_control_itself(null: Any, control: Experiment, folder: Path) -> None:
    assert experiment(folder, null)[0].key == control[0].key


@pytest.mark.parametrize("case", CASES, ids=lambda case: written(case.effective))
def test_an_effect_begins_with_the_window_and_cuts_change_no_bit(
    case: Case, control: Experiment, folder: Path
) -> None:
    configuration = experiment(folder, case.effective)[0].configuration
    start, _ = WINDOW
    assert configuration.key(start) == control[0].configuration.key(start), "the trunk is the control's"
    assert configuration.key(start + 1) != control[0].configuration.key(start + 1)
    whole = trained(control.work, configuration).to_bytes()
    assert whole != states(control)[0]
    assert trained(control.work, configuration, [1, 2, 3, 4, 5, 6]).to_bytes() == whole


def test_the_same_bits_serial_local_and_resumed_and_the_trunk_is_trained_once(folder: Path) -> None:
    design = [sum((case.effective for case in CASES[1:]), start=CASES[0].effective)]
    serial, workers = experiment(folder / "serial", design), experiment(folder / "local", design)
    assert len(serial) == len(CASES)
    assert run(serial).steps_trained == 2 + 4 * len(CASES) + sum(case.extra for case in CASES)
    run(workers, "local", workers=2)
    assert states(workers) == states(serial)
    for steps in (1, 3, 6):
        resumed = experiment(folder / "resumed", design, steps=steps)
        run(resumed)
    assert states(resumed) == states(serial)
    assert run(experiment(folder / "serial", design)).steps_trained == 0


def test_all_of_them_compose_in_one_learner(folder: Path) -> None:
    design: Any = InitWeights(seed=1)
    for case in CASES:
        design = design * case.effective
    exp = experiment(folder, design)
    run(exp)
    assert exp[0].status == "done"
    assert trained(exp.work, exp[0].configuration, [1, 2, 3, 4, 5, 6]).to_bytes() == states(exp)[0]

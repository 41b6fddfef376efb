"""What every executor promises, whichever it is: one suite for all of them."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from joblib import Parallel, delayed
from torch import nn

from learning_cases import (
    DRIVER,
    Deadly,
    FailsFrom,
    Stochastic,
    experiment,
    forked,
    interruptible,
    run,
    states,
)
from paribus import Experiment, Logger, register_metric
from paribus.engine.running import scheduler
from paribus.engine.running.executors import local
from paribus.errors import ExecutionError, StoreError
from paribus.interventions import InitWeights
from paribus.store import Store, verify

TESTS = Path(__file__).parents[2]
# Ray leaves open what ends with the process; all its tests share the one that the first of them starts.
ON_RAY = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
# Where agents are other processes.
PROCESSES = ["local", "joblib", pytest.param("ray", marks=ON_RAY)]
# On Ray these start one of their own, or agents anew.
PROCESSES_OR_SLOWLY = ["local", "joblib", pytest.param("ray", marks=[*ON_RAY, pytest.mark.slow])]
# A run that ends with an error costs them all their processes.
SLOWLY = [pytest.param(name, marks=[*ON_RAY, pytest.mark.slow]) for name in ("joblib", "ray")]
# As in life, a home with its processes is there until this process ends.
HOMES: list[Any] = []
SEEDS = InitWeights.make_variations(seed=range(4))


@pytest.fixture(autouse=True)
def _driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DRIVER, str(os.getpid()))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    exp = experiment(tmp_path_factory.mktemp("serial") / "store", forked(), model=Stochastic())
    run(exp)
    return exp


@pytest.mark.parametrize("executor", PROCESSES)
@pytest.mark.parametrize("workers", [1, 2])
def test_the_bytes_are_those_of_a_serial_run(
    executor: str, workers: int, serial: Experiment, folder: Path
) -> None:
    """The second run is of warm agents, and of another experiment, with its objects at an address."""
    for name, objects in (("first", None), ("second", f"file://{folder}/objects")):
        exp = experiment(Store.open(folder / name, objects), forked(), model=Stochastic())
        run(exp, executor, workers=workers)
        assert states(exp) == states(serial)
        assert exp.frame().equals(serial.frame())
        assert verify(exp.store).sound


@pytest.mark.parametrize("executor", ["local", *SLOWLY])
def test_an_address_that_is_another_place_to_agents_is_told_before_anything_is_trained(
    executor: str, folder: Path
) -> None:
    exp = experiment(Store.open(folder, objects=f"memory://{folder.parent.name}"))
    with pytest.raises(StoreError, match="is not the same here as where the experiment is"):
        run(exp, executor, workers=1)
    assert not exp.store.records(learner.key for learner in exp)


class Tells(Logger):
    """Says who trains."""

    @register_metric(at=[0])
    def process(self, learner: Any) -> float:
        return float(os.getpid())


@pytest.mark.parametrize("executor", PROCESSES)
def test_agents_stay_warm_and_are_not_this_process(executor: str, folder: Path) -> None:
    found = []
    for number in range(2):
        exp = experiment(folder / str(number), SEEDS, logger=Tells(defaults=False))
        run(exp, executor, workers=1)
        found.append(set(exp.frame()["process"]))
    assert found[0] == found[1]
    assert os.getpid() not in found[0]


MODULE = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 3)

    def forward(self, inputs):
        return {factor} * self.body(inputs)
"""


@pytest.mark.parametrize("executor", PROCESSES_OR_SLOWLY)
def test_a_module_that_was_edited_and_loaded_again_is_not_trained_as_it_was(
    executor: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Warm agents have imported it before."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    source = tmp_path / f"edited_net_{executor}.py"
    source.write_text(MODULE.format(factor=1))
    net = importlib.import_module(source.stem)
    run(experiment(folder / "before", model=net.Net), executor, workers=1)
    source.write_text(MODULE.format(factor=-2))
    os.utime(source, (0, 0))
    net = importlib.reload(net)
    after, alone = (experiment(folder / name, model=net.Net) for name in ("after", "alone"))
    run(after, executor, workers=1)
    run(alone)
    assert states(after) == states(alone)


@pytest.mark.parametrize("executor", PROCESSES)
def test_a_failure_of_the_users_code_is_not_tried_again(executor: str, folder: Path) -> None:
    seeds = InitWeights.make_variations(seed=range(6))
    exp = experiment(folder, seeds, model=FailsFrom())
    summary = run(exp, executor, workers=2)
    assert 0 < len(summary.failed) < len(exp)
    assert all("this one cannot be trained" in error for _, error in summary.failed)
    assert summary.steps_trained == 6 * (len(exp) - len(summary.failed))


@pytest.mark.parametrize("executor", PROCESSES)
def test_an_agent_killed_with_9_costs_its_orders_in_flight(
    executor: str, folder: Path, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    killed = experiment(folder, SEEDS, model=Deadly(str(flag)))
    assert not run(killed, executor, workers=2).failed
    assert not flag.exists(), "nobody was killed"
    alone = experiment(tmp_path / "alone", SEEDS, model=Deadly(str(flag)))
    run(alone)
    assert states(killed) == states(alone)
    assert killed.store.claims.live() == {}


class DeadlyAlways(nn.Module):
    """Kills whichever process trains it, and is not the driver."""

    def __init__(self, driver: int) -> None:
        super().__init__()
        self.driver = driver
        self.body = Stochastic()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training and os.getpid() != self.driver:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.body(inputs)


@pytest.mark.parametrize(
    "executor",
    ["local", *(pytest.param(each, marks=[*ON_RAY, pytest.mark.slow]) for each in ("joblib", "ray"))],
)
def test_what_kills_every_agent_ends_the_run_and_is_named(
    executor: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "LOSSES", 1)
    exp = experiment(folder, model=DeadlyAlways(os.getpid()))
    with pytest.raises(ExecutionError, match=f"the segment {exp[0].key} was lost 2 times.*executor='serial'"):
        run(exp, executor, workers=1)
    assert exp.store.claims.live() == {}


class Unshippable(Logger):
    """A logger with something that cannot be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.tools = {"lock": __import__("threading").Lock()}


@pytest.mark.parametrize("executor", PROCESSES)
def test_what_cannot_be_sent_is_named_with_its_path(executor: str, folder: Path) -> None:
    exp = experiment(folder, logger=Unshippable())
    with pytest.raises(ExecutionError, match=r"logger.*lock.*cannot be sent"):
        run(exp, executor, workers=1)


SCRIPT = """
import sys
import torch
from paribus import Experiment, Logger, register_metric
from paribus.datasets import blobs
from paribus.interventions import InitWeights

class Net(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Linear(4, 3))

class Norms(Logger):
    @register_metric
    def norm(self, learner):
        return sum(scale * p.norm() for p in learner.model.parameters())

scale = 2.0
exp = Experiment(Net(), blobs(n=64, features=4), InitWeights.make_variations(seed=range(2)), steps=2,
                 logger=Norms(), store=sys.argv[1])
print(exp.run(sys.argv[2], workers=2, progress=False).steps_trained, exp.frame().height)
"""


@pytest.mark.parametrize("executor", PROCESSES_OR_SLOWLY)
def test_code_of_a_script_needs_no_main_guard(executor: str, folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(folder), executor]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.stderr) == ("4 4\n", "")


def test_the_users_own_use_of_joblib_goes_on_beside_runs(folder: Path) -> None:
    parallel = Parallel(n_jobs=2)
    before = parallel(delayed(abs)(number) for number in (-1, -2))
    assert not run(experiment(folder, SEEDS), "joblib", workers=2).failed
    assert parallel(delayed(abs)(number) for number in (-1, -2)) == before == [1, 2]


def test_processes_that_cannot_be_forked_do_the_same(
    serial: Experiment, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS and Windows: each agent is a new Python."""
    monkeypatch.setattr(local, "_FORKS", False)
    monkeypatch.setattr(local, "_homes", {})
    exp = experiment(folder, forked(), model=Stochastic())
    run(exp, "local", workers=1)
    assert states(exp) == states(serial)
    HOMES.extend(local._homes.values())


def test_ctrl_c_ends_a_run_and_gives_claims_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARIBUS_TEST_CALLS", "4")
    exp = experiment(folder, SEEDS, objective=interruptible)
    with pytest.raises(KeyboardInterrupt):
        run(exp)
    assert exp.store.claims.live() == {}

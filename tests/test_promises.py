"""The promises of the design, one to seven, each by its name."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from learning_cases import (
    CALLS,
    KILL,
    POINTS,
    QUIET,
    Deadly,
    Stochastic,
    counted,
    experiment,
    forked,
    interruptible,
    run,
    states,
    trained,
)
from paribus import Experiment, Logger, register_metric
from paribus.engine.learners.resolver import Resolver
from paribus.identity import derive_seed, generator
from paribus.interventions import (
    InitWeights,
    PerturbHyperparameter,
    PerturbMomentum,
    PerturbWeights,
    SetOptimizer,
)
from paribus.loggers import Every, On

stochastic = partial(experiment, model=Stochastic())


# --- 1. Placebo -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "null",
    [
        PerturbWeights(epsilon=0),
        PerturbWeights(epsilon=0, step=3),
        PerturbMomentum(momentum=0.9, when=(2, 4)),
        PerturbMomentum(momentum=0.9, when=(0, None)),
        PerturbMomentum(momentum=0.1, when=(3, 3)),
        PerturbHyperparameter(lr=0.01, when=(1, 5)),
        PerturbHyperparameter(),
    ],
    ids=str,
)
def test_placebo_is_executed_and_changes_no_bit(null: Any, folder: Path) -> None:
    exp = stochastic(folder)
    control = exp[0].configuration
    placebo = Resolver().apply(control, null)  # not canonical: the placebo stays and is executed
    assert placebo.timeline or null.when is None
    assert trained(exp.work, placebo).to_bytes() == trained(exp.work, control).to_bytes()


def test_placebo_is_the_control_itself(folder: Path) -> None:
    exp = experiment(
        folder,
        [
            PerturbWeights.make_variations(epsilon=(0, 0.0, -0.0), seed=range(3)),
            PerturbMomentum.make_variations(momentum=(0.9, 0.5), when=((0, 3), (2, 2))),
        ],
    )
    assert len(exp) == 2
    assert exp[0].key == experiment(folder)[0].key


def test_placebo_of_a_window_inside_another_is_no_placebo(folder: Path) -> None:
    """What equals the base is no null inside a window that differs from the base."""
    outer = PerturbMomentum(momentum=0.0, when=(0, 6))
    inner = PerturbMomentum(momentum=0.9, when=(2, 4))
    assert len(experiment(folder, outer * inner + outer)) == 2


# --- 2. Same bits ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    exp = stochastic(tmp_path_factory.mktemp("reference"), forked())
    assert not run(exp).failed
    return exp


def by_key(exp: Experiment) -> dict[str, bytes]:
    return dict(zip((learner.key for learner in exp), states(exp), strict=True))


def test_same_bits_when_a_worker_is_killed_and_in_all_workers(reference: Experiment, tmp_path: Path) -> None:
    """Also promise 7: a worker killed with -9 costs the segments in flight.

    Here by ``local``; joblib and Ray are held to the same in tests/engine/executors.
    """
    flag = tmp_path / "flag"
    flag.touch()
    killed = experiment(tmp_path / "killed", forked(), model=Deadly(str(flag)))
    summary = run(killed, "local", workers=2)
    assert not flag.exists(), "no worker was killed"
    assert not summary.failed
    alone = experiment(tmp_path / "alone", forked(), model=Deadly(str(flag)))
    run(alone)
    assert states(killed) == states(alone)

    parallel = stochastic(tmp_path / "parallel", forked())
    assert run(parallel, "local", workers=2).steps_trained == reference.plan().steps_distinct
    assert by_key(parallel) == by_key(reference)
    assert parallel.frame().equals(reference.frame())


def test_same_bits_in_any_order_of_learners(reference: Experiment, folder: Path) -> None:
    _, _, noise = forked()
    backwards = [
        noise,
        PerturbMomentum.make_variations(when=((4, 6), (0, 2)), momentum=(0.0, 0.5, 0.9)),
        InitWeights.make_variations(seed=(1, 0)),
    ]
    exp = stochastic(folder, backwards)
    run(exp)
    assert by_key(exp) == by_key(reference)


def test_same_bits_of_a_learner_alone_and_among_others(reference: Experiment, tmp_path: Path) -> None:
    for index in (0, 2, len(reference) - 1):
        levels = [level.intervention for level in reference[index].cell.levels]
        alone = stochastic(tmp_path / str(index), levels)
        run(alone)
        assert alone[0].key == reference[index].key
        assert states(alone)[0] == by_key(reference)[alone[0].key]


@given(cuts=st.sets(st.integers(1, 5)))
@settings(max_examples=32)
def test_same_bits_however_a_run_is_cut(reference: Experiment, cuts: set[int]) -> None:
    configuration = reference[0].configuration
    edges = sorted(cuts | set(configuration.edges()))
    assert trained(reference.work, configuration, edges).to_bytes() == states(reference)[0]


def test_same_bits_as_a_loop_written_by_hand(folder: Path) -> None:
    exp = stochastic(folder, epochs=3, seed=7)
    run(exp)

    model = Stochastic()
    for name, module in reversed(list(model.named_modules())):
        if hasattr(module, "reset_parameters"):
            torch.manual_seed(derive_seed(7, "init", name))
            module.reset_parameters()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    inputs, targets = POINTS["train"].tensors
    step = 0
    for epoch in range(3):
        order = torch.randperm(48, generator=generator(7, "order", epoch))
        for batch in order.split(16):
            torch.manual_seed(derive_seed(7, "forward", step))
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
            step += 1

    checkpoint = exp[0].checkpoint()
    assert checkpoint.step == step == 9
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, checkpoint.model.state_dict()[name]), name
    for mine, theirs in zip(model.parameters(), checkpoint.model.parameters(), strict=True):
        found = checkpoint.optimizer.state[theirs]["momentum_buffer"]
        assert torch.equal(optimizer.state[mine]["momentum_buffer"], found)


def test_same_bits_whatever_the_callers_generators_and_defaults_are(
    reference: Experiment, folder: Path
) -> None:
    torch.manual_seed(1234)
    torch.set_default_dtype(torch.float64)
    try:
        exp = stochastic(folder, forked())
        run(exp)
    finally:
        torch.set_default_dtype(torch.float32)
    assert by_key(exp) == by_key(reference)


# --- in processes of their own: 2, 6 and 7 -----------------------------------------------------------------

SCRIPT = """
import hashlib, sys
sys.path.insert(0, {tests!r})
from learning_cases import *
if __name__ == "__main__":
    for store in sys.argv[1:]:
        exp = experiment(store, forked(), objective=interruptible)
        trained = run(exp).steps_trained
        digests = [hashlib.sha256(state).hexdigest() for state in states(exp)]
        print(trained, *(learner.key for learner in exp), *digests)
"""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    exp = experiment(tmp_path_factory.mktemp("uninterrupted"), forked(), objective=interruptible)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CALLS, "0")
        assert not run(exp).failed
    return exp


@pytest.fixture(scope="module")
def elsewhere(uninterrupted: Experiment, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What another process, of another hash seed, says of a run of its own and of one that is cached."""
    home = tmp_path_factory.mktemp("elsewhere")
    script = home / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), str(home / "own"), str(uninterrupted.store.path)],
        env=os.environ | {"PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def test_same_bits_in_another_process_under_another_hash_seed(
    uninterrupted: Experiment, elsewhere: list[list[str]]
) -> None:
    steps, *told = elsewhere[0]
    assert int(steps) == uninterrupted.plan().steps_distinct
    keys = [learner.key for learner in uninterrupted]
    assert told == keys + [hashlib.sha256(state).hexdigest() for state in states(uninterrupted)]


def test_second_run_trains_nothing_in_another_process(elsewhere: list[list[str]]) -> None:
    own, cached = elsewhere
    assert cached == ["0", *own[1:]]


# --- 3. Prefix -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "optimizer",
    [
        partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True),
        partial(torch.optim.Adam, lr=0.01, amsgrad=True),
        partial(torch.optim.AdamW, lr=0.01),
        partial(torch.optim.RMSprop, lr=0.01, momentum=0.5, centered=True),
        partial(torch.optim.NAdam, lr=0.01),
        partial(torch.optim.ASGD, lr=0.01),
        partial(torch.optim.Rprop, lr=0.01),
        partial(torch.optim.Adagrad, lr=0.01, lr_decay=0.1),
        partial(torch.optim.Adadelta),
    ],
    ids=lambda partial: partial.func.__name__,
)
def test_prefix_extended_equals_uninterrupted(optimizer: Any, tmp_path: Path) -> None:
    short = stochastic(tmp_path / "extended", optimizer=optimizer, epochs=2)
    run(short)
    extended = stochastic(tmp_path / "extended", optimizer=optimizer, epochs=4)
    assert extended.plan().learners[0].decision == "resumable"
    assert run(extended).steps_trained == 6
    whole = stochastic(tmp_path / "whole", optimizer=optimizer, epochs=4)
    run(whole)
    assert states(extended) == states(whole)
    assert extended.frame().equals(whole.frame())


class Counting(torch.optim.SGD):
    """Keeps a state of its own in its groups, as schedule-free and parameter-free optimizers do."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["taken"] = group.get("taken", 0) + 1
            group["lr"] = 0.1 / group["taken"]
        return super().step(closure)


def test_prefix_of_an_optimizer_that_keeps_state_in_its_groups(tmp_path: Path) -> None:
    optimizer = partial(Counting, lr=0.1)
    run(stochastic(tmp_path / "extended", optimizer=optimizer, epochs=2))
    extended = stochastic(tmp_path / "extended", optimizer=optimizer, epochs=4)
    whole = stochastic(tmp_path / "whole", optimizer=optimizer, epochs=4)
    for exp in (extended, whole):
        run(exp)
    assert states(extended) == states(whole)


def test_prefix_a_shorter_run_reads_the_past(folder: Path) -> None:
    run(stochastic(folder, PerturbWeights(epsilon=0.1, step=3), epochs=2))
    shorter = stochastic(folder, epochs=1)
    assert run(shorter).steps_trained == 0
    assert shorter.results()["status"].to_list() == ["done"]


def test_prefix_of_a_schedule_that_reads_the_total_is_not_shared(folder: Path) -> None:
    from paribus.interventions import Cosine, StepDecay

    run(experiment(folder, schedule=Cosine(), steps=3))
    run(experiment(folder, schedule=StepDecay(every=2), steps=3))
    assert run(experiment(folder, schedule=Cosine(), steps=6)).steps_trained == 6
    assert run(experiment(folder, schedule=StepDecay(every=2), steps=6)).steps_trained == 3


windows = st.tuples(st.integers(0, 8), st.integers(0, 8)).map(lambda pair: tuple(sorted(pair)))
designs = st.fixed_dictionaries(
    {
        "windows": st.lists(windows, min_size=1, max_size=4),
        "momenta": st.lists(st.sampled_from([0.9, 0.5, 0.0]), min_size=1, max_size=3),
        "seeds": st.integers(1, 2),
        "kicks": st.lists(st.tuples(st.sampled_from([0.0, 0.1]), st.integers(0, 8)), max_size=2),
        "steps": st.integers(1, 8),
    }
)


def design_of(drawn: dict[str, Any]) -> list[Any]:
    kicks = [PerturbWeights(epsilon=size, step=step) for size, step in drawn["kicks"]]
    return [
        InitWeights.make_variations(seed=range(drawn["seeds"])),
        PerturbMomentum.make_variations(momentum=drawn["momenta"], when=drawn["windows"]),
        *kicks,
    ]


def distinct_steps(drawn: dict[str, Any]) -> int:
    """Count by brute force: a step is what is done in it and in all steps before it."""
    known = set()
    for seed in range(drawn["seeds"]):
        for window in drawn["windows"]:
            for momentum in drawn["momenta"]:
                for kick in drawn["kicks"] or [(0.0, 0)]:
                    past: tuple[Any, ...] = (seed,)
                    for step in range(drawn["steps"]):
                        inside = window[0] <= step < window[1]
                        kicked = kick[0] if kick[1] == step else 0.0
                        past = (*past, momentum if inside else 0.9, kicked)
                        known.add(past)
    return len(known)


@given(drawn=designs)
@settings(max_examples=150)
def test_prefix_planned_steps_are_the_distinct_steps(
    drawn: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    exp = experiment(tmp_path_factory.getbasetemp() / "planned", design_of(drawn), steps=drawn["steps"])
    plan = exp.plan()
    assert plan.steps_to_train == plan.steps_distinct == distinct_steps(drawn)


@given(drawn=designs)
@settings(max_examples=12)
def test_prefix_trained_steps_are_the_distinct_steps(
    drawn: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("trained")
    exp = experiment(
        folder, design_of(drawn), steps=drawn["steps"], objective=counted, logger=Logger(defaults=False)
    )
    os.environ[CALLS] = "0"
    summary = run(exp)
    assert summary.steps_trained == distinct_steps(drawn)
    assert int(os.environ[CALLS]) == summary.steps_trained + 1  # and the one that tries the loss
    assert exp.plan().steps_to_train == 0
    for learner, state in zip(exp, states(exp), strict=True):
        assert trained(exp.work, learner.configuration).to_bytes() == state


def test_prefix_the_issues_tree_has_its_distinct_steps(folder: Path) -> None:
    """3 momenta × 6 factors × 3 windows of 6,000 steps, counted step by step."""
    factors = (0.001, -0.001, 0.01, -0.01, 0.1, -0.1)
    spans = ((0, 100), (1000, 1100), (5000, 5100))
    exp = experiment(
        folder,
        [
            SetOptimizer.make_variations(momentum=(0.9, 0.99, 0.999)),
            PerturbMomentum.make_variations(momentum=lambda m: (m * (1 + e) for e in factors), when=spans),
        ],
        steps=6000,
    )
    # A trunk up to the last fork, and for each window six forks to the end.
    assert exp.plan().steps_distinct == 3 * (5000 + 6 * (6000 + 5000 + 1000))
    assert exp.plan().steps_asked == 54 * 6000


# --- 4. Observer -----------------------------------------------------------------------------------------


class Curious(Logger):
    """Looks at everything, draws numbers, and takes gradients."""

    @register_metric(every=1)
    def noise(self, learner: Any) -> float:
        return float(torch.rand(3).sum())

    @register_metric(every=1)
    def gradient(self, learner: Any) -> float:
        with torch.enable_grad():
            inputs, targets = next(learner.splits["train"].batches())
            nn.functional.cross_entropy(learner.model(inputs), targets).backward()
        return float(learner.model[0].weight.grad.norm())

    @register_metric(every=2)
    def restored(self, learner: Any) -> float:
        weight = learner.model[0].weight
        kept = weight.clone()
        weight.add_(1.0)
        loss = learner.predictions("test").loss
        weight.copy_(kept)
        return loss

    @register_metric(schedule=Every(1) | On("intervention"))
    def momentum(self, learner: Any) -> float:
        return learner.optimizer.param_groups[0]["momentum"]


def test_observer_changes_no_trajectory(reference: Experiment, tmp_path: Path) -> None:
    for logger in (QUIET, Curious()):
        exp = stochastic(tmp_path / type(logger).__name__, forked(), logger=logger)
        assert not run(exp).failed
        assert by_key(exp) == by_key(reference)


def test_observer_sees_the_same_whatever_the_tree_is(tmp_path: Path) -> None:
    """A metric that draws numbers gives the same ones alone, among others, and beside other metrics."""
    together = stochastic(tmp_path / "together", forked(), logger=Curious())
    run(together)
    torch.manual_seed(99)
    levels = [level.intervention for level in together[1].cell.levels]
    alone = stochastic(tmp_path / "alone", levels, logger=Curious())
    run(alone)
    columns = ["step", "noise", "gradient", "restored", "momentum", "test/loss"]
    assert alone[0].frame()[columns].equals(together[1].frame()[columns])


class InPlace(Logger):
    @register_metric(on="end")
    def spoils(self, learner: Any) -> float:
        learner.model[0].weight.mul_(2)
        return 0.0


class BehindTheBack(Logger):
    @register_metric(on="end")
    def spoils(self, learner: Any) -> float:
        learner.model[0].weight.data.add_(1e-3).sub_(1e-3)  # not the same floats any more
        return 0.0


class Buffers(Logger):
    @register_metric(on="end")
    def spoils(self, learner: Any) -> float:
        learner.model[1].running_mean.data.zero_()
        return 0.0


class OptimizerState(Logger):
    @register_metric(on="end")
    def spoils(self, learner: Any) -> float:
        learner.optimizer.state[learner.model[0].weight]["momentum_buffer"].data.zero_()
        return 0.0


class LearningRate(Logger):
    @register_metric(on="start")
    def spoils(self, learner: Any) -> float:
        learner.optimizer.param_groups[0]["lr"] = 5.0
        return 0.0


@pytest.mark.parametrize("logger", [InPlace, BehindTheBack, Buffers, OptimizerState, LearningRate])
def test_observer_that_changes_the_learner_fails_and_says_so(logger: type[Logger], folder: Path) -> None:
    exp = stochastic(folder, logger=logger(defaults=False))
    summary = run(exp)
    ((index, told),) = summary.failed
    assert index == 0
    assert "spoils: the metric changed" in told
    assert exp[0].status == "failed"


# --- 5. Identity: in tests/identity and tests/engine/test_configuration_keys.py -----------------------------

# --- 6. Second run ---------------------------------------------------------------------------------------


def test_second_run_trains_nothing(folder: Path) -> None:
    first, second = stochastic(folder, forked()), stochastic(folder, forked())
    run(first)
    kept = first.frame()
    summary = run(second)
    assert summary.steps_trained == 0
    assert summary.cached == len(second)
    assert "everything was cached" in str(summary)
    assert second.frame().equals(kept)


def test_second_run_reads_no_data(folder: Path) -> None:
    run(experiment(folder))
    second = experiment(folder)
    run(second)
    assert "work" not in vars(second)


# --- 7. Nothing lost -------------------------------------------------------------------------------------


def finishes(exp: Experiment, uninterrupted: Experiment, calls: int) -> None:
    """Check that a run that stopped at a call, the first of which tries the loss, is finished by the next."""
    plan = exp.plan()
    longest = max(segment.steps for segment in plan.segments)
    assert plan.steps_distinct - plan.steps_to_train > calls - 2 - longest, "more than one segment was lost"
    assert run(exp).steps_trained == plan.steps_to_train
    assert states(exp) == states(uninterrupted)
    assert exp.frame().equals(uninterrupted.frame())


@pytest.mark.parametrize("calls", [2, 3, 5, 8, 11, 17, 26])
def test_nothing_lost_by_an_interrupt(
    calls: int, uninterrupted: Experiment, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CALLS, str(calls))
    with pytest.raises(KeyboardInterrupt):
        run(experiment(folder, forked(), objective=interruptible))
    finishes(experiment(folder, forked(), objective=interruptible), uninterrupted, calls)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("calls", [2, 6, 13, 27])
def test_nothing_lost_by_a_driver_that_is_killed(
    calls: int, uninterrupted: Experiment, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CALLS, str(calls))
    monkeypatch.setenv(KILL, "yes")
    driver = get_context("fork").Process(
        target=lambda: run(experiment(folder, forked(), objective=interruptible))
    )
    driver.start()
    driver.join()
    assert driver.exitcode == -signal.SIGKILL
    monkeypatch.delenv(CALLS)
    monkeypatch.delenv(KILL)
    finishes(experiment(folder, forked(), objective=interruptible), uninterrupted, calls)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_nothing_lost_but_a_recomputation_by_a_damaged_object(damage: str, tmp_path: Path) -> None:
    short = stochastic(tmp_path / "damaged", steps=4)
    run(short)
    path = short.store.path_of(short.plan().states[short[0].key])
    payload = path.read_bytes()
    path.chmod(0o644)
    path.unlink()
    if damage != "missing":
        path.write_bytes(payload[:50] if damage == "truncated" else b"?" + payload[1:])
    extended = stochastic(tmp_path / "damaged", steps=6)
    with pytest.warns(UserWarning, match="computed again"):
        assert run(extended).steps_trained == 6
    whole = stochastic(tmp_path / "whole", steps=6)
    run(whole)
    assert states(extended) == states(whole)


def test_nothing_lost_by_a_damaged_checkpoint(folder: Path) -> None:
    exp = stochastic(folder, PerturbMomentum(momentum=0.0, when=(2, 4)))
    run(exp)
    sound = exp[0].checkpoint(6).model.state_dict()
    path = exp.store.path_of(exp.plan().states[exp[0].key])
    path.chmod(0o644)
    path.unlink()
    with pytest.warns(UserWarning, match="computed again"):
        replayed = exp[0].checkpoint(6)
    assert all(torch.equal(sound[name], tensor) for name, tensor in replayed.model.state_dict().items())


def test_nothing_lost_by_a_broken_metric_that_is_added_late(folder: Path) -> None:
    class Broken(Logger):
        @register_metric(on="end")
        def broken(self, learner: Any) -> float:
            raise ZeroDivisionError("no such thing")

    run(stochastic(folder, forked()))
    broken = stochastic(folder, forked(), logger=Broken())
    assert [name for name, _ in run(broken).broken] == ["broken"]
    assert run(stochastic(folder, forked())).steps_trained == 0, "a metric cost the runs that were there"

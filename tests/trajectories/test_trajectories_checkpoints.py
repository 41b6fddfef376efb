"""Any point of any run: stored where it was asked for, replayed elsewhere. Extend, and read the past."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from trajectory_cases import equal

from learning_cases import QUIET, Stochastic, experiment, run, states, trained
from paribus import Experiment, Logger, register_metric
from paribus.errors import ConfigurationError, ExecutionError
from paribus.interventions import Cosine, PerturbMomentum, PerturbWeights, SetOptimizer, StepDecay
from paribus.loggers import Every, On, log_spaced
from paribus.store import verify

stochastic = partial(experiment, model=Stochastic(), logger=QUIET)
WINDOWED = [PerturbMomentum(0.1, when=(2, 4)), PerturbWeights(epsilon=0.1, step=5)]


def stored_steps(exp: Experiment) -> list[int]:
    return sorted({record.body["stop"] for record in exp.store.scan()})  # type: ignore[call-overload,index]


@pytest.mark.parametrize(
    ("checkpoints", "kept"),
    [
        (None, [20]),
        ([3, 7], [3, 7, 20]),
        ([0, 20], [20]),
        (range(1, 4), [1, 2, 3, 20]),
        (Every(8), [8, 16, 20]),
        (On("epoch"), [3, 6, 9, 12, 15, 18, 20]),
        (log_spaced(4), [1, 3, 7, 20]),
        (Every(15) | On("end"), [15, 20]),
    ],
    ids=str,
)
def test_checkpoints_are_kept_where_they_are_asked_for(
    checkpoints: Any, kept: list[int], folder: Path
) -> None:
    exp = stochastic(folder, checkpoints=checkpoints, steps=20)
    assert run(exp).steps_trained == 20
    assert stored_steps(exp) == kept
    plain = stochastic(folder, steps=20)
    assert run(plain).steps_trained == 0, "where states are kept is no part of what a run is"


def test_forks_window_edges_and_ends_are_kept_without_asking(folder: Path) -> None:
    exp = stochastic(folder, WINDOWED, steps=8)
    run(exp)
    assert stored_steps(exp) == [2, 4, 5, 6, 8]


def test_checkpoints_that_are_asked_for_later_are_made_by_replaying_nothing_else(folder: Path) -> None:
    run(stochastic(folder, steps=20))
    exp = stochastic(folder, checkpoints=[5], steps=20)
    assert exp.plan().cached == 1, "a point that is missing is replayed when it is asked for"
    assert run(exp).steps_trained == 0
    assert exp[0].checkpoint(5).step == 5


@pytest.mark.parametrize("checkpoints", [None, [1, 3, 6]])
def test_a_checkpoint_at_each_step_is_the_state_of_a_run_in_one_piece(checkpoints: Any, folder: Path) -> None:
    """Step 0, inside and at the edges of windows, before and after noise, the end."""
    exp = stochastic(folder, WINDOWED, steps=8, checkpoints=checkpoints)
    run(exp)
    configuration = exp[0].configuration
    for step in range(1, 9):
        edges = sorted({e for e in configuration.edges() if e < step} | {step})
        state = trained(exp.work, configuration, edges)
        found = exp[0].checkpoint(step)
        assert found.step == step
        assert equal(found, state)
        for name, tensor in state.tensors.items():
            if name.startswith("optimizer/"):
                _, of, entry = name.split("/")
                parameter = found.model.get_parameter(of)
                assert torch.equal(found.optimizer.state[parameter][entry], tensor)
    start = exp[0].checkpoint(0)
    assert (start.step, len(start.optimizer.state)) == (0, 0)


class Start(Logger):
    @register_metric(on="start")
    def weights(self, learner: Any) -> torch.Tensor:
        return torch.nn.utils.parameters_to_vector(learner.model.parameters())


@pytest.mark.parametrize("weights", ["draw", "keep"])
@pytest.mark.parametrize("keep", ["all", "ends", 0])
def test_the_start_is_drawn_again_to_the_bit(weights: Any, keep: Any, folder: Path) -> None:
    """Also where an intervention acts at step 0, and whatever states are kept."""
    noise = PerturbWeights.make_variations(epsilon=(0.1, 0.2), step=0)
    exp = experiment(folder, noise, weights=weights, logger=Start(defaults=False))
    run(exp, keep=keep)
    for learner in exp:
        (recorded,) = learner.frame()["weights"].drop_nulls().to_list()
        found = learner.checkpoint(0)
        assert torch.nn.utils.parameters_to_vector(found.model.parameters()).tolist() == list(recorded)
        assert found.optimizer.state == {}


def test_a_checkpoint_is_the_callers_own(folder: Path) -> None:
    exp = stochastic(folder)
    run(exp)
    spoilt = exp[0].checkpoint().model
    with torch.no_grad():
        for parameter in spoilt.parameters():
            parameter.zero_()
    assert any(bool(parameter.any()) for parameter in exp[0].checkpoint().model.parameters())


def test_a_checkpoint_writes_nothing(folder: Path) -> None:
    exp = stochastic(folder)
    found = exp[0].checkpoint(3)
    assert found.step == 3, "without a run, too"
    assert list(exp.store.scan()) == []


@pytest.mark.parametrize("step", [-1, 7, 10**9])
def test_a_step_that_is_not_on_the_run_is_refused(step: int, folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"step={step} is not on this run; expected 0 to 6"):
        stochastic(folder)[0].checkpoint(step)


def test_a_diverged_run_can_be_returned_to_before_it_diverged(folder: Path) -> None:
    exp = stochastic(folder, SetOptimizer(lr=1e38), steps=9)
    assert run(exp).diverged == 1
    assert exp[0].checkpoint(0).step == 0
    assert exp[0].checkpoint(1).step == 1
    with pytest.raises(ExecutionError, match="step 9 cannot be reached: the run diverged at step"):
        exp[0].checkpoint(9)
    assert run(exp).steps_trained == 0


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_a_damaged_state_is_told_and_computed_again(damage: str, folder: Path) -> None:
    exp = stochastic(folder, checkpoints=[3])
    run(exp)
    whole = states(exp)
    path = exp.store.path_of(exp.plan().states[exp[0].configuration.key(3)])
    payload = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(payload[:-9] if damage == "truncated" else payload[:-1] + bytes([payload[-1] ^ 1]))
    with pytest.warns(UserWarning, match="computed again"):
        assert equal(exp[0].checkpoint(3), trained(exp.work, exp[0].configuration, [3]))
    longer = stochastic(folder, PerturbMomentum(0.5, when=(3, 6)))
    with pytest.warns(UserWarning, match="computed again"):
        assert run(longer).steps_trained == 6
    assert states(exp) == whole
    assert verify(exp.store).sound, "what was computed again is there again"


# --- extend ---------------------------------------------------------------------------------


def test_more_steps_go_on_from_the_end_and_fewer_read_the_past(folder: Path) -> None:
    run(stochastic(folder, WINDOWED, steps=8))
    longer = stochastic(folder, WINDOWED, steps=11)
    assert longer.plan().learners[0].reason == "goes on from a stored state"
    assert run(longer).steps_trained == 3
    for steps in (2, 4, 5, 8):
        assert run(stochastic(folder, WINDOWED, steps=steps)).steps_trained == 0


def test_a_learner_that_ends_between_states_trains_only_from_the_one_before(folder: Path) -> None:
    run(stochastic(folder, WINDOWED, steps=8))
    assert run(stochastic(folder, WINDOWED, steps=7)).steps_trained == 1


def test_what_a_shorter_run_recorded_is_part_of_the_longer(tmp_path: Path) -> None:
    grown, at_once = (partial(experiment, tmp_path / name, WINDOWED) for name in ("grown", "at once"))
    for steps in (1, 5, 3, 9):
        run(grown(steps=steps))
    run(at_once(steps=9))
    assert run(grown(steps=9)).steps_trained == 0
    assert grown(steps=9).frame().equals(at_once(steps=9).frame())


def test_a_schedule_that_reads_the_total_keeps_its_own_trajectory(folder: Path) -> None:
    for schedule, shared in ((Cosine(), False), (StepDecay(every=2), True)):
        run(stochastic(folder, schedule=schedule, steps=3))
        longer = stochastic(folder, schedule=schedule, steps=6)
        assert run(longer).steps_trained == (3 if shared else 6)
        assert (
            longer[0].configuration.key(3) == stochastic(folder, schedule=schedule, steps=3)[0].key
        ) == shared

"""Keys: what is in them, what is not, and the key of a restricted configuration."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from learning_cases import POINTS, QUIET, experiment
from paribus import Logger
from paribus.datasets import blobs
from paribus.engine.learners.configuration import Configuration, Event
from paribus.interventions import (
    Cosine,
    InitWeights,
    PerturbHyperparameter,
    PerturbMomentum,
    PerturbWeights,
    SetHyperparameter,
    SetOptimizer,
    StepDecay,
)
from paribus.models import MLP


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Configuration:
    return experiment(tmp_path_factory.mktemp("store"), steps=40)[0].configuration


def key(folder: Path, interventions: Any = (), **options: Any) -> str:
    return experiment(folder, interventions, **options)[0].key


steps = st.integers(0, 50)
events = st.one_of(
    st.builds(
        lambda momentum, start, length: PerturbMomentum(momentum, (start, start + length)),
        st.sampled_from([0.5, 0.1]),
        steps,
        st.integers(1, 50),
    ),
    st.builds(lambda start: PerturbMomentum(0.3, (start, None)), steps),
    st.builds(lambda lr, start: PerturbHyperparameter(lr=lr, when=(start, start + 5)), st.just(1.0), steps),
    st.builds(PerturbWeights, st.just(0.1), seed=st.integers(0, 2), step=steps),
)


def with_events(base: Configuration, *interventions: Any) -> Configuration:
    made = sorted(
        (Event.of(i) for i in interventions), key=lambda e: (e.start, type(e.intervention).__name__)
    )
    return Configuration(base.components, tuple(made))


@given(past=st.lists(events, max_size=3), later=st.lists(events, min_size=1, max_size=3), at=steps)
def test_what_starts_later_is_not_in_the_key_of_a_state(
    base: Configuration, past: list[Any], later: list[Any], at: int
) -> None:
    one = with_events(base, *past)
    other = with_events(base, *past, *later)
    equal = all(event.start >= at for event in with_events(base, *later).timeline)
    assert (one.key(at) == other.key(at)) == equal
    assert (one.manifest(at) == other.manifest(at)) == equal


@given(start=steps, stops=st.tuples(steps, steps), at=steps)
def test_a_window_counts_as_far_as_it_has_come(
    base: Configuration, start: int, stops: tuple[int, int], at: int
) -> None:
    one, other = (with_events(base, PerturbMomentum(0.5, (start, start + 1 + stop))) for stop in stops)
    reached = [min(start + 1 + stop, at) for stop in stops]
    assert (one.key(at) == other.key(at)) == (reached[0] == reached[1] or at <= start)


@given(one=st.integers(0, 100), other=st.integers(0, 100))
def test_states_at_different_steps_have_different_keys(base: Configuration, one: int, other: int) -> None:
    assert (base.key(one) == base.key(other)) == (one == other)


@given(first=st.integers(1, 60), second=st.integers(1, 60), at=st.integers(0, 60))
@settings(max_examples=25)
def test_the_length_of_a_run_is_not_in_the_key_of_a_state(
    base: Configuration, first: int, second: int, at: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "length"

    def key_at(steps: int, schedule: Any) -> str:
        return experiment(folder, steps=steps, schedule=schedule)[0].configuration.key(at)

    for schedule in (None, StepDecay(every=5), lambda step: 0.9**step):
        assert key_at(first, schedule) == key_at(second, schedule)
    for schedule in (Cosine(), lambda step, total: 1 - step / total):
        assert (key_at(first, schedule) == key_at(second, schedule)) == (first == second)


EQUAL: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"optimizer": partial(torch.optim.SGD, lr=0.01, momentum=0.9)}),
    ({}, {"optimizer": partial(torch.optim.SGD, lr=0.01, momentum=0.9, dampening=0, nesterov=False)}),
    ({}, {"interventions": InitWeights(seed=0)}),
    ({}, {"interventions": [InitWeights(), SetOptimizer(), SetHyperparameter()]}),
    ({}, {"interventions": SetOptimizer(lr=0.01)}),
    ({}, {"interventions": SetOptimizer(torch.optim.SGD, momentum=0.9)}),
    ({}, {"interventions": SetHyperparameter(batch_size=16)}),
    ({}, {"seed": 0, "weights": "draw", "dtype": "float32", "threads": 1, "device": "cpu", "schedule": None}),
    ({}, {"loss": "cross_entropy"}),
    ({"epochs": 2}, {"steps": 6}),
    ({"optimizer": partial(torch.optim.SGD, lr=1)}, {"optimizer": partial(torch.optim.SGD, lr=1.0)}),
    ({"interventions": SetOptimizer(lr=1)}, {"interventions": SetOptimizer(lr=1.0)}),
    ({"interventions": SetHyperparameter(lr=1)}, {"interventions": SetOptimizer(lr=1.0)}),
    ({"interventions": InitWeights(seed=3)}, {"interventions": InitWeights(seed=np.int64(3))}),
    ({"interventions": PerturbWeights(epsilon=1)}, {"interventions": PerturbWeights(epsilon=np.float64(1))}),
    (
        {"interventions": PerturbWeights(epsilon=1, step=2, seed=1)},
        {"interventions": PerturbWeights(epsilon=1, step=np.int32(2), seed=np.uint8(1))},
    ),
    ({"interventions": PerturbMomentum(1, (0, 3))}, {"interventions": PerturbMomentum(1.0, (0, 3))}),
    ({}, {"logger": QUIET}),
    ({}, {"memory": 1}),
    ({}, {"loaders": 2}),
    ({}, {"dataset": (POINTS["train"], POINTS["test"])}),
    ({}, {"dataset": blobs(n=64, features=4)}),
    ({}, {"model": MLP(4, [8], 3)}),
    ({}, {"schedule": SetHyperparameter().schedule}),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_however_it_is_written_the_key_is_one(
    one: dict[str, Any], other: dict[str, Any], folder: Path
) -> None:
    assert key(folder, **one) == key(folder, **other)


class Wider(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.body(inputs)


def test_what_decides_the_bits_is_in_the_key(folder: Path) -> None:
    different: list[dict[str, Any]] = [
        {},
        {"seed": 1},
        {"interventions": InitWeights(seed=1)},
        {"batch_size": 8},
        {"steps": 7},
        {"schedule": Cosine()},
        {"schedule": StepDecay(every=2)},
        {"schedule": StepDecay(every=3)},
        {"schedule": lambda step: 0.5**step},
        {"schedule": lambda step: 0.25**step},
        {"dtype": "float64"},
        {"threads": 2},
        {"device": "cuda"},
        {"loss": "mse"},
        {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)},
        {"weights": "keep"},
        {"model": MLP(4, (9,), 3)},
        {"model": Wider()},
        {"dataset": blobs(n=64, features=4, seed=1)},
        {"dataset": POINTS["train"]},
        {"optimizer": torch.optim.Adam},
        {"optimizer": partial(torch.optim.Adam, betas=(0.8, 0.999))},
        {"interventions": SetOptimizer(momentum=0.5)},
        {"interventions": PerturbMomentum(0.5, (0, 3))},
        {"interventions": PerturbMomentum(0.5, (1, 3))},
        {"interventions": PerturbHyperparameter(lr=0.5, when=(1, 3))},
        {"interventions": PerturbWeights(epsilon=0.1)},
        {"interventions": PerturbWeights(epsilon=0.1, seed=1)},
        {"interventions": PerturbWeights(epsilon=0.1, step=1)},
    ]
    keys = [key(folder, **options) for options in different]
    assert len(set(keys)) == len(keys)


def test_each_stream_has_a_seed_of_its_own(folder: Path) -> None:
    """InitWeights(seed=1) is not seed=1: order and dropout stay."""
    moved = experiment(folder, InitWeights(seed=1))[0].configuration.seeds
    assert (moved.init, moved.order, moved.forward, moved.augment) == (1, 0, 0, 0)


def test_a_metric_is_in_no_key(folder: Path) -> None:
    class More(Logger):
        def extra(self, learner: Any) -> float:
            return 1.0

    assert key(folder) == key(folder, logger=More())


def test_a_hit_compares_the_whole_configuration(folder: Path) -> None:
    import dataclasses

    from learning_cases import run
    from paribus.errors import StoreError

    exp = experiment(folder)
    run(exp)
    (record,) = exp.store.records([exp[0].key]).values()
    other = experiment(folder, SetOptimizer(lr=0.5))[0].configuration.manifest(6)
    exp.store.commit(dataclasses.replace(record, manifest=other))
    with pytest.raises(StoreError, match="belongs to another configuration of equal key"):
        exp.plan()

"""Which samples there are, their labels, their order, and how many come at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from intervention_cases import with_preparation
from torch import nn
from torch.utils.data import TensorDataset

from learning_cases import POINTS, experiment, run, states, trained
from paribus.engine.building.data import InMemory
from paribus.engine.learners.course import Course, Phase, order
from paribus.errors import DataError, LevelError
from paribus.identity import derive_seed, generator
from paribus.interventions import (
    DataIntervention,
    FlipLabels,
    ImbalanceClasses,
    SetBatchSize,
    SetHyperparameter,
    SetSeeds,
    SubsetSamples,
)
from paribus.loggers import Logger, register_metric
from paribus.models import MLP

Windows = dict[int, dict[str, int]]


def by_hand(steps: int, changes: Windows, samples: int = 48) -> Iterator[list[int]]:
    """The indices of each step, as one would write it: what is left of the epoch is kept in a list."""
    seed, size, epoch = 0, 16, 0
    left = order(seed, epoch, samples).tolist()
    for step in range(steps):
        if step in changes:
            size = changes[step].get("size", size)
            if "seed" in changes[step]:
                seed = changes[step]["seed"]
                left = [place for place in order(seed, epoch, samples).tolist() if place in left]
        yield left[:size]
        left = left[size:]
        if not left:
            epoch += 1
            left = order(seed, epoch, samples).tolist()


def course_of(changes: Windows, samples: int = 48) -> Course:
    phases = [Phase(0, 0, 0, 16)]
    for step, change in sorted(changes.items()):
        last = phases[-1]
        seed, size = change.get("seed", last.order), change.get("size", last.batch_size)
        phases = phases[:-1] if step == last.start else phases
        phases.append(Phase(step, seed, 0, size))
    return Course(samples, tuple(phases))


CHANGES = st.dictionaries(
    st.integers(0, 25),
    st.fixed_dictionaries({}, optional={"size": st.integers(1, 60), "seed": st.integers(0, 3)}),
    max_size=4,
)


@given(changes=CHANGES, samples=st.integers(1, 50), start=st.integers(0, 25))
def test_the_walk_is_that_of_a_loop_written_by_hand(changes: Windows, samples: int, start: int) -> None:
    course = course_of(changes, samples)
    expected = list(by_hand(30, changes, samples))
    assert [places.tolist() for _, _, places in course.walk(0, 30)] == expected
    assert [places.tolist() for _, _, places in course.walk(start, 30)] == expected[start:]


@given(changes=CHANGES, samples=st.integers(1, 50))
def test_each_sample_comes_once_in_each_epoch_whatever_changes(changes: Windows, samples: int) -> None:
    course = course_of(changes, samples)
    end = course.end_of(3)
    taken: dict[int, list[int]] = {}
    for _, epoch, places in course.walk(0, end):
        taken.setdefault(epoch, []).extend(places.tolist())
    assert {epoch: sorted(places) for epoch, places in taken.items()} == {
        epoch: list(range(samples)) for epoch in range(3)
    }
    assert [course.epoch(step) for step in course.ends(end)] == [1, 2, 3]
    assert all(one <= other for one, other in pairwise(map(course.epoch, range(end + 1))))


@given(changes=CHANGES, later=st.integers(0, 25), samples=st.integers(1, 50))
def test_where_a_step_stands_does_not_depend_on_what_comes_later(
    changes: Windows, later: int, samples: int
) -> None:
    past = {step: change for step, change in changes.items() if step < later}
    whole, before = course_of(changes, samples), course_of(past, samples)
    assert whole.place(later) == before.place(later)
    assert whole.epoch(later) == before.epoch(later)


@given(samples=st.integers(1, 30), size=st.integers(1, 40), step=st.integers(0, 100))
def test_with_one_size_epochs_are_steps_over_the_steps_of_an_epoch(
    samples: int, size: int, step: int
) -> None:
    assert Course(samples, (Phase(0, 0, 0, size),)).epoch(step) == step / -(-samples // size)


def trained_by_hand(steps: list[list[int]], model: nn.Module | None = None) -> dict[str, torch.Tensor]:
    model = model or MLP(4, (8,), 3)
    for name, module in model.named_modules():
        if hasattr(module, "reset_parameters"):
            torch.manual_seed(derive_seed(0, "init", name))
            module.reset_parameters()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    inputs, targets = POINTS["train"].tensors
    for step, places in enumerate(steps):
        torch.manual_seed(derive_seed(0, "forward", step))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[places]), targets[places]).backward()
        optimizer.step()
    return model.state_dict()


@pytest.mark.parametrize(
    ("design", "changes"),
    [
        (SetSeeds(order=1, when=(2, None)), {2: {"seed": 1}}),
        (SetSeeds(order=1, when=(1, 5)), {1: {"seed": 1}, 5: {"seed": 0}}),
        (SetBatchSize(5, when=(2, None)), {2: {"size": 5}}),
        (SetBatchSize(30, when=(1, 3)), {1: {"size": 30}, 3: {"size": 16}}),
        (SetBatchSize.on_schedule({1: 4, 4: 20}), {1: {"size": 4}, 4: {"size": 20}}),
        (SetBatchSize(7, when=(1, 4)) * SetSeeds(order=3, when=(2, 3)),
         {1: {"size": 7}, 2: {"seed": 3}, 3: {"seed": 0}, 4: {"size": 16}}),
    ],
    ids=str,
)  # fmt: skip
def test_same_bits_as_a_loop_written_by_hand(design: Any, changes: Windows, folder: Path) -> None:
    exp = experiment(folder, design, steps=8)
    run(exp)
    state, expected = exp[0].checkpoint().model.state_dict(), trained_by_hand(list(by_hand(8, changes)))
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert trained(exp.work, exp[0].configuration, list(range(1, 9))).to_bytes() == states(exp)[0]


def test_two_learners_share_a_trunk_and_see_different_orders_after_it(folder: Path) -> None:
    exp = experiment(folder, SetSeeds.make_variations(order=range(3), when=(4, None)), steps=8)
    assert run(exp).steps_trained == 4 + 3 * 4
    assert len(set(states(exp))) == 3
    assert exp[0].key == experiment(folder / "control", steps=8)[0].key, "the seed of the base is no change"


def test_a_seed_from_the_start_is_the_setting_itself(folder: Path) -> None:
    whole = experiment(folder, SetSeeds(order=1, forward=1, augment=1))[0].configuration
    assert not whole.timeline
    assert (whole.seeds.order, whole.seeds.forward, whole.seeds.init) == (1, 1, 0)
    sized = experiment(folder, SetBatchSize(8))[0]
    assert sized.key == experiment(folder, SetHyperparameter(batch_size=8))[0].key


def test_the_seed_of_dropout_acts_in_its_window_only(folder: Path) -> None:
    class Dropping(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))

    design = [SetSeeds(forward=0), SetSeeds(forward=1, when=(2, 3)), SetSeeds(forward=1, when=(2, 2))]
    exp = experiment(folder, sum(design[1:], start=design[0]), model=Dropping())
    assert len(exp) == 2, "an empty window is the control"
    run(exp)
    state = exp[1].checkpoint(2).model.state_dict()
    assert all(torch.equal(state[n], t) for n, t in exp[0].checkpoint(2).model.state_dict().items())
    assert len(set(states(exp))) == 2


def test_epochs_are_passes_over_the_data_whatever_the_size(folder: Path) -> None:
    class Epochs(Logger):
        @register_metric(on="epoch")
        def passed(self, learner: Any) -> float:
            return learner.epoch

    exp = experiment(folder, SetBatchSize(8, when=(3, None)), epochs=3, logger=Epochs())
    assert exp[0].configuration.total == 3 + 6 + 6
    run(exp)
    frame = exp.frame()
    assert frame.filter(frame["passed"].is_not_null())["step"].to_list() == [3, 9, 15]
    assert frame["passed"].drop_nulls().to_list() == [1, 2, 3]
    assert frame["epoch"].to_list() == [0, 1, 2, 3]


def test_null_forms_are_the_control_itself(folder: Path) -> None:
    nulls: list[Any] = [
        SubsetSamples(), SubsetSamples(fraction=1, seed=3), FlipLabels(0), FlipLabels(0.0, seed=1),
        ImbalanceClasses(1), SetSeeds(), SetSeeds(order=0, when=(1, 3)), SetBatchSize(16, when=(2, None)),
    ]  # fmt: skip
    control = experiment(folder)[0].key
    assert [str(null) for null in nulls if experiment(folder, null)[0].key != control] == []


@pytest.mark.parametrize("null", [SubsetSamples(), FlipLabels(0.0), ImbalanceClasses(1.0)], ids=str)
@pytest.mark.parametrize("memory", [2**30, 1], ids=["held", "streamed"])
def test_placebo_is_executed_and_changes_no_bit(null: Any, memory: int, folder: Path) -> None:
    exp = experiment(folder, dataset={n: list(split) for n, split in POINTS.items()}, memory=memory)
    run(exp)
    placebo = with_preparation(exp[0].configuration, null)
    assert trained(exp.work, placebo).to_bytes() == states(exp)[0]


def split(labels: Any) -> InMemory:
    labels = torch.as_tensor(labels)
    return InMemory((torch.arange(len(labels))[:, None].float(), labels))


def kept(changed: Any) -> list[int]:
    return changed["train"].ids.tolist()


@given(small=st.floats(0.01, 1), large=st.floats(0.01, 1), seed=st.integers(0, 9))
def test_a_smaller_subset_is_contained_in_a_larger_one(small: float, large: float, seed: int) -> None:
    small, large = sorted((small, large))
    one, other = (
        kept(SubsetSamples(fraction, seed=seed).edit({"train": split(range(40))}))
        for fraction in (small, large)
    )
    assert set(one) <= set(other)
    assert other == sorted(other)
    assert len(other) == max(1, round(large * 40))


def test_a_subset_of_indices_is_those_samples_and_steps_follow(folder: Path) -> None:
    exp = experiment(folder, SubsetSamples(indices=(40, 1, 5, 7)), epochs=2, batch_size=3)
    assert exp[0].configuration.steps_per_epoch == 2
    run(exp)
    tensors = TensorDataset(*(t[[1, 5, 7, 40]] for t in POINTS["train"].tensors))
    alone = experiment(folder, dataset={**POINTS, "train": tensors}, epochs=2, batch_size=3)
    run(alone)
    assert states(exp)[0] == states(alone)[0]


def test_a_subset_is_planned_and_found_again_without_reading_the_data(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counted(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 40

        def __getitem__(self, index: int) -> Any:
            os.environ["PARIBUS_TEST_READ"] += f"{index} "  # what is counted is in no key
            return torch.full((4,), index / 40), index % 3

    def grid() -> Any:
        design = [SubsetSamples.make_variations(fraction=(0.5, 1)), FlipLabels.make_variations(rate=(0, 0.5))]
        return experiment(folder, design, dataset=(Counted(), Counted()), epochs=1)

    monkeypatch.setenv("PARIBUS_TEST_READ", "")
    run(grid())
    monkeypatch.setenv("PARIBUS_TEST_READ", "")
    exp = grid()
    assert [learner.configuration.total for learner in exp] == [2, 2, 3, 3]
    assert run(exp).steps_trained == 0
    assert set(os.environ["PARIBUS_TEST_READ"].split()) == {"0"}


@given(low=st.floats(0, 1), high=st.floats(0, 1), seed=st.integers(0, 9))
def test_what_is_flipped_at_a_rate_is_flipped_alike_at_a_larger_one(
    low: float, high: float, seed: int
) -> None:
    low, high = sorted((low, high))
    labels = torch.arange(60) % 5
    one, other = (
        FlipLabels(rate, seed=seed).edit({"train": split(labels)})["train"].contents[1]
        for rate in (low, high)
    )
    flipped = one != labels
    assert torch.equal(one[flipped], other[flipped])
    assert bool(((other >= 0) & (other < 5)).all())


def test_noise_has_its_rate_and_prefers_no_class() -> None:
    labels = torch.arange(6000) % 3
    noisy = FlipLabels(0.3).edit({"train": split(labels)})["train"].contents[1]
    shift = (noisy - labels) % 3
    assert [round(float((shift == k).float().mean()), 2) for k in range(3)] == pytest.approx(
        [0.7, 0.15, 0.15], abs=0.02
    )
    wrong = FlipLabels(1).edit({"train": split(labels)})["train"].contents[1]
    assert bool((wrong != labels).all())


def test_noise_of_a_sample_is_the_same_in_a_subset_and_on_both_data_paths(tmp_path: Path) -> None:
    labels = torch.arange(50) % 5
    whole = FlipLabels(0.5).edit({"train": split(labels)})
    part = SubsetSamples(0.4).edit({"train": split(labels)})
    noisy = FlipLabels(0.5, classes=5).edit(part)["train"]
    assert torch.equal(noisy.contents[1], whole["train"].contents[1][part["train"].ids])  # type: ignore[attr-defined]
    data = {name: list(tensors) for name, tensors in POINTS.items()}
    design = [SubsetSamples(0.5), FlipLabels(0.5)]
    found = []
    for memory in (2**30, 1):
        exp = experiment(tmp_path / str(memory), design, dataset=data, memory=memory)
        run(exp)
        found.append((exp[0].key, states(exp)[0], exp.frame()))
    assert found[0][:2] == found[1][:2]
    assert found[0][2].equals(found[1][2])


def test_the_order_in_which_changes_are_written_does_not_count(folder: Path) -> None:
    subset, noise = SubsetSamples(0.5), FlipLabels(0.5)
    assert experiment(folder, [subset, noise])[0].key == experiment(folder, [noise, subset])[0].key


def test_a_long_tail_keeps_the_first_class_and_the_ratio_of_the_last() -> None:
    train = ImbalanceClasses(0.1).edit({"train": split(torch.arange(300) % 3)})["train"]
    assert train.contents[1].bincount().tolist() == [100, 32, 10]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda: SubsetSamples(1.5), "SubsetSamples: fraction=1.5 is no share"),
        (lambda: SubsetSamples(0), "fraction=0 leaves no sample"),
        (lambda: SubsetSamples(0.5, indices=(1,)), "goes without fraction="),
        (lambda: SubsetSamples(indices=(1, 1)), "names each sample once"),
        (lambda: FlipLabels(-0.1), "FlipLabels: rate=-0.1 is no share"),
        (lambda: ImbalanceClasses(0), "ratio=0 leaves a class empty"),
        (lambda: SetSeeds(order=-1), "SetSeeds: order=-1 is no whole number"),
        (lambda: SetSeeds(order=1, when=(5, 2)), "runs backwards"),
        (lambda: SetBatchSize(0), "batch_size=0 is no whole number >= 1"),
        (lambda: SetBatchSize.on_schedule({}), "the schedule is empty"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_written(write: Any, told: str) -> None:
    with pytest.raises(LevelError, match=told):
        write()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (SubsetSamples(indices=(1, 99)), "99 is no sample of train, which has 0 to 47"),
        (FlipLabels(0.5, label="y"), "'y' is no key of a sample"),
        (FlipLabels(0.5, label="0"), "expected one whole number for each sample"),
        (ImbalanceClasses(0.5, label="0"), "expected one whole number for each sample"),
    ],
)
def test_what_the_data_has_not_is_refused_before_training(change: Any, told: str, folder: Path) -> None:
    with pytest.raises(LevelError, match=told):
        experiment(folder, change)


def test_a_users_own_change_of_the_data_counts_the_samples_it_leaves(folder: Path) -> None:
    exp = experiment(folder, FirstHalf(), epochs=1)
    assert exp[0].configuration.total == 2
    assert not run(exp).failed


@dataclass(frozen=True)
class FirstHalf(DataIntervention):
    def edit(self, splits: Any) -> Any:
        train = splits["train"]
        return {**splits, "train": train.subset(torch.arange(train.samples // 2))}


@dataclass(frozen=True)
class Overwriting(DataIntervention):
    def edit(self, splits: Any) -> Any:
        splits["train"].contents[0].zero_()
        return splits


def test_a_change_that_writes_into_the_data_is_refused(folder: Path) -> None:
    data = {name: TensorDataset(*(t.clone() for t in s.tensors)) for name, s in POINTS.items()}
    with pytest.raises(DataError, match="Overwriting: the data it was given is changed"):
        experiment(folder, Overwriting(), dataset=data)


def test_serial_and_local_and_resumed_give_the_same_bits(folder: Path) -> None:
    design: list[Any] = [
        SubsetSamples.make_variations(fraction=(0.5, 1)) + ImbalanceClasses(0.5),
        FlipLabels.make_variations(rate=(0, 0.3)),
        SetBatchSize(5, when=(2, 4)) + SetSeeds(order=1, when=(2, None)),
    ]
    serial, workers = experiment(folder / "serial", design), experiment(folder / "local", design)
    run(serial)
    run(workers, "local", workers=2)
    assert states(serial) == states(workers)
    for steps in (1, 4, 6):
        resumed = experiment(folder / "resumed", design, steps=steps)
        run(resumed)
    assert states(resumed) == states(serial)


def test_the_draws_of_the_base_are_not_those_of_another_seed() -> None:
    assert not torch.equal(order(0, 0, 48), order(1, 0, 48))
    assert torch.equal(order(1, 2, 9), torch.randperm(9, generator=generator(1, "order", 2)))

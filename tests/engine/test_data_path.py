"""Two data paths, one stream of batches."""

from __future__ import annotations

import random
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import Dataset, Subset, TensorDataset

from learning_cases import POINTS, experiment, run, states
from paribus.engine.building.data import InMemory, Streamed
from paribus.engine.building.loading import load, named_splits
from paribus.engine.building.nested import map_tensors, tensors_of
from paribus.engine.learners.course import Course, Phase, order
from paribus.errors import DataError
from paribus.identity import generator
from paribus.interventions import AblateFeatures, Slices, SubsetSamples

GB = 2**30
Pair = namedtuple("Pair", "inputs targets")


class Points(Dataset[Any]):
    """Items in any nesting, deterministic."""

    def __init__(self, kind: str = "tuple", size: int = 21) -> None:
        self.kind = kind
        self.inputs = torch.randn(size, 4, generator=generator(0, "points"))
        self.targets = torch.arange(size) % 3

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Any:
        x, y = self.inputs[index], int(self.targets[index])
        return {
            "tuple": (x, y),
            "list": [x, y],
            "dict": {"x": x, "y": y},
            "nested": {"x": (x, {"twice": 2 * x}), "y": y},
            "namedtuple": Pair(x, y),
            "words": {"x": x, "y": y, "name": f"point {index}"},
            "numpy": (x.numpy(), np.int64(y)),
        }[self.kind]


class Noisy(Points):
    """Draws from a global generator now and then."""

    def __init__(self, draw: str, often: bool = True) -> None:
        super().__init__()
        self.draw = draw
        self.often = often

    def __getitem__(self, index: int) -> Any:
        noise = {
            "torch": lambda: torch.rand(4),
            "numpy": lambda: torch.tensor(np.random.rand(4), dtype=torch.float32),
            "python": lambda: torch.tensor([random.random() for _ in range(4)]),
        }[self.draw]()
        return self.inputs[index] + noise * float(self.often), int(self.targets[index])


def batches(source: Any, size: int = 8, start: int = 0, stop: int = 7) -> list[Any]:
    return list(source.training(Course(source.samples, (Phase(0, 3, 3, size),)), start, stop))


def same(one: list[Any], other: list[Any]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a, b) for x, y in pairs for a, b in zip(tensors_of(x), tensors_of(y), strict=True))


@pytest.mark.parametrize("kind", ["tuple", "list", "dict", "nested", "namedtuple", "words", "numpy"])
def test_both_paths_give_equal_batches(kind: str) -> None:
    held = load("train", Points(kind), memory=GB, workers=0)
    streamed = load("train", Points(kind), memory=1, workers=0)
    assert isinstance(streamed, Streamed)
    assert isinstance(held, InMemory) == (kind != "words"), "words cannot be gathered by index"
    assert same(batches(held), batches(streamed))
    assert same(list(held.evaluation()), list(streamed.evaluation()))
    for one, other in zip(batches(held), batches(streamed), strict=True):
        if kind == "words":
            assert one["name"] == other["name"]
            assert len(one["name"]) == len(one["x"])


def test_tensor_datasets_and_their_subsets_are_held_as_they_are() -> None:
    inputs, targets = POINTS["train"].tensors
    held = load("train", POINTS["train"], memory=1, workers=0)
    assert isinstance(held, InMemory)
    assert held.tensors[0] is inputs
    part = load("train", Subset(POINTS["train"], [5, 2]), memory=GB, workers=0)
    assert torch.equal(next(part.evaluation())[1], targets[[5, 2]])


@given(
    samples=st.integers(1, 20), size=st.integers(1, 25), start=st.integers(0, 30), length=st.integers(0, 30)
)
def test_a_stretch_of_steps_is_a_stretch_of_the_whole(
    samples: int, size: int, start: int, length: int
) -> None:
    source = InMemory((torch.arange(samples),))
    whole = batches(source, size, 0, start + length)
    assert same(batches(source, size, start, start + length), whole[start:])


@given(samples=st.integers(1, 30), size=st.integers(1, 40), epoch=st.integers(0, 3))
def test_an_epoch_is_every_sample_once_in_the_order_of_its_stream(
    samples: int, size: int, epoch: int
) -> None:
    per_epoch = -(-samples // size)
    source = InMemory((torch.arange(samples),))
    taken = batches(source, size, epoch * per_epoch, (epoch + 1) * per_epoch)
    assert torch.equal(torch.cat([batch[0] for batch in taken]), order(3, epoch, samples))
    assert [len(batch[0]) for batch in taken[:-1]] == [size] * (per_epoch - 1)
    assert len(taken[-1][0]) == samples - size * (per_epoch - 1), "the last batch is what is left"


@pytest.mark.parametrize("draw", ["torch", "numpy", "python"])
@pytest.mark.parametrize("often", [True, False], ids=["seen", "drawn in vain"])
def test_a_data_set_that_draws_is_streamed(draw: str, often: bool) -> None:
    assert isinstance(load("train", Noisy(draw, often), memory=GB, workers=0), Streamed)


def test_an_augmented_sample_is_a_function_of_seed_epoch_and_place() -> None:
    source = load("train", Noisy("torch"), memory=GB, workers=0)
    assert same(batches(source), batches(source))
    assert same(batches(source, start=4), batches(source)[4:]), "also after a resume"
    first, second = (torch.cat([x for x, _ in batches(source, 8, e * 3, e * 3 + 3)]) for e in (0, 1))
    places = [order(3, epoch, 21) for epoch in (0, 1)]
    assert not torch.equal(first[places[0].argsort()], second[places[1].argsort()]), "another draw each epoch"
    assert same(list(source.evaluation()), list(source.evaluation()))


def test_augmentation_follows_its_seed_from_a_step_on() -> None:
    source = load("train", Noisy("torch"), memory=GB, workers=0)
    course = Course(source.samples, (Phase(0, 3, 3, 8), Phase(2, 3, 4, 8)))
    found, before = list(source.training(course, 0, 7)), batches(source)
    assert same(found[:2], before[:2])
    assert not any(same([one], [other]) for one, other in zip(found[2:], before[2:], strict=True))
    assert same(list(source.training(course, 3, 7)), found[3:])


def test_a_data_set_with_a_generator_of_its_own_is_refused(folder: Path) -> None:
    """Its samples depend on how often it was read: no seed can make them a function of the step."""

    class Own(Points):
        count = 0

        def __getitem__(self, index: int) -> Any:
            type(self).count += 1
            return self.inputs[index] + type(self).count, int(self.targets[index])

    with pytest.raises(DataError, match=r"train: a sample differs each time it is read"):
        load("train", Own(), memory=GB, workers=0)


def test_augmentation_gives_the_same_bits_with_any_number_of_loaders(tmp_path: Path) -> None:
    found = []
    for loaders in (0, 2):
        exp = experiment(
            tmp_path / str(loaders),
            dataset={"train": Noisy("torch"), "test": Points()},
            loaders=loaders,
            steps=4,
        )
        assert not run(exp).failed
        found.append((states(exp), exp.frame()))
    assert found[0][0] == found[1][0]
    assert found[0][1].equals(found[1][1])


def test_what_is_ablated_of_streamed_data_is_the_same_with_any_number_of_loaders(tmp_path: Path) -> None:
    found = []
    for loaders in (0, 2):
        data = {"train": Noisy("torch"), "test": Points()}
        design = [SubsetSamples(0.8), AblateFeatures(Slices((0, 2)), "permute"), AblateFeatures(Slices(1))]
        exp = experiment(tmp_path / str(loaders), design, dataset=data, loaders=loaders, steps=3)
        assert not run(exp).failed
        found.append((states(exp), exp.frame().to_dicts()))
    assert found[0] == found[1]


def test_streaming_runs_no_code_that_the_key_misses(folder: Path) -> None:
    assert experiment(folder, dataset=(Points(), Points()), memory=1).audit() == []


def test_streamed_and_held_data_give_the_same_bits(tmp_path: Path) -> None:
    held = experiment(tmp_path / "held", dataset=(Points(), Points()))
    streamed = experiment(tmp_path / "streamed", dataset=(Points(), Points()), memory=1)
    for exp in (held, streamed):
        run(exp)
    assert isinstance(streamed.work.splits["train"], Streamed)
    assert held[0].key == streamed[0].key
    assert states(held) == states(streamed)


@pytest.mark.parametrize("kind", ["dict", "nested", "words"])
def test_any_nesting_trains_under_an_objective(kind: str, folder: Path) -> None:
    def objective(model: nn.Module, batch: Any) -> torch.Tensor:
        inputs = batch["x"][0] if isinstance(batch["x"], list | tuple) else batch["x"]
        assert len(batch.get("name", inputs)) == len(inputs)
        return nn.functional.cross_entropy(model(inputs), batch["y"])

    exp = experiment(folder, dataset=(Points(kind), Points(kind)), objective=objective)
    assert not run(exp).failed
    assert exp.results()["test/loss"].null_count() == 0
    assert "test/accuracy" not in exp.results().columns


def test_a_single_data_set_is_split_by_the_split_stream() -> None:
    data = Points(size=20)
    splits = named_splits(data, test_fraction=0.25, seed=4)
    train, test = splits["train"], splits["test"]
    assert isinstance(train, Subset)
    assert isinstance(test, Subset)
    assert sorted([*train.indices, *test.indices]) == list(range(20))
    assert len(test.indices) == 5
    drawn = torch.randperm(20, generator=generator(4, "split")).tolist()
    assert sorted(drawn[:5]) == list(test.indices)
    other = named_splits(data, test_fraction=0.25, seed=5)["test"]
    assert list(other.indices) != list(test.indices)  # type: ignore[attr-defined]


def test_splits_of_any_name_are_evaluated(folder: Path) -> None:
    exp = experiment(folder, dataset={**POINTS, "ood": Points()})
    run(exp)
    assert {"train/loss", "test/loss", "ood/loss", "ood/accuracy"} <= set(exp.results().columns)


def test_evaluation_is_weighted_by_samples(folder: Path) -> None:
    """1,100 samples are two batches of evaluation, of unequal size; an own objective averages each."""
    data = TensorDataset(torch.randn(1100, 4, generator=generator(0, "x")), torch.arange(1100) % 3)

    def objective(model: nn.Module, batch: Any) -> torch.Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    own = experiment(folder, dataset=(data, data), objective=objective, steps=1)
    named = experiment(folder, dataset=(data, data), steps=1)
    for exp in (own, named):
        run(exp)
    assert own.results()["test/loss"][0] == pytest.approx(named.results()["test/loss"][0], rel=1e-5)


def test_map_tensors_keeps_the_nesting() -> None:
    tree = {"a": Pair(torch.zeros(2), [torch.ones(1), "word"])}
    mapped = map_tensors(lambda t: t + 1, tree)
    assert type(mapped["a"]) is Pair
    assert mapped["a"].inputs.tolist() == [1, 1]
    assert mapped["a"].targets[1] == "word"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ([("a", 1)] * 3, r"a sample holds no tensor|cannot be put into a batch"),
        (
            [(torch.zeros(2), 0), (torch.zeros(3), 1)],
            "train: a sample of type tuple cannot be put into a batch",
        ),
        ([(object(), 0)] * 3, "train: a sample of type tuple cannot be put into a batch"),
        ([None] * 3, "train: a sample of type NoneType cannot be put into a batch"),
    ],
)
def test_samples_that_make_no_batch_are_refused(wrong: Any, told: str) -> None:
    if "holds no tensor" in told:
        wrong = ["word"] * 3
    with pytest.raises(DataError, match=told):
        load("train", wrong, memory=GB, workers=0)

"""Interventions on the batch: deficits, augmentation, noise; each equals a loop written by hand."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from intervention_cases import IMAGES, WINDOW, Net, assert_equals_by_hand, experiment, jittered
from torch import nn
from torch.utils.data import Dataset

from learning_cases import QUIET, Stochastic, run, trained, written
from paribus import Experiment
from paribus.engine.training.sites import edited_batch
from paribus.errors import DataError, FingerprintError, LevelError
from paribus.identity import derive_seed, generator
from paribus.interventions import (
    BlurInputs,
    PerturbInputs,
    ShuffleTargets,
    TransformBatch,
)

Batch = tuple[torch.Tensor, torch.Tensor]


def augmented(batch: Batch, step: int) -> Batch:
    torch.manual_seed(derive_seed(0, "augment", "TransformBatch", 2, step))
    changed: Batch = jittered(batch)
    return changed


def noisy(batch: Batch, step: int) -> Batch:
    images, targets = batch
    drawn = torch.randn(images.shape, generator=generator(3, "PerturbInputs", step, "0"))
    return images + 0.5 * drawn, targets


def shuffled(batch: Batch, step: int) -> Batch:
    order = torch.randperm(16, generator=generator(0, "ShuffleTargets", step))
    rank = order.sort().values
    assert rank.tolist() == list(range(16))
    return batch[0], batch[1][order]


def half_shuffled(batch: Batch, step: int) -> Batch:
    images, targets = batch
    moved = torch.randperm(16, generator=generator(1, "ShuffleTargets", step))[:8]
    changed = targets.clone()
    for place, source in zip(sorted(moved.tolist()), moved.tolist(), strict=True):
        changed[place] = targets[source]
    return images, changed


def flipped(batch: Any) -> Any:
    return batch[0].flip(-1), batch[1]


@pytest.mark.parametrize(
    ("intervention", "change"),
    [
        (TransformBatch(flipped, when=WINDOW), lambda batch, step: flipped(batch)),
        (TransformBatch(jittered, seed=2, when=WINDOW), augmented),
        (PerturbInputs(0.5, seed=3, when=WINDOW), noisy),
        (ShuffleTargets(when=WINDOW), shuffled),
        (ShuffleTargets(0.5, seed=1, when=WINDOW), half_shuffled),
    ],
    ids=written,
)
def test_equals_a_loop_written_by_hand(intervention: Any, change: Any, folder: Path) -> None:
    assert_equals_by_hand(folder, intervention, batch=change)


def anything(batch: Any) -> Any:
    return batch[0] + float(np.random.rand()) + random.random() + torch.rand(()), batch[1]


def test_what_a_function_draws_is_the_steps_own_and_moves_nothing_else() -> None:
    batch = torch.zeros(2, 1, 2, 2), torch.zeros(2)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.random(), np.random.rand(), torch.rand(())
    random.seed(1), np.random.seed(1), torch.manual_seed(1)

    def images(step: int, augment: int = 0, seed: int = 0) -> torch.Tensor:
        found: torch.Tensor = edited_batch(TransformBatch(anything, seed), batch, step, augment)[0]
        return found

    first = images(3)
    assert torch.equal(images(3), first)
    for other in (images(4), images(3, augment=1), images(3, seed=1)):
        assert not torch.equal(other, first)
    assert (random.random(), np.random.rand(), torch.rand(())) == before


def test_the_augment_seed_of_the_experiment_moves_what_is_drawn(folder: Path) -> None:
    zero, one = (experiment(folder, TransformBatch(jittered), seed=seed) for seed in (0, 1))
    assert zero[0].configuration.seeds.augment != one[0].configuration.seeds.augment
    assert trained(zero.work, zero[0].configuration) != trained(one.work, one[0].configuration)


@given(sigma=st.floats(0.05, 3), seed=st.integers(0, 20))
def test_blurred_images_keep_their_mean_where_borders_do_not_matter(sigma: float, seed: int) -> None:
    images = torch.zeros(2, 3, 31, 31)
    images[:, :, 15, 15] = torch.rand(2, 3, generator=generator(seed, "test"))
    blurred, _ = BlurInputs(sigma).edit((images, None), 0)
    assert torch.allclose(blurred.sum((-1, -2)), images.sum((-1, -2)), atol=1e-5)
    assert torch.allclose(blurred, blurred.mT, atol=1e-6), "as wide as high"
    assert (blurred.amax((-1, -2)) <= images.amax((-1, -2)) + 1e-6).all()


def test_a_constant_image_is_not_changed_by_a_blur_and_a_point_becomes_a_gaussian() -> None:
    constant = torch.full((1, 1, 5, 5), 2.0)
    assert torch.allclose(BlurInputs(2.0).edit((constant, None), 0)[0], constant)
    point = torch.zeros(1, 1, 15, 15)
    point[..., 7, 7] = 1
    blurred = BlurInputs(1.0).edit((point, None), 0)[0]
    assert (blurred[..., 7, 8] / blurred[..., 7, 7]).item() == pytest.approx(np.exp(-0.5), rel=1e-5)


@given(share=st.floats(0, 1), count=st.integers(1, 40), step=st.integers(0, 99))
def test_shuffled_targets_are_the_same_targets_and_no_more_than_the_share_moves(
    share: float, count: int, step: int
) -> None:
    targets = torch.arange(count)
    _, changed = ShuffleTargets(share).edit((torch.zeros(count), targets), step)
    assert changed.sort().values.tolist() == targets.tolist()
    assert (changed != targets).sum() <= round(share * count)


class Named(Dataset[dict[str, torch.Tensor]]):
    """Samples as dictionaries."""

    def __len__(self) -> int:
        return 48

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        images, targets = IMAGES["train"].tensors
        return {"pixels": images[index], "label": targets[index]}


def named_loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return nn.functional.cross_entropy(model(batch["pixels"]), batch["label"])


@pytest.mark.parametrize(
    "intervention",
    [PerturbInputs(0.1, key="pixels"), BlurInputs(1.0, key="pixels"), ShuffleTargets(key="label")],
    ids=written,
)
def test_parts_of_a_dictionary_are_changed_by_name(intervention: Any, folder: Path) -> None:
    exp = Experiment(
        Net(),
        {"train": Named()},
        intervention,
        objective=named_loss,
        steps=2,
        batch_size=16,
        store=folder,
        logger=QUIET,
    )
    control = exp[0].configuration
    run(exp)
    assert exp[0].status == "done"
    assert trained(exp.work, control) != trained(exp.work, experiment(folder)[0].configuration)


@pytest.mark.parametrize(
    ("intervention", "told"),
    [
        (PerturbInputs(0.1, key="pixels"), r"PerturbInputs: key='pixels' is no part of the batch \(0, 1\)"),
        (PerturbInputs(0.1, key=2), r"PerturbInputs: key=2 is no part of the batch \(0, 1\)"),
        (PerturbInputs(0.1, key=1), "part 1 is a tensor of torch.int64; expected a floating tensor"),
        (ShuffleTargets(key=5, when=(3, 4)), "ShuffleTargets: key=5 is no part of the batch"),
        (TransformBatch(print), "TransformBatch: print returned None; return the batch"),
    ],
)
def test_what_cannot_be_changed_is_refused_before_training(
    intervention: Any, told: str, folder: Path
) -> None:
    exp = experiment(folder, [intervention])
    with pytest.raises(DataError, match=told):
        run(exp)
    assert exp.plan().cached == 0


def test_what_is_no_image_cannot_be_blurred(folder: Path) -> None:
    points = {"train": torch.utils.data.TensorDataset(torch.zeros(48, 4), torch.zeros(48).long())}
    exp = experiment(folder, [BlurInputs(1.0)], dataset=points, model=Stochastic())
    with pytest.raises(DataError, match=r"shape \(16, 4\); expected images \(batch, …, height, width\)"):
        run(exp)


def test_an_error_in_a_function_fails_its_learner_and_no_other(folder: Path) -> None:
    exp = experiment(folder, TransformBatch(flipped) + TransformBatch(broken))
    run(exp)
    assert [learner.status for learner in exp] == ["done", "failed"]


def broken(batch: Any) -> Any:
    raise ValueError("broken")


def test_a_functions_code_and_closure_count_and_what_has_no_identity_is_refused(folder: Path) -> None:
    def shifted(by: object) -> Any:
        return lambda batch: (batch[0] + by, batch[1])

    def key(function: Any) -> str:
        return experiment(folder, TransformBatch(function))[0].key

    assert key(shifted(1.0)) == key(shifted(1.0)) != key(shifted(2.0))
    assert key(lambda batch: batch) != key(lambda batch: list(batch))
    with pytest.raises(FingerprintError, match="by"):
        key(shifted(torch.Generator()))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: TransformBatch("blur"), "TransformBatch: 'blur' cannot be called; give a function"),
        (lambda: TransformBatch(flipped, seed=-1), "TransformBatch: seed=-1 is no whole number"),
        (lambda: PerturbInputs(None), "PerturbInputs: epsilon=None is no number"),
        (lambda: PerturbInputs(0.1, key=0.5), "PerturbInputs: key=0.5 names no part of a batch"),
        (lambda: BlurInputs(-1.0), "BlurInputs: sigma=-1.0 is negative"),
        (lambda: BlurInputs(float("inf")), "BlurInputs: sigma=inf"),
        (lambda: ShuffleTargets(2), "ShuffleTargets: share=2 is no share"),
    ],
)
def test_wrong_values_are_refused_where_they_are_written(wrong: Any, told: str) -> None:
    with pytest.raises(LevelError, match=told):
        wrong()

from __future__ import annotations

import doctest
import math
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import paribus.datasets
from paribus.datasets import blobs, digits, mnist, synthetic_regression
from paribus.errors import DataError


def test_digits_have_their_documented_sizes() -> None:
    data = digits()
    images, labels = data["train"].tensors
    assert list(data) == ["train", "test"]
    assert images.shape == (1437, 1, 28, 28)
    assert data["test"].tensors[0].shape == (360, 1, 28, 28)
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert (images.min(), images.max()) == (0, 1)


def test_digits_are_the_raw_ones_enlarged_three_times_with_a_border_of_two() -> None:
    for split, raw in digits(size=8).items():
        images = digits()[split].tensors[0]
        assert torch.equal(images[:, :, 2:-2:3, 2:-2:3], raw.tensors[0])
        assert torch.equal(images[:, :, 4:-2:3, 4:-2:3], raw.tensors[0])
        assert images.sum() == images[:, :, 2:-2, 2:-2].sum()


def test_the_split_of_digits_is_stratified() -> None:
    data = digits()
    train, test = (torch.bincount(data[split].tensors[1], minlength=10) for split in ("train", "test"))
    assert ((test - 0.2 * (train + test)).abs() <= 1).all()


def test_the_split_of_digits_is_a_partition_fixed_by_its_seed() -> None:
    first, again, other = digits(size=8), digits(size=8), digits(size=8, seed=1)
    assert torch.equal(first["test"].tensors[0], again["test"].tensors[0])
    assert not torch.equal(first["test"].tensors[0], other["test"].tensors[0])
    for data in (first, other):
        whole = torch.cat([data["train"].tensors[0], data["test"].tensors[0]])
        assert len(whole.unique(dim=0)) == 1797


def test_the_split_of_digits_is_the_same_on_every_day() -> None:
    assert digits()["test"].tensors[1][:12].tolist() == [1, 3, 4, 5, 3, 4, 7, 0, 6, 0, 0, 7]


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(10, 200), classes=st.integers(1, 6), fraction=st.floats(0.1, 0.9), seed=st.integers(0, 99)
)
def test_a_split_takes_the_same_share_of_each_class(n: int, classes: int, fraction: float, seed: int) -> None:
    data = blobs(n=n, classes=classes, test_fraction=fraction, seed=seed)
    train, test = (torch.bincount(data[split].tensors[1], minlength=classes) for split in ("train", "test"))
    assert int((train + test).sum()) == n
    assert int(test.sum()) == math.ceil(n * fraction)
    assert ((test - math.ceil(n * fraction) / n * (train + test)).abs() <= 1).all()


@pytest.mark.parametrize("draw", [blobs, synthetic_regression])
def test_generated_sets_are_functions_of_their_seed(draw) -> None:
    one, same, other = draw(seed=3), draw(seed=3), draw(seed=4)
    assert all(torch.equal(a, b) for a, b in zip(one["train"].tensors, same["train"].tensors, strict=True))
    assert not torch.equal(one["train"].tensors[0], other["train"].tensors[0])


def test_a_regression_without_noise_is_linear() -> None:
    inputs, targets = synthetic_regression(noise=0.0)["train"].tensors
    residual = torch.linalg.lstsq(inputs, targets).solution
    torch.testing.assert_close(inputs @ residual, targets, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: digits(size=7), "digits: got size=7, expected at least 8"),
        (lambda: digits(test_fraction=0), "digits: test_fraction=0 of 1797 samples"),
        (lambda: digits(test_fraction=1.5), "digits: test_fraction=1.5"),
        (lambda: blobs(n=1), "blobs: test_fraction=0.25 of 1 samples"),
        (lambda: synthetic_regression(n=0), "synthetic_regression: test_fraction=0.25 of 0 samples"),
    ],
)
def test_an_empty_split_is_refused(wrong, message) -> None:
    with pytest.raises(DataError, match=message):
        wrong()


def test_mnist_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mnist: found no MNIST in .* MNIST/raw"):
        mnist(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_mnist_opens_a_folder_that_has_it(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, n in (("train", 3), ("t10k", 2)):
        images = struct.pack(">IIII", 0x803, n, 28, 28) + bytes([255]) * (n * 28 * 28)
        labels = struct.pack(">II", 0x801, n) + bytes(range(n))
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(images)
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)
    data = mnist(tmp_path)
    assert {split: len(dataset) for split, dataset in data.items()} == {"train": 3, "test": 2}
    image, label = data["train"][2]
    assert torch.equal(image, torch.ones(1, 28, 28))
    assert label == 2


def test_the_examples_of_the_docstrings_run() -> None:
    assert doctest.testmod(paribus.datasets).failed == 0

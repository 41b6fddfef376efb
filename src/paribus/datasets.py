"""Small data to run on: embedded digits, generated sets, and MNIST from a folder that has it.

Generated and split data are pure functions of their arguments: they are drawn by NumPy's `RandomState`, whose
streams are frozen, because the content of the data is part of a learner's identity.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, TensorDataset

from paribus.errors import DataError


def digits(size: int = 28, test_fraction: float = 0.2, seed: int = 0) -> dict[str, TensorDataset]:
    """Load scikit-learn's handwritten digits: 1797 grey images of ten classes, split and stratified by class.

    An image of 8x8 is enlarged by the greatest whole factor that fits, each pixel repeated, and centred on
    zeros: 28 is three times 8 with a border of 2, as MNIST has a border. `size=8` gives the raw images.

    Args:
        size: Height and width of the images, at least 8.
        test_fraction: Share of the images in "test": 0.2 gives 1437 to train and 360 to test.
        seed: Seed of the split.

    Returns:
        "train" and "test": images (n, 1, size, size) float32 in [0, 1], and labels (n,) int64.

    Example:
        >>> images, labels = digits()["train"].tensors
        >>> images.shape, labels.dtype
        (torch.Size([1437, 1, 28, 28]), torch.int64)

    Raises:
        DataError: `size` is below 8, or `test_fraction` leaves a split empty.

    Source:
        Alpaydin and Kaynak, "Optical recognition of handwritten digits", UCI repository, 1998; its test part.
    """
    from sklearn.datasets import load_digits

    if size < 8:
        raise DataError(
            f"digits: got size={size!r}, expected at least 8, the size of the raw images; give size=8"
        )
    raw, labels = load_digits(return_X_y=True)
    scale, border = divmod(size, 8)
    images = raw.reshape(-1, 1, 8, 8).repeat(scale, axis=2).repeat(scale, axis=3) / 16
    before, after = border // 2, border - border // 2
    images = np.pad(images, ((0, 0), (0, 0), (before, after), (before, after)))
    return _split("digits", images, labels, test_fraction, seed)


def blobs(
    n: int = 512, features: int = 2, classes: int = 3, test_fraction: float = 0.25, seed: int = 0
) -> dict[str, TensorDataset]:
    """Draw points around a centre for each class: a classification task that trains in no time.

    Args:
        n: Points in both splits together; the classes are as even as they can be.
        features: Numbers in a point.
        classes: Number of classes; their centres are standard normal times 3, the points' spread is 1.
        test_fraction: Share of the points in "test".
        seed: Seed of centres, points and split.

    Returns:
        "train" and "test": points (n, features) float32, and labels (n,) int64.

    Example:
        >>> points, labels = blobs(n=40)["test"].tensors
        >>> points.shape, labels.unique().tolist()
        (torch.Size([10, 2]), [0, 1, 2])

    Raises:
        DataError: A split is empty.
    """
    random = np.random.RandomState(seed)
    centres = 3 * random.standard_normal((classes, features))
    labels = np.arange(n) % classes
    points = centres[labels] + random.standard_normal((n, features))
    return _split("blobs", points, labels, test_fraction, seed)


def synthetic_regression(
    n: int = 512, features: int = 8, noise: float = 0.1, test_fraction: float = 0.25, seed: int = 0
) -> dict[str, TensorDataset]:
    """Draw a linear regression: standard normal inputs and weights, and normal noise on the targets.

    Args:
        n: Samples in both splits together.
        features: Numbers in an input.
        noise: Standard deviation of the noise.
        test_fraction: Share of the samples in "test".
        seed: Seed of weights, inputs, noise and split.

    Returns:
        "train" and "test": inputs (n, features) float32, and targets (n, 1) float32.

    Example:
        >>> inputs, targets = synthetic_regression(n=40)["train"].tensors
        >>> inputs.shape, targets.shape
        (torch.Size([30, 8]), torch.Size([30, 1]))

    Raises:
        DataError: A split is empty.
    """
    random = np.random.RandomState(seed)
    weights = random.standard_normal((features, 1)) / np.sqrt(features)
    inputs = random.standard_normal((n, features))
    # Not `@`: the last bits of a matrix product depend on the machine, and bits are identity.
    signal = (inputs.T * weights).sum(axis=0)
    targets = signal[:, None] + noise * random.standard_normal((n, 1))
    return _split("synthetic_regression", inputs, targets, test_fraction, seed)


def mnist(folder: Path | str) -> dict[str, Dataset[Any]]:
    """Open torchvision's MNIST in a folder that has it; nothing is downloaded.

    Args:
        folder: The `root` that torchvision was given: the files lie in `folder/MNIST/raw`.

    Returns:
        "train" (60000) and "test" (10000): images (1, 28, 28) float32 in [0, 1], and labels int.

    Raises:
        DataError: torchvision is not installed, or the files are not there.
    """
    try:
        from torchvision.datasets import MNIST
        from torchvision.transforms import ToTensor
    except ImportError as error:
        raise DataError("mnist: torchvision is not installed; pip install 'paribus[examples]'") from error
    try:
        return {
            split: MNIST(str(folder), train=split == "train", download=False, transform=ToTensor())
            for split in ("train", "test")
        }
    except RuntimeError as error:
        raise DataError(
            f"mnist: found no MNIST in {str(folder)!r}, expected its files in MNIST/raw below it; "
            "fetch them once with torchvision.datasets.MNIST(folder, download=True)"
        ) from error


def _split(
    name: str, inputs: NDArray[Any], targets: NDArray[Any], test_fraction: float, seed: int
) -> dict[str, TensorDataset]:
    """Split at random, in equal shares of each class where targets are labels."""
    n = len(inputs)
    n_test = math.ceil(n * test_fraction)
    if not 0 < n_test < n:
        raise DataError(
            f"{name}: test_fraction={test_fraction!r} of {n} samples leaves {n - n_test} to train "
            f"and {n_test} to test, expected some in each; give more samples, or a fraction such as 0.2"
        )
    shuffled = np.random.RandomState(seed).permutation(n)
    classified = np.issubdtype(targets.dtype, np.integer)
    # Evenly spaced places in the order of the labels take the same share of each class, give or take one.
    ordered = shuffled[np.argsort(targets[shuffled], kind="stable")] if classified else shuffled
    chosen = np.zeros(n, dtype=bool)
    chosen[ordered[(np.arange(n_test) * n + n // 2) // n_test]] = True
    kind = torch.int64 if classified else torch.float32
    return {
        split: TensorDataset(
            torch.from_numpy(inputs[part]).to(torch.float32), torch.from_numpy(targets[part]).to(kind)
        )
        for split, part in (("train", ~chosen), ("test", chosen))
    }

"""Small data to run on: embedded digits, generated sets, and MNIST from a folder that has it.

Generated and split data are pure functions of their arguments: they are drawn by NumPy's `RandomState`, whose
streams are frozen, because the content of the data is part of a learner's identity.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, TensorDataset

from paribus.errors import DataError, suggest

if TYPE_CHECKING:
    import polars as pl


@final
class FrameDataset(Dataset[Any]):
    """A table as a data set: a sample is a row of numbers ``(columns,)`` float32, and its label.

    Numbers and booleans are one input each. A column of words is a group of inputs, one for each word, as in
    ``"sex=female"``; where the column is ablated, its group follows.

    Args:
        frame: A polars frame, or whatever polars makes one of: a dict of columns, a pandas or arrow table; a
            CSV or Parquet file.
        label: Name of the column of labels: floats are targets to regress on, anything else is classes.
        like: The data set whose columns, words and classes this has too, as ``test`` has those of ``train``.

    Attributes:
        columns: The names of the inputs.
        classes: The labels that the numbers 0, 1, … of ``tensors`` stand for; empty where they are floats.
        tensors: Inputs ``(samples, columns)`` float32, and labels ``(samples,)`` int64 or float32.

    Raises:
        DataError: There is no such column, a value is missing, or a column is neither numbers nor words.

    Example:
        >>> table = FrameDataset({"age": [22, 38], "sex": ["male", "female"], "alive": [0, 1]}, label="alive")
        >>> table.columns, table[1]
        (('age', 'sex=female', 'sex=male'), (tensor([38.,  1.,  0.]), tensor(1)))
    """

    def __init__(self, frame: Any, label: str, *, like: FrameDataset | None = None) -> None:
        table = _table(frame)
        if label not in table.columns:
            raise DataError(f"FrameDataset: label={label!r} is no column {suggest(label, table.columns)}")
        encoded = dict(part for series in table.drop(label) for part in _encoded(series, like))
        self.columns: tuple[str, ...] = tuple(encoded) if like is None else like.columns
        for name in self.columns:
            if name not in encoded:
                raise DataError(f"FrameDataset: there is no column {name!r}, which the other has; add it")
        self.classes: tuple[Any, ...] = () if like is None else like.classes
        values = table[label]
        _check_complete(values)
        if values.dtype.is_float():
            labels = torch.tensor(values.to_list(), dtype=torch.float32)
        else:
            self.classes = self.classes or tuple(values.unique().sort().to_list())
            labels = torch.tensor([_class_of(value, label, self.classes) for value in values])
        inputs = np.stack([encoded[name] for name in self.columns], axis=1) if self.columns else None
        if inputs is None:
            raise DataError(f"FrameDataset: the table has no column beside {label!r}; give it inputs")
        self.tensors = torch.from_numpy(inputs), labels

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.tensors[0][index], self.tensors[1][index]


def _table(frame: Any) -> pl.DataFrame:
    import polars as pl

    match frame:
        case pl.DataFrame():
            return frame
        case pl.LazyFrame():
            return frame.collect()
        case str() | Path():
            return pl.read_parquet(frame) if str(frame).endswith(".parquet") else pl.read_csv(frame)
        case _:
            return pl.DataFrame(frame)


def _encoded(series: pl.Series, like: FrameDataset | None) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the inputs that a column becomes, by name."""
    import polars as pl

    _check_complete(series)
    name = series.name
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        yield name, series.cast(pl.Float32).to_numpy()
        return
    if series.dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise DataError(
            f"FrameDataset: column {name!r} is of {series.dtype}, expected numbers, booleans or words; "
            "cast it, or drop it"
        )
    values = series.cast(pl.String).to_numpy()
    own = sorted(set(values))
    known = own if like is None else [n.partition("=")[2] for n in like.columns if n.startswith(f"{name}=")]
    for word in own:
        if word not in known:
            raise DataError(
                f"FrameDataset: column {name!r} has {word!r}, and like= knows {', '.join(known)}; "
                "make a data set of the whole table, and split that"
            )
    for word in known:
        yield f"{name}={word}", (values == word).astype(np.float32)


def _check_complete(series: pl.Series) -> None:
    if series.null_count():
        raise DataError(
            f"FrameDataset: {series.null_count()} values of column {series.name!r} are missing; "
            "fill them (frame.fill_null(…)) or drop the rows (frame.drop_nulls())"
        )


def _class_of(value: object, label: str, classes: tuple[Any, ...]) -> int:
    if value not in classes:
        raise DataError(f"FrameDataset: the label {label!r} is {value!r}, expected one of {classes}")
    return classes.index(value)


def passengers(n: int = 1309, seed: int = 0) -> pl.DataFrame:
    """Draw a table of passengers of a sinking ship, shaped like that of the Titanic, with planted effects.

    Women, children and the first class survive: the odds have ``sex`` (strong), ``pclass`` and ``age``
    (moderate), and a large family on board (weak, against); ``fare`` follows the class and has nothing of its
    own, ``embarked`` is noise.

    Args:
        n: Rows.
        seed: Seed of all draws.

    Returns:
        ``pclass`` 1 to 3, ``sex``, ``age`` in years, ``sibsp`` and ``parch`` (siblings and spouses, parents
        and children on board), ``fare`` in pounds, ``embarked`` (C, Q or S), ``survived`` 0 or 1.

    Example:
        >>> passengers(100).columns
        ['pclass', 'sex', 'age', 'sibsp', 'parch', 'fare', 'embarked', 'survived']
    """
    import polars as pl

    random = np.random.RandomState(seed)
    pclass = 1 + np.searchsorted([0.25, 0.46], random.random_sample(n))
    female = random.random_sample(n) < np.array([0.44, 0.38, 0.30])[pclass - 1]
    age = np.clip(random.normal(44 - 6 * pclass, 13, n), 1, 80).round()
    sibsp, parch = random.poisson(0.5, n), random.poisson(0.4, n)
    fare = (np.array([60.0, 20.0, 10.0])[pclass - 1] * np.exp(random.normal(0, 0.4, n))).round(2)
    embarked = np.array(["C", "Q", "S"])[np.searchsorted([0.2, 0.3], random.random_sample(n))]
    odds = 3.2 * female - 1.1 * (pclass - 2) - 0.05 * (age - 30) - 0.3 * (sibsp + parch) - 1.1
    survived = random.random_sample(n) < 1 / (1 + np.exp(-odds))
    return pl.DataFrame(
        {
            "pclass": pclass,
            "sex": np.where(female, "female", "male"),
            "age": age,
            "sibsp": sibsp,
            "parch": parch,
            "fare": fare,
            "embarked": embarked,
            "survived": survived.astype(np.int64),
        }
    )


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
    if size < 8:
        raise DataError(
            f"digits: got size={size!r}, expected at least 8, the size of the raw images; give size=8"
        )
    table = np.loadtxt(_digits_file(), delimiter=",")
    raw, labels = table[:, :-1], table[:, -1].astype(int)
    scale, border = divmod(size, 8)
    images = raw.reshape(-1, 1, 8, 8).repeat(scale, axis=2).repeat(scale, axis=3) / 16
    before, after = border // 2, border - border // 2
    images = np.pad(images, ((0, 0), (0, 0), (before, after), (before, after)))
    return _split("digits", images, labels, test_fraction, seed)


def _digits_file() -> Path:
    """Find the file in scikit-learn, which takes seconds to import."""
    found = find_spec("sklearn")
    folders = (found and found.submodule_search_locations) or ()
    for folder in folders:
        if (path := Path(folder, "datasets", "data", "digits.csv.gz")).is_file():
            return path
    raise DataError("digits: scikit-learn, which has the data, is not there; run pip install scikit-learn")


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

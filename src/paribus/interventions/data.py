"""Interventions on which samples there are, and on their labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, final

from paribus.errors import LevelError
from paribus.identity import derive_seed
from paribus.interventions.checks import check_count, check_share
from paribus.interventions.paths import label_path, leaf_at, with_leaf
from paribus.interventions.sites import DataIntervention
from paribus.interventions.splits import Split

if TYPE_CHECKING:
    import torch


@final
@dataclass(frozen=True)
class SubsetSamples(DataIntervention):
    """Train on a part of the training samples; other splits stay.

    Of one seed, a smaller part is contained in a larger one. The samples stay in the order of the data set.

    Attributes:
        fraction: Share of the samples to keep, above 0.
        indices: Instead of a share: the samples to keep.
        seed: Seed of the choice.

    Example:
        >>> SubsetSamples.make_variations(fraction=(0.1, 0.5, 1), seed=range(3)).axes["fraction"]
        (0.1, 0.5, 1)

    Raises:
        LevelError: The share is not in (0, 1], or an index is named twice or is that of no sample.
    """

    fraction: float = 1.0
    indices: tuple[int, ...] | None = None
    seed: int = 0
    null: ClassVar[Mapping[str, object]] = {"fraction": 1, "indices": None}

    def __post_init__(self) -> None:
        check_share("SubsetSamples", "fraction", self.fraction)
        check_count("SubsetSamples", "seed", self.seed)
        if self.fraction == 0:
            raise LevelError("SubsetSamples: fraction=0 leaves no sample; give a share above 0")
        if self.indices is not None:
            object.__setattr__(self, "indices", tuple(sorted(self.indices)))
            for index in self.indices:
                check_count("SubsetSamples", "indices", index)
            if len(set(self.indices)) != len(self.indices) or self.fraction != 1:
                raise LevelError(
                    "SubsetSamples: indices= names each sample once, and goes without fraction=; drop one"
                )
        object.__setattr__(self, "fraction", float(self.fraction))

    def edit(self, splits: Mapping[str, Split]) -> Mapping[str, Split]:
        """Return the splits with fewer training samples."""
        import torch

        train = splits["train"]
        if self.indices is not None:
            if self.indices and self.indices[-1] >= train.samples:
                raise LevelError(
                    f"SubsetSamples: {self.indices[-1]} is no sample of train, "
                    f"which has 0 to {train.samples - 1}; give one of those"
                )
            places = torch.tensor(self.indices, dtype=torch.int64)
        else:
            count = max(1, round(self.fraction * train.samples))
            places = _ranked(train.ids, self.seed, "SubsetSamples")[:count].sort().values
        return {**splits, "train": train.subset(places)}


@final
@dataclass(frozen=True)
class ImbalanceClasses(DataIntervention):
    """Train on classes of unequal size: of class k of K, the share ``ratio ** (k / (K - 1))`` is kept.

    Other splits stay. Of one seed, a smaller share is contained in a larger one.

    Attributes:
        ratio: Share of the last class that is kept, above 0; the first is kept whole.
        seed: Seed of the choice.
        label: Where the label is in a sample, as in ``"y"``; by default the last of a pair.

    Source:
        Cui et al., "Class-balanced loss based on effective number of samples", 2019: long-tailed data.

    Example:
        >>> ImbalanceClasses(ratio=0.01).null
        {'ratio': 1}

    Raises:
        LevelError: The ratio is not in (0, 1], or there are no classes.
    """

    ratio: float
    seed: int = 0
    label: str | None = None
    null: ClassVar[Mapping[str, object]] = {"ratio": 1}

    def __post_init__(self) -> None:
        check_share("ImbalanceClasses", "ratio", self.ratio)
        check_count("ImbalanceClasses", "seed", self.seed)
        if self.ratio == 0:
            raise LevelError("ImbalanceClasses: ratio=0 leaves a class empty; give a share above 0")
        object.__setattr__(self, "ratio", float(self.ratio))

    def edit(self, splits: Mapping[str, Split]) -> Mapping[str, Split]:
        """Return the splits with fewer training samples of later classes."""
        import torch

        train = splits["train"]
        labels = labels_of(train, self.label, "ImbalanceClasses")
        classes = int(labels.max()) + 1
        ranked = _ranked(train.ids, self.seed, "ImbalanceClasses")
        kept = []
        for number in range(classes):
            of_class = ranked[labels[ranked] == number]
            share = self.ratio ** (number / max(classes - 1, 1))
            kept.append(of_class[: math.ceil(share * len(of_class))])
        return {**splits, "train": train.subset(torch.cat(kept).sort().values)}


@final
@dataclass(frozen=True)
class FlipLabels(DataIntervention):
    """Give training samples a wrong class: symmetric label noise, fixed for each sample; other splits stay.

    Whether a sample is flipped, and to what, depends on the seed and on its place in the data alone: what is
    flipped at a rate is flipped, to the same class, at every larger one, and in every subset.

    Attributes:
        rate: Probability that a sample gets one of the other classes, all equally likely.
        seed: Seed of the noise.
        label: Where the label is in a sample, as in ``"y"``; by default the last of a pair.
        classes: Number of classes; by default as many as the training labels show.

    Example:
        >>> FlipLabels.make_variations(rate=(0.1, 0.2), seed=range(5)).axes["rate"]
        (0.1, 0.2)

    Raises:
        LevelError: The rate is no share, or there are no labels to flip.
    """

    rate: float
    seed: int = 0
    label: str | None = None
    classes: int | None = None
    null: ClassVar[Mapping[str, object]] = {"rate": 0}
    turn: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_share("FlipLabels", "rate", self.rate)
        check_count("FlipLabels", "seed", self.seed)
        if self.classes is not None:
            check_count("FlipLabels", "classes", self.classes, least=2)
        object.__setattr__(self, "rate", float(self.rate))

    def edit(self, splits: Mapping[str, Split]) -> Mapping[str, Split]:
        """Return the splits with noise on the training labels."""
        train = splits["train"]
        path = label_path(train.first, self.label, "FlipLabels")
        _check_classes(leaf_at(train.first, path), "FlipLabels")
        return {**splits, "train": train.mapped(_Flip(self, train, path))}


@final
@dataclass(frozen=True, eq=False)
class _Flip:
    """The labels of a batch with noise."""

    how: FlipLabels
    split: Split
    path: tuple[str | int, ...]

    def __call__(self, batch: Any, places: torch.Tensor) -> Any:
        import torch

        labels, ids = leaf_at(batch, self.path), self.split.ids[places].tolist()
        flipped, shift = (
            torch.tensor([_uniform(self.how.seed, f"FlipLabels {what}", i) for i in ids], dtype=torch.float64)
            for what in ("whether", "to")
        )
        others = self._classes - 1
        moved = (labels + 1 + (shift * others).long().clamp(max=others - 1).to(labels)) % self._classes
        return with_leaf(batch, self.path, torch.where(flipped < self.how.rate, moved, labels))

    @cached_property
    def _classes(self) -> int:
        return self.how.classes or int(labels_of(self.split, self.how.label, "FlipLabels").max()) + 1


def labels_of(split: Split, label: str | None, name: str) -> torch.Tensor:
    """Read the labels of a split, ``(samples,)`` integers.

    Raises:
        LevelError: They are no whole numbers, one for each sample.
    """
    import torch

    path = label_path(split.first, label, name)
    _check_classes(leaf_at(split.first, path), name)
    return torch.cat([leaf_at(batch, path) for batch in split.evaluation()])


def _check_classes(labels: Any, name: str) -> None:
    import torch

    if not isinstance(labels, torch.Tensor) or labels.is_floating_point() or labels.ndim != 1:
        shown = f"{tuple(labels.shape)} {labels.dtype}" if isinstance(labels, torch.Tensor) else repr(labels)
        raise LevelError(
            f"{name}: a batch of labels is {shown}, expected one whole number for each sample; give label="
        )


def _ranked(ids: torch.Tensor, seed: int, stream: str) -> torch.Tensor:
    """Return the places of samples in a random order of their names, ``(samples,)`` int64."""
    import torch

    ranks = torch.tensor([derive_seed(seed, stream, i) for i in ids.tolist()], dtype=torch.int64)
    return ranks.argsort(stable=True)


def _uniform(seed: int, stream: str, at: int) -> float:
    return derive_seed(seed, stream, at) / 2**63

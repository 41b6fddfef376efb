"""`AblateFeatures`: parts of the samples taken out, silenced or scrambled, before training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, final

from paribus.errors import LevelError, suggest
from paribus.identity import derive_seed, generator
from paribus.interventions.checks import check_count, check_number
from paribus.interventions.data import labels_of
from paribus.interventions.features.selectors import (
    NAME,
    Classes,
    Columns,
    Feature,
    Key,
    Samples,
    Selector,
    Slices,
    columns_named,
)
from paribus.interventions.features.sequences import Words
from paribus.interventions.paths import Path, leaf_at, leaves, with_leaf, without_key
from paribus.interventions.sites import DataIntervention
from paribus.interventions.splits import Split

if TYPE_CHECKING:
    import torch

MODES = ("drop", "zero", "mean", "permute", "resample", "noise", "mask")
_RANDOM = ("permute", "resample", "noise")
_FLOATING = ("mean", "noise")


@final
@dataclass(frozen=True)
class AblateFeatures(DataIntervention):
    """Train without a feature, or with one that says nothing; every split is changed in the same way.

    ``"drop"`` takes it out: where samples change their shape, the first layers are rebuilt for them, and
    drawn anew. The other modes leave shapes and weights: ``"zero"``; ``"mean"`` of each entry over the
    training samples; ``"permute"``: each sample has that of another one of its split; ``"resample"``: that
    of a training sample, drawn with replacement; ``"noise"``: normal, with the training samples' mean and
    deviation; ``"mask"``: a ``value``. What is drawn is fixed for each sample. A group is permuted and
    resampled as one.

    Attributes:
        features: The name or glob of a column of a table, or of a key of a sample; what the data set's own
            ``ablate_feature`` knows; ``Channels``, ``Patch``, ``Slices``, ``Tokens``, ``Words``, ``Key``,
            ``Classes`` or ``Samples``. A tuple of them is one group; ``None``: nothing is ablated.
        mode: One of the above.
        value: What ``"mask"`` puts in place: the number of a mask token, a shade of grey.
        seed: Of what is drawn.

    Example:
        >>> AblateFeatures.make_variations(features=("age", ("sibsp", "parch"))).axes["features"]
        ('age', ('sibsp', 'parch'))

    Raises:
        LevelError: A mode is unknown, or a feature cannot be ablated in it.
    """

    features: str | Feature | tuple[str | Feature, ...] | None = None
    mode: str = "drop"
    value: float = 0
    seed: int = 0
    null: ClassVar[Mapping[str, object]] = {"features": None}
    turn: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise LevelError(f"{NAME}: mode={self.mode!r} is no mode {suggest(str(self.mode), MODES)}")
        check_number(NAME, "value", self.value)
        check_count(NAME, "seed", self.seed)
        for feature in self.group:
            _check(feature, self.mode)
        group = self.group
        if all(isinstance(feature, str) for feature in group):
            group = tuple(sorted(set(group)))  # type: ignore[type-var]
        object.__setattr__(self, "features", group if len(group) > 1 else next(iter(group), None))
        # What a mode does not read is in no key.
        object.__setattr__(self, "seed", int(self.seed) if self.mode in _RANDOM else 0)
        object.__setattr__(self, "value", self.value if self.mode == "mask" else 0)

    @property
    def group(self) -> tuple[str | Feature, ...]:
        """The features, as a tuple."""
        given = self.features
        if given is None:
            return ()
        return tuple(given) if isinstance(given, tuple | list) else (given,)

    def edit(self, splits: Mapping[str, Split]) -> Mapping[str, Split]:
        """Return the splits without the features.

        Raises:
            LevelError: The data has no such feature; the near ones are listed.
        """
        for number, feature in enumerate(self.group):
            splits = self._without(feature, splits, number)
        return splits

    def _without(
        self, feature: str | Feature, splits: Mapping[str, Split], number: int
    ) -> Mapping[str, Split]:
        match feature:
            case Samples():
                return {**splits, "train": _without_samples(splits["train"], feature)}
            case Classes():
                return {name: _without_classes(split, feature) for name, split in splits.items()}
            case str():
                own = _by_the_data_set(splits, feature, self.mode)
                if own is not None:
                    return own
        selector = _selector(feature, splits["train"])
        statistics = _Statistics(splits["train"], selector)
        return {
            name: self._changed(_Part(self, selector, number, name, split, statistics))
            for name, split in splits.items()
        }

    def _changed(self, part: _Part) -> Split:
        split, selector = part.split, part.selector
        if isinstance(selector, Words):
            return split.mapped(_Reworded(part))
        if self.mode != "drop":
            return split.mapped(_Replaced(part))
        if isinstance(selector, Columns) and split.columns:
            names = (name for place, name in enumerate(split.columns) if place not in selector.places)
            return split.mapped(_Cut(part), tuple(names))
        return split.mapped(_Cut(part))


@final
@dataclass(frozen=True, eq=False)
class _Part:
    """One feature of one split.

    Attributes:
        how: The ablation.
        selector: The feature.
        number: Of the feature in its group.
        name: Of the split.
        split: As it is before.
        statistics: Of the training split.
    """

    how: AblateFeatures
    selector: Selector
    number: int
    name: str
    split: Split
    statistics: _Statistics

    @cached_property
    def path(self) -> Path:
        """Where the leaf is that it is a part of."""
        return self.selector.path(self.split.first)

    @cached_property
    def permutation(self) -> torch.Tensor:
        """Another place for each place of the split, ``(samples,)`` int64."""
        import torch

        draws = generator(self.how.seed, NAME, "permute", self.name)
        return torch.randperm(self.split.samples, generator=draws)


@final
@dataclass(frozen=True, eq=False)
class _Cut:
    """Batches without a feature."""

    part: _Part

    def __call__(self, batch: Any, places: torch.Tensor) -> Any:
        path, selector = self.part.path, self.part.selector
        if isinstance(selector, Key):
            if not path or len(leaf_at(batch, path[:-1])) == 1:
                raise LevelError(f"{NAME}: {selector} is all that a sample has; leave something")
            return without_key(batch, path)
        return with_leaf(batch, path, selector.rest(leaf_at(batch, path)))


@final
@dataclass(frozen=True, eq=False)
class _Reworded:
    """Batches in whose texts words are dropped or masked."""

    part: _Part

    def __call__(self, batch: Any, places: torch.Tensor) -> Any:
        path, words = self.part.path, self.part.selector
        assert isinstance(words, Words)  # so it was made
        texts, drop = leaf_at(batch, path), self.part.how.mode == "drop"
        return with_leaf(batch, path, words.rest(texts) if drop else words.masked(texts))


@final
@dataclass(frozen=True, eq=False)
class _Replaced:
    """Batches in which something else stands in a feature's place."""

    part: _Part

    def __call__(self, batch: Any, places: torch.Tensor) -> Any:
        import torch

        path, how = self.part.path, self.part.how
        leaf = leaf_at(batch, path)
        mask = self.part.selector.mask(leaf)
        if how.mode in _FLOATING and not leaf.is_floating_point():
            raise LevelError(
                f"{NAME}: {self.part.selector} is of {leaf.dtype}, which has no mean; "
                "give mode='mask' or 'permute'"
            )
        return with_leaf(batch, path, torch.where(mask, self._other(leaf, places), leaf))

    def _other(self, leaf: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        import torch

        part, how = self.part, self.part.how
        match how.mode:
            case "zero" | "mask":
                return torch.tensor(how.value, dtype=leaf.dtype)
            case "mean":
                return part.statistics.mean.to(leaf.dtype)
            case "noise":
                ids = part.split.ids[places].tolist()
                noise = torch.stack([self._noise(leaf[0], index) for index in ids])
                return (part.statistics.mean + part.statistics.deviation * noise).to(leaf.dtype)
            case "permute":
                others: torch.Tensor = leaf_at(part.split.gather(part.permutation[places]), part.path)
                return others
        return self._resampled(places)

    def _noise(self, like: torch.Tensor, index: int) -> torch.Tensor:
        import torch

        draws = generator(self.part.how.seed, NAME, "noise", self.part.name, self.part.number, index)
        return torch.randn(like.shape, generator=draws, dtype=torch.float64)

    def _resampled(self, places: torch.Tensor) -> torch.Tensor:
        import torch

        part, train = self.part, self.part.statistics.train
        ids = part.split.ids[places].tolist()
        drawn = [derive_seed(part.how.seed, NAME, "resample", part.name, i) % train.samples for i in ids]
        others: torch.Tensor = leaf_at(train.gather(torch.tensor(drawn)), part.path)
        return others


@final
@dataclass(frozen=True, eq=False)
class _Statistics:
    """Mean and deviation of each entry of a leaf over the training samples, float64."""

    train: Split
    selector: Selector

    @cached_property
    def mean(self) -> torch.Tensor:
        """The mean, in the shape of a sample's leaf."""
        path = self.selector.path(self.train.first)
        sums = [leaf_at(batch, path).double().sum(0) for batch in self.train.evaluation()]
        mean: torch.Tensor = sum(sums[1:], start=sums[0]) / self.train.samples
        return mean

    @cached_property
    def deviation(self) -> torch.Tensor:
        """The standard deviation, in the shape of a sample's leaf."""
        path = self.selector.path(self.train.first)
        sums = [
            (leaf_at(batch, path).double() - self.mean).square().sum(0) for batch in self.train.evaluation()
        ]
        variance: torch.Tensor = sum(sums[1:], start=sums[0]) / self.train.samples
        return variance.sqrt()


def _check(feature: object, mode: str) -> None:
    if not isinstance(feature, str | Feature):
        raise LevelError(
            f"{NAME}: {feature!r} is no feature; expected a name, or Channels(0), Patch(…), Slices(…), "
            "Tokens(…), Words(…), Key(…), Classes(…) or Samples(…)"
        )
    if isinstance(feature, Feature) and feature.modes is not None and mode not in feature.modes:
        known = ", ".join(sorted(feature.modes))
        raise LevelError(f"{NAME}: {feature} cannot be ablated with mode={mode!r}; give one of {known}")


def _selector(feature: str | Feature, train: Split) -> Selector:
    """Read a name as columns or as a key, and slices of a table as columns."""
    if isinstance(feature, Slices) and train.columns and feature.axis in (0, -1):
        return Columns(feature.which, feature.at)  # type: ignore[arg-type]
    if isinstance(feature, Selector):
        return feature
    if train.columns:
        return Columns(columns_named(train.columns, feature))  # type: ignore[arg-type]
    paths = [".".join(map(str, path)) for path, _ in leaves(train.first)]
    if any(path == feature or path.startswith(f"{feature}.") for path in paths):
        return Key(feature)  # type: ignore[arg-type]
    raise LevelError(
        f"{NAME}: {feature!r} is no key of a sample {suggest(str(feature), paths)}, and the data has no "
        "columns and no ablate_feature() of its own; give FrameDataset(…), or a feature such as Channels(0)"
    )


def _by_the_data_set(splits: Mapping[str, Split], feature: str, mode: str) -> Mapping[str, Split] | None:
    """Let data sets that know how leave a feature out by themselves."""
    own = {name: split.ablated(feature) for name, split in splits.items()}
    found = {name: split for name, split in own.items() if split is not None}
    if not found:
        return None
    if len(found) < len(own) or mode != "drop":
        missing = ", ".join(name for name in own if name not in found)
        raise LevelError(
            f"{NAME}: {feature!r} is left out by the data set's own ablate_feature(), "
            + (f"which {missing} has not; give it one" if missing else "so mode= is not read; leave it out")
        )
    return found


def _without_samples(train: Split, samples: Samples) -> Split:
    import torch

    gone = torch.isin(train.ids, torch.tensor(samples.which))
    if int(gone.sum()) < len(samples.which):  # type: ignore[arg-type]
        raise LevelError(f"{NAME}: {samples} names samples that the {train.samples} of train do not have")
    return train.subset((~gone).nonzero().squeeze(1))


def _without_classes(split: Split, classes: Classes) -> Split:
    import torch

    labels = labels_of(split, classes.label, NAME)
    kept = (~torch.isin(labels, torch.tensor(classes.which))).nonzero().squeeze(1)
    if len(kept) in (0, len(labels)):
        known = ", ".join(map(str, sorted(set(labels.tolist()))))
        raise LevelError(f"{NAME}: {classes} means none or all of the classes of a split ({known})")
    return split.subset(kept)

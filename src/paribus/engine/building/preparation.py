"""The data of a learner: the splits of the experiment, changed as its configuration says."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self, final
from weakref import WeakKeyDictionary

import torch
import xxhash
from torch.utils.data import Subset

from paribus.engine.building.data import Changed, InMemory, Source, Streamed, ablates, drawing_from, without
from paribus.engine.building.nested import leaves_of, tensors_of
from paribus.engine.building.work import Work
from paribus.engine.learners.configuration import Configuration
from paribus.engine.learners.once import once
from paribus.errors import DataError, NoEffect
from paribus.identity import derive_seed
from paribus.interventions.features import AblateFeatures
from paribus.interventions.sites import DataIntervention
from paribus.interventions.splits import Change, Split

_HELD_BYTES = 2**30

_held: WeakKeyDictionary[Work, OrderedDict[bytes, Mapping[str, Source]]] = WeakKeyDictionary()


def prepared(work: Work, configuration: Configuration) -> Mapping[str, Source]:
    """Return the splits that a learner is trained and evaluated on; those used last are kept."""
    if not configuration.preparation:
        return work.splits
    held, digest = _held.setdefault(work, OrderedDict()), configuration.components["preparation"].digest
    if digest not in held:
        held[digest] = prepare(configuration.preparation, work.splits)
        while len(held) > 1 and sum(map(_size, held.values())) > _HELD_BYTES:
            held.popitem(last=False)
    held.move_to_end(digest)
    return held[digest]


def prepare(changes: Sequence[DataIntervention], splits: Mapping[str, Source]) -> Mapping[str, Source]:
    """Make changes of the data, one after another.

    Raises:
        DataError: One of them writes into what it was given.
        NoEffect: An ablation leaves every training sample as it is.
    """
    before, changed = _contents(splits), splits
    for change in changes:
        given, changed = changed, edited([change], changed)
        if isinstance(change, AblateFeatures) and change.group:
            _check_effect(change, given["train"], changed["train"])
    if _contents(splits) != before:
        raise DataError(
            f"{_names(changes)}: the data it was given is changed, and other learners train on it; "
            "return new tensors, as tensor.clone() makes"
        )
    return changed


def _check_effect(change: AblateFeatures, before: Source, after: Source) -> None:
    if not isinstance(before, InMemory) or not isinstance(after, InMemory):
        return  # what is streamed is not read for this
    if _contents({"train": before}) == _contents({"train": after}):
        raise NoEffect(
            f"AblateFeatures: {change.features} with mode={change.mode!r} leaves every training sample as it "
            "is; see whether it names what was meant, or leave it out"
        )


def edited(changes: Sequence[DataIntervention], splits: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the changed splits; what a change draws from a global generator is drawn from one seed."""
    for change in changes:
        with drawing_from(derive_seed(0, "preparation", type(change).__name__)):
            splits = change.edit(splits)
    return splits


def count_samples(
    changes: Sequence[DataIntervention],
    outlines: Mapping[str, Outline],
    splits: Callable[[], Mapping[str, Source]],
) -> int:
    """Count the training samples after changes of the data, which is read only where they must see it.

    Args:
        changes: What is done to the data.
        outlines: What is known of the splits.
        splits: Reads them.

    Raises:
        LevelError: A change names what the samples have not.
        DataError: No sample is left.
    """
    try:
        samples: int = edited(changes, outlines)["train"].samples
    except _NotReadError:
        samples = prepare(changes, splits())["train"].samples
    if samples == 0:
        raise DataError(f"{_names(changes)}: no training sample is left; keep at least one")
    return samples


def _names(changes: Sequence[DataIntervention]) -> str:
    return ", ".join(type(change).__name__ for change in changes)


class _NotReadError(Exception):
    """A change of the data must see more than the outline of it."""


@final
@dataclass(frozen=True, eq=False)
class Outline(Split):
    """A split of which the length and the first sample are looked at, and nothing else is read.

    Attributes:
        dataset: The data set.
        columns: The names of a table's inputs.
        kept: Where its samples were in the split as it was given; ``None``: there.
    """

    dataset: Any
    columns: tuple[str, ...] = ()
    kept: torch.Tensor | None = None

    @property
    def samples(self) -> int:
        """The number of samples."""
        return len(self.dataset)

    @property
    def ids(self) -> torch.Tensor:
        """Where each sample was in the split as it was given."""
        return torch.arange(self.samples) if self.kept is None else self.kept

    @once
    def first(self) -> Any:
        """A batch of the first sample."""
        return Streamed(self.dataset).first

    def gather(self, places: torch.Tensor) -> NoReturn:
        """Refuse: samples are not read."""
        raise _NotReadError

    def evaluation(self) -> NoReturn:
        """Refuse: samples are not read."""
        raise _NotReadError

    def subset(self, places: torch.Tensor) -> Self:
        """Return an outline of the samples at places."""
        return replace(self, dataset=Subset(self.dataset, places.tolist()), kept=self.ids[places])

    def mapped(self, change: Change, columns: tuple[str, ...] | None = None) -> Self:
        """Change the first sample, where that needs no other; so what names nothing is refused."""
        columns = self.columns if columns is None else columns
        changed = replace(self, dataset=Changed(self.dataset, change), columns=columns)
        try:
            _ = changed.first
        except _NotReadError:
            return replace(self, columns=columns)
        return changed

    def ablated(self, feature: str) -> Self | None:
        """Return an outline of the data set without the feature."""
        return replace(self, dataset=without(self.dataset, feature)) if ablates(self.dataset) else None

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _NotReadError(name)


def _contents(splits: Mapping[str, Source]) -> list[int]:
    """Hash what is held in memory, which the changes could write into."""
    held = (source for source in splits.values() if isinstance(source, InMemory))
    return [_hash(tensor) for source in held for tensor in tensors_of(source.tensors)]


def _hash(tensor: torch.Tensor) -> int:
    rows = tensor.detach().cpu().contiguous().reshape(-1)
    payload: Any = rows.view(torch.uint8).numpy() if rows.numel() else b""
    return xxhash.xxh3_64_intdigest(payload)


def _size(splits: Mapping[str, Source]) -> int:
    held = (source for source in splits.values() if isinstance(source, InMemory))
    return sum(t.numel() * t.element_size() for source in held for t in tensors_of(source.tensors))


def shapes_of(splits: Mapping[str, Source]) -> list[object]:
    """Return the shapes in a training sample: where these change, the model is fitted."""
    leaves = leaves_of(splits["train"].first)
    return [leaf.shape if isinstance(leaf, torch.Tensor) else None for leaf in leaves]

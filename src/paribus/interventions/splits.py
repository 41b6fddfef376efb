"""A split of the data, as a change of it sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import torch

Change = Callable[[Any, "torch.Tensor"], Any]


class Split(ABC):
    """One split; nothing of it is changed in place.

    A *batch* is what the collated samples are nested as: tensors ``(batch, …)``, lists of words.
    """

    @property
    @abstractmethod
    def samples(self) -> int:
        """The number of samples."""

    @property
    @abstractmethod
    def ids(self) -> torch.Tensor:
        """Where each sample was in the split as it was given, ``(samples,)`` int64: names that stay."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The names of a table's inputs, by their place in a sample; empty where the data is no table."""

    @property
    @abstractmethod
    def first(self) -> Any:
        """A batch of the first sample."""

    @abstractmethod
    def gather(self, places: torch.Tensor) -> Any:
        """Return a batch of the samples at places, ``(batch,)`` int64."""

    @abstractmethod
    def evaluation(self) -> Iterator[Any]:
        """Yield batches over the whole split in its own order."""

    @abstractmethod
    def subset(self, places: torch.Tensor) -> Self:
        """Return the split with the samples at places, ``(samples,)`` int64, and no others."""

    @abstractmethod
    def mapped(self, change: Change, columns: tuple[str, ...] | None = None) -> Self:
        """Return the split with each sample changed.

        Args:
            change: Given a batch and the places of its samples, ``(batch,)`` int64, it returns the batch to
                take instead; what becomes of a sample depends on no other sample of the batch.
            columns: The names of a table's inputs afterwards; ``None``: as they are.
        """

    @abstractmethod
    def ablated(self, feature: str) -> Self | None:
        """Return the split without a feature, where the data set has an ``ablate_feature``; else ``None``."""

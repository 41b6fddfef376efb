"""What a feature is: columns of a table, channels, patches, slices, a key, classes, samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, final

from paribus.errors import LevelError, suggest
from paribus.interventions.checks import check_count
from paribus.interventions.paths import Path, find, leaf_at, leaves

if TYPE_CHECKING:
    import torch

NAME = "AblateFeatures"


class Feature(ABC):  # noqa: B024  # its kinds have nothing in common but how they are told
    """What can be ablated: a part of each sample, or some of the samples. Subclasses are frozen dataclasses.

    Attributes:
        modes: The modes that it can be ablated in; ``None``: all.
    """

    modes: ClassVar[frozenset[str] | None] = None

    @final
    def __str__(self) -> str:
        given = [(f.name, getattr(self, f.name)) for f in fields(self)]  # type: ignore[arg-type]
        told = (f"{n}={getattr(v, '__name__', None) or repr(v)}" for n, v in given if v is not None)
        return f"{type(self).__name__}({', '.join(told)})"


class Selector(Feature):
    """A part of each sample.

    Subclasses have a field ``at``: the key of the leaf that it is a part of, as in ``"image"`` or
    ``"views.0"``; ``None``: the first one that fits.
    """

    at: str | None

    @abstractmethod
    def takes(self, leaf: Any) -> bool:
        """Say whether a leaf of a batch is one that this can be a part of."""

    @abstractmethod
    def mask(self, leaf: Any) -> Any:
        """Return what belongs to the feature, bool and broadcastable to the leaf ``(batch, …)``.

        Raises:
            LevelError: The leaf has no such part.
        """

    @abstractmethod
    def rest(self, leaf: Any) -> Any:
        """Return the leaf without the feature; its shape may be another.

        Raises:
            LevelError: The feature cannot be cut out, or nothing would be left.
        """

    @final
    def path(self, batch: Any) -> Path:
        """Return the path of the leaf in a batch.

        Raises:
            LevelError: There is no such leaf.
        """
        if self.at is not None:
            path = find(batch, self.at, NAME)
            if not self.takes(leaf_at(batch, path)):
                raise LevelError(
                    f"{NAME}: {self} can be no part of {self.at!r} of a sample; name another leaf"
                )
            return path
        for path, leaf in leaves(batch):
            if self.takes(leaf):
                return path
        raise LevelError(f"{NAME}: no leaf of a sample is one for {self}; name it with at=")


@final
@dataclass(frozen=True)
class Columns(Selector):
    """Inputs of a table, by place: what names of columns are read into."""

    places: tuple[int, ...]
    at: str | None = None

    def takes(self, leaf: Any) -> bool:
        """Any tensor ``(batch, …, inputs)``."""
        return is_tensor(leaf, 2)

    def mask(self, leaf: torch.Tensor) -> torch.Tensor:
        """Return the columns, ``(inputs,)``."""
        return _chosen(leaf, -1, self.places, self)

    def rest(self, leaf: torch.Tensor) -> torch.Tensor:
        """Return the other columns."""
        return _without(leaf, -1, self.mask(leaf), self)


@final
@dataclass(frozen=True)
class Slices(Selector):
    """Slices of a tensor along an axis of the sample: steps in time, bands of a spectrum, rows.

    Attributes:
        which: Places along the axis: a number, a tuple, or a range.
        axis: Of the sample, without the batch; negative ones count from the end.
        at: Key of the tensor; ``None``: the first.

    Example:
        >>> print(Slices(range(2, 4), axis=-1))
        Slices(which=(2, 3), axis=-1)
    """

    which: int | tuple[int, ...] | range
    axis: int = 0
    at: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "which", places_of("Slices", self.which))

    def takes(self, leaf: Any) -> bool:
        """Any tensor with such an axis."""
        return is_tensor(leaf, 1 + (self.axis + 1 if self.axis >= 0 else -self.axis))

    def mask(self, leaf: torch.Tensor) -> torch.Tensor:
        """Return the slices."""
        axis = self._axis(leaf)
        chosen = _chosen(leaf, axis, self.which, self)  # type: ignore[arg-type]
        return chosen.reshape(-1, *(1,) * (leaf.ndim - axis - 1))

    def rest(self, leaf: torch.Tensor) -> torch.Tensor:
        """Return the other slices."""
        axis = self._axis(leaf)
        return _without(leaf, axis, _chosen(leaf, axis, self.which, self), self)  # type: ignore[arg-type]

    def _axis(self, leaf: torch.Tensor) -> int:
        return self.axis + 1 if self.axis >= 0 else leaf.ndim + self.axis


@final
@dataclass(frozen=True)
class Channels(Selector):
    """Channels of images or signals ``(channels, …)``.

    Attributes:
        which: Numbers of the channels: one, or a tuple.
        at: Key of the tensor; ``None``: the first with an axis beside the channels.

    Example:
        >>> print(Channels(0))
        Channels(which=(0,))
    """

    which: int | tuple[int, ...]
    at: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "which", places_of("Channels", self.which))

    def takes(self, leaf: Any) -> bool:
        """Any tensor ``(batch, channels, …)``."""
        return is_tensor(leaf, 3)

    def mask(self, leaf: torch.Tensor) -> torch.Tensor:
        """Return the channels."""
        return Slices(self.which).mask(leaf)

    def rest(self, leaf: torch.Tensor) -> torch.Tensor:
        """Return the other channels."""
        return Slices(self.which).rest(leaf)


@final
@dataclass(frozen=True)
class Patch(Selector):
    """A rectangle of images ``(…, height, width)``, in all channels.

    Attributes:
        rows: First row, and the one after the last.
        columns: First column, and the one after the last.
        at: Key of the tensor; ``None``: the first with two axes.

    Example:
        >>> print(Patch(rows=(0, 4), columns=(0, 4)))
        Patch(rows=(0, 4), columns=(0, 4))
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    at: str | None = None
    modes: ClassVar[frozenset[str] | None] = frozenset(
        {"zero", "mean", "permute", "resample", "noise", "mask"}
    )

    def __post_init__(self) -> None:
        for name, (start, stop) in (("rows", self.rows), ("columns", self.columns)):
            check_count("Patch", name, start)
            check_count("Patch", name, stop, least=start + 1)

    def takes(self, leaf: Any) -> bool:
        """Any tensor ``(batch, …, height, width)``."""
        return is_tensor(leaf, 3)

    def mask(self, leaf: torch.Tensor) -> torch.Tensor:
        """Return the rectangle, ``(height, width)``."""
        import torch

        height, width = leaf.shape[-2:]
        if self.rows[1] > height or self.columns[1] > width:
            raise LevelError(
                f"{NAME}: {self} reaches beyond an image of {height} × {width}; give a smaller one"
            )
        mask = torch.zeros(height, width, dtype=torch.bool)
        mask[slice(*self.rows), slice(*self.columns)] = True
        return mask

    def rest(self, leaf: torch.Tensor) -> torch.Tensor:
        """Refuse: what is left is no rectangle."""
        raise LevelError(f"{NAME}: {self} cannot be cut out of an image; give mode='zero' or 'mean'")


@final
@dataclass(frozen=True)
class Key(Selector):
    """A whole leaf of a nested sample.

    Attributes:
        at: Its key, as in ``"image"`` or ``"views.0"``.

    Example:
        >>> print(Key("image"))
        Key(at='image')
    """

    at: str

    def takes(self, leaf: Any) -> bool:
        """Whatever is there."""
        return True

    def mask(self, leaf: torch.Tensor) -> torch.Tensor:
        """Return all of it."""
        import torch

        if not isinstance(leaf, torch.Tensor):
            raise LevelError(f"{NAME}: {self} is no tensor, and can only be dropped; give mode='drop'")
        return torch.ones((), dtype=torch.bool)

    def rest(self, leaf: Any) -> Any:
        """Refuse: the leaf goes as a whole, with its key."""
        raise LevelError(f"{NAME}: {self} has no rest")


@final
@dataclass(frozen=True)
class Classes(Feature):
    """All samples of some classes, which are left out of every split; the numbers of the others stay.

    Attributes:
        which: Numbers of the classes: one, or a tuple.
        label: Key of the label; ``None``: the last of a pair.

    Example:
        >>> print(Classes(3))
        Classes(which=(3,))
    """

    which: int | tuple[int, ...]
    label: str | None = None
    modes: ClassVar[frozenset[str] | None] = frozenset({"drop"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "which", places_of("Classes", self.which))


@final
@dataclass(frozen=True)
class Samples(Feature):
    """Training samples, which are left out.

    Attributes:
        which: Their places in the training split as it was given: one, a tuple, or a range.

    Example:
        >>> print(Samples(range(3)))
        Samples(which=(0, 1, 2))
    """

    which: int | tuple[int, ...] | range
    modes: ClassVar[frozenset[str] | None] = frozenset({"drop"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "which", places_of("Samples", self.which))


def columns_named(names: tuple[str, ...], glob: str) -> tuple[int, ...]:
    """Return the places of the inputs that a name or glob means; a column of words means all of its inputs.

    Raises:
        LevelError: There is no such column.
    """
    owners = [name.partition("=")[0] for name in names]
    found = tuple(
        place
        for place, (name, owner) in enumerate(zip(names, owners, strict=True))
        if glob in (name, owner) or fnmatchcase(name, glob) or fnmatchcase(owner, glob)
    )
    if not found:
        raise LevelError(f"{NAME}: {glob!r} is no column of the table {suggest(glob, dict.fromkeys(owners))}")
    return found


def places_of(name: str, which: object) -> tuple[int, ...]:
    """Read one number or several.

    Raises:
        LevelError: There is none, or one is no whole number.
    """
    places = tuple(which) if isinstance(which, tuple | list | range) else (which,)
    if not places:
        raise LevelError(f"{name}: it selects nothing; give at least one number")
    for place in places:
        check_count(name, "which", place)
    return tuple(int(place) for place in places)


def is_tensor(leaf: Any, axes: int) -> bool:
    """Say whether a leaf is a tensor of at least so many axes."""
    import torch

    return isinstance(leaf, torch.Tensor) and leaf.ndim >= axes


def _chosen(leaf: torch.Tensor, axis: int, places: tuple[int, ...], owner: Selector) -> torch.Tensor:
    import torch

    size = leaf.shape[axis]
    for place in places:
        if place >= size:
            raise LevelError(
                f"{NAME}: {owner} means {place}, and a sample has 0 to {size - 1} along this axis"
            )
    mask = torch.zeros(size, dtype=torch.bool)
    mask[list(places)] = True
    return mask


def _without(leaf: torch.Tensor, axis: int, mask: torch.Tensor, owner: Selector) -> torch.Tensor:
    if bool(mask.all()):
        raise LevelError(f"{NAME}: {owner} is all that a sample has; leave something, or give mode='zero'")
    return leaf.index_select(axis, (~mask).nonzero().squeeze(1))

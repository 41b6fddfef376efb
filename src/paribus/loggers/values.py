"""What a metric may return, and the flat names and numbers it becomes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeGuard, final

from paribus.errors import MetricError

if TYPE_CHECKING:
    import numpy as np
    import torch

Value: TypeAlias = float | list[float]


@final
@dataclass(frozen=True)
class Histogram:
    """Count values in adjacent bins.

    Attributes:
        counts: Values in each bin, (bins,).
        edges: Increasing borders of the bins, (bins + 1,); a bin holds its lower edge, the last one both.

    Raises:
        MetricError: The edges do not increase, or are not one more than the counts.
    """

    counts: tuple[int, ...]
    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.counts) + 1:
            raise MetricError(
                f"Histogram: got {len(self.counts)} counts and {len(self.edges)} edges, "
                "expected one edge more than counts; use Histogram.of(tensor, bins)"
            )
        if any(not low < high for low, high in itertools.pairwise(self.edges)):
            raise MetricError(
                f"Histogram: the edges {self.edges} do not increase; give them in increasing order"
            )

    @classmethod
    def of(cls, values: torch.Tensor | np.ndarray[Any, Any], bins: int = 64) -> Histogram:
        """Count all elements in `bins` equal bins from the least to the greatest.

        NaN and infinities fall in no bin: the counts then sum to less than the number of elements.

        Args:
            values: Numbers of any shape, dtype and device.
            bins: Number of bins, at least 1.

        Example:
            >>> import torch
            >>> Histogram.of(torch.tensor([0.0, 1.0, 4.0]), bins=2)
            Histogram(counts=(2, 1), edges=(0.0, 2.0, 4.0))

        Raises:
            MetricError: `bins` is not positive.
        """
        import numpy as np
        import torch

        if bins < 1:
            raise MetricError(
                f"Histogram: got bins={bins!r}, expected a whole number ≥ 1; give for example bins=64"
            )
        numbers = torch.as_tensor(values).detach().double().flatten().cpu().numpy()
        numbers = numbers[np.isfinite(numbers)]
        counts, edges = np.histogram(numbers, bins, range=_extent(numbers))
        return cls(tuple(counts.tolist()), tuple(edges.tolist()))


def flatten(name: str, value: object) -> dict[str, Value]:
    """Name each number of a metric's value.

    A scalar (number, bool, 0-d array or tensor) becomes a float, a vector (1-d, or a sequence of scalars) a
    list of floats, a mapping `name/key` for each of its keys (the empty key: `name` itself), a `Histogram`
    `name/counts` and `name/edges`. NaN and infinity are values; an empty mapping records nothing.

    Example:
        >>> flatten("norm", {"conv1": 1, "fc": {"weight": 2.5}})
        {'norm/conv1': 1.0, 'norm/fc/weight': 2.5}
        >>> flatten("loss", {"": 2.0, "ce": 1.5})
        {'loss': 2.0, 'loss/ce': 1.5}

    Raises:
        MetricError: The value is of no such kind, or two of its numbers have the same name.
    """
    if isinstance(value, Mapping):
        row: dict[str, Value] = {}
        for key, entry in value.items():
            merge(row, flatten(f"{name}/{key}" if key != "" else name, entry))
        return row
    if isinstance(value, Histogram):
        return {f"{name}/counts": _vector(name, value.counts), f"{name}/edges": _vector(name, value.edges)}
    if _is_array(value):
        return {name: _vector(name, value.tolist()) if value.ndim == 1 else _scalar(name, value)}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return {name: _vector(name, value)}
    return {name: _scalar(name, value)}


def merge(row: dict[str, Value], more: Mapping[str, Value]) -> None:
    """Add values to a row in place, refusing a name that it has already.

    Raises:
        MetricError: A name is in both.
    """
    for name, value in more.items():
        if name in row:
            raise MetricError(
                f"metric {name!r}: two values have this name in one record, expected one; "
                "rename one of the metrics or dictionary keys"
            )
        row[name] = value


class _Array(Protocol):
    @property
    def ndim(self) -> int: ...

    def tolist(self) -> Any: ...


def _is_array(value: object) -> TypeGuard[_Array]:
    """Tell arrays and tensors by their face, so that importing this room imports neither numpy nor torch."""
    return hasattr(value, "ndim") and hasattr(value, "tolist")


def _extent(numbers: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Give the least and the greatest number, parted where they are one."""
    if not numbers.size:
        return 0.0, 1.0
    low, high = float(numbers.min()), float(numbers.max())
    # Half suffices until, in a diverging learner, it is lost beside the number itself.
    margin = max(0.5, 1e-6 * abs(low)) if low == high else 0.0
    return low - margin, high + margin


def _vector(name: str, entries: Iterable[object]) -> list[float]:
    return [_scalar(name, entry) for entry in entries]


def _scalar(name: str, value: object) -> float:
    plain = value.tolist() if _is_array(value) and value.ndim == 0 else value
    if not isinstance(plain, Real):
        raise MetricError(_refusal(name, value))
    return float(plain)


def _refusal(name: str, value: object) -> str:
    shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
    if value is None:
        mend = "return the value at the end of the method"
    elif shape:
        mend = "reduce it with .mean(), flatten it, or return Histogram.of(value)"
    else:
        mend = "convert it to a number"
    return (
        f"metric {name!r}: got {type(value).__name__}{shape}, "
        f"expected a scalar, a 1-d vector, a dictionary of them or a Histogram; {mend}"
    )

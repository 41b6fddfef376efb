"""Points of samplers that look at no result: functions of (seed, name of the dimension, trial). Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from paribus.errors import ConfigurationError
from paribus.interventions.dimensions import Dimension

_BITS = 32
_MASK = 2**_BITS - 1
# The mixing of "Practical hash-based Owen scrambling" (Burley, JCGT 2020), section 5.
_MIXING = (0x6C50B47C, 0xB82F1E52, 0xC7AFE638, 0x8D22F6E6)


def positions(sampler: str, names: Sequence[str], trials: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Return positions in ``[0, 1)``, (trials,) for each name.

    Those of a name depend on the seed, the name and, for ``"sobol"``, its place: more trials and further
    names at the end change none. They do not depend on versions of libraries.

    Args:
        sampler: ``"sobol"`` or ``"random"``.
        names: One per dimension.
        trials: How many points.
        seed: Of the random draws, or of the scrambling.
    """
    if sampler == "random":
        return {name: _random(name, trials, seed) for name in names}
    numbers = _sobol(len(names), trials)
    return {name: _scrambled(numbers[:, at], _hash(name, seed)) for at, name in enumerate(names)}


def grid_of(space: Mapping[str, Dimension]) -> list[dict[str, Any]]:
    """List the points of a grid, the last name varying fastest.

    Raises:
        ConfigurationError: A dimension has endlessly many values.
    """
    points: list[dict[str, Any]] = [{}]
    for name, dimension in space.items():
        values = dimension.grid()
        if values is None:
            raise ConfigurationError(
                f"Search: sampler='grid' needs finitely many values, and {name} is {dimension}; give it a "
                "step, or write Categorical([…])"
            )
        points = [point | {name: value} for point in points for value in values]
    return points


def _hash(name: str, seed: int) -> int:
    return xxhash.xxh3_64_intdigest(f"{seed}/{name}".encode())


def _random(name: str, trials: int, seed: int) -> NDArray[np.float64]:
    draws = [xxhash.xxh3_64_intdigest(str(n).encode(), _hash(name, seed)) >> 11 for n in range(trials)]
    return np.array(draws, np.float64) / 2**53


def _sobol(dimensions: int, trials: int) -> NDArray[np.uint32]:
    """Return the first points of Sobol's sequence, (trials, dimensions), as fractions of 2³²."""
    from scipy.stats import qmc

    engine = qmc.Sobol(max(dimensions, 1), scramble=False, bits=_BITS)
    points = engine.random_base2(max(math.ceil(math.log2(max(trials, 1))), 0))[:trials]
    found: NDArray[np.uint32] = np.round(points * 2.0**_BITS).astype(np.uint64).astype(np.uint32)
    return found


def _scrambled(numbers: NDArray[np.uint32], seed: int) -> NDArray[np.float64]:
    """Scramble nestedly (after Owen): each bit is flipped by a hash of those above it."""
    bits = _reversed(numbers).astype(np.uint64)
    bits = (bits + (seed & _MASK)) & _MASK
    for factor in _MIXING:
        bits ^= (bits * factor) & _MASK
    found: NDArray[np.float64] = _reversed(bits.astype(np.uint32)) / 2.0**_BITS
    return found


def _reversed(numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Reverse the order of the bits."""
    octets = np.unpackbits(numbers.astype(">u4").view(np.uint8).reshape(-1, 4), axis=1)
    return np.packbits(octets[:, ::-1], axis=1).view(">u4").reshape(-1).astype(np.uint32)

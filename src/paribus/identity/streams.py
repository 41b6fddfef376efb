"""Named random streams: every draw is a pure function of (seed, stream, step)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from xxhash import xxh3_64_intdigest

from paribus.identity.grammar import VERSION, count, integer, string

if TYPE_CHECKING:
    import torch

_MASK = 2**63 - 1


@lru_cache(maxsize=4096)
def _opening(seed: int, stream: str, length: int) -> bytes:
    return VERSION + b"t" + count(2 + length) + integer(int(seed)) + string(stream)


def derive_seed(seed: int, stream: str, *at: int | str) -> int:
    """Derive the seed of a stream at a place, 63 bits and not negative.

    It is the low 63 bits of XXH3-64 over the canonical bytes of the tuple (seed, stream, *at).

    >>> derive_seed(0, "order", 3) == derive_seed(0, "order", 3) != derive_seed(0, "forward", 3)
    True
    """
    form = _opening(seed, stream, len(at))
    for place in at:
        form += string(place) if isinstance(place, str) else integer(int(place))
    return int(xxh3_64_intdigest(form)) & _MASK


def generator(seed: int, stream: str, *at: int | str, device: str | torch.device = "cpu") -> torch.Generator:
    """Make a generator that stands at the beginning of a stream's draws at a place.

    >>> import torch
    >>> torch.rand(2, generator=generator(0, "init")).shape
    torch.Size([2])
    """
    import torch

    return torch.Generator(device).manual_seed(derive_seed(seed, stream, *at))

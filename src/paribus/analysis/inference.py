"""Inference on paired differences: intervals, tests, and what they would take.

A value stands for one independent block. None stands for what the data cannot give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paribus.errors import AnalysisError

Array = NDArray[np.float64]
Better = Literal["higher", "lower"]

_EXACT_UP_TO = 16  # 2^15 sums: under a millisecond
_DRAWS = 20_000
_NUMBERS = 4_000_000  # 32 MB of signs
_POWER = 0.8


@dataclass(frozen=True)
class Sample:
    """What the t statistics need of a sample of independent values.

    Attributes:
        n: Number of values.
        mean: Their mean; NaN for none.
        sd: Their standard deviation; exactly 0.0 where they differ by rounding only, NaN for fewer than two.
    """

    n: int
    mean: float
    sd: float

    @classmethod
    def of(cls, values: Array) -> Sample:
        """Summarise values of shape ``(n,)``."""
        numbers: list[float] = values.tolist()  # samples are small: plain sums are quicker
        n = len(numbers)
        if n == 0:
            return cls(0, math.nan, math.nan)
        mean = sum(numbers) / n
        if n == 1:
            return cls(1, mean, math.nan)
        deviations = [number - mean for number in numbers]
        sd = math.sqrt(sum([each * each for each in deviations]) / (n - 1))
        return cls(n, mean, sd if sd > 1e-13 * max(map(abs, numbers)) else 0.0)

    @property
    def spreads(self) -> bool:
        """Whether there are at least two values, not all equal."""
        return self.sd > 0

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.sd / math.sqrt(self.n)


def t_interval(sample: Sample, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the t interval of the mean; None for fewer than two values or values without spread.

    Equal values give no interval rather than one of width zero: metrics are counted on finite sets, so a few
    equal differences are common and carry no certainty.
    """
    if not sample.spreads:
        return None
    from scipy import special

    half = float(special.stdtrit(sample.n - 1, 0.5 + confidence / 2)) * sample.error
    return sample.mean - half, sample.mean + half


def p_t_test(sample: Sample) -> float | None:
    """Return the two-sided p of the one-sample t test that the mean is zero; None without spread."""
    if not sample.spreads:
        return None
    from scipy import special

    return min(1.0, 2 * float(special.stdtr(sample.n - 1, -abs(sample.mean) / sample.error)))


def p_sign_flip(values: Array, seed: int = 0) -> float | None:
    """Return the two-sided p of the sign-flip (permutation) test that the values are symmetric about zero.

    Exact up to 16 values; above that from 20,000 seeded draws, fewer beyond 200 values. Its smallest value is
    ``2 / 2**n``.
    """
    n = len(values)
    if n == 0:
        return None
    observed = abs(sum(values.tolist())) * (1 - 1e-12)
    if n <= _EXACT_UP_TO:
        signs = _all_signs(n)
        return int(np.count_nonzero(np.abs(signs @ values) >= observed)) / len(signs)
    signs = _signs(n, seed)
    return (1 + int(np.count_nonzero(np.abs(signs @ values) >= observed))) / (1 + len(signs))


@lru_cache(maxsize=4)
def _all_signs(n: int) -> Array:
    """List all signs of `n` values but for a common one: the first stays, since both tails are counted."""
    bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n)[None, :]
    signs: Array = np.where(bits & 1, -1.0, 1.0)
    signs[:, -1] = 1.0
    return signs


@lru_cache(maxsize=2)  # the conditions of a table mostly have as many blocks
def _signs(n: int, seed: int) -> Array:
    draws = max(1_000, min(_DRAWS, _NUMBERS // n))
    return np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=(draws, n))


def p_equivalence(sample: Sample, margin: float) -> float | None:
    """Return the p of two one-sided t tests that the mean lies within ``±margin`` (Schuirmann 1987).

    Values that are all zero are equivalent; other values without spread give None.
    """
    if sample.spreads:
        from scipy import special

        return float(special.stdtr(sample.n - 1, -(margin - abs(sample.mean)) / sample.error))
    return 0.0 if sample.mean == 0 == sample.sd else None


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Adjust p values for the size of their family (Holm 1979); None stays None and is not counted."""
    tested = sorted((value, index) for index, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    highest = 0.0
    for rank, (value, index) in enumerate(tested):
        highest = max(highest, min(1.0, value * (len(tested) - rank)))
        adjusted[index] = highest
    return adjusted


def hedges_d_z(sample: Sample) -> float | None:
    """Return the mean difference in units of its own sd, corrected for small samples (Hedges 1981).

    None for fewer than three values, where the correction is undefined, and for values without spread.
    """
    if not sample.spreads or sample.n < 3:
        return None
    return sample.mean / sample.sd * (1 - 3 / (4 * (sample.n - 1) - 1))


def pairing_gain(treated: Sample, control: Sample, differences: Sample) -> float | None:
    """Return how many times fewer blocks pairing needs: the unpaired variance over the paired one.

    None for fewer than three pairs, where it is noise, and where control or differences have no spread.
    """
    if differences.n < 3 or not differences.spreads or not control.spreads:
        return None
    return (treated.sd**2 + control.sd**2) / differences.sd**2


def seeds_needed(effect: float, sd: float, alpha: float) -> int | None:
    """Return the blocks at which a paired t test at level `alpha` finds `effect` with power 0.8.

    The normal approximation with Guenther's (1981) correction. None where the effect is zero: no number of
    seeds finds it.
    """
    if effect == 0:
        return None
    from scipy import special

    upper = float(special.ndtri(1 - alpha / 2))
    n = ((upper + float(special.ndtri(_POWER))) * sd / abs(effect)) ** 2 + upper**2 / 2
    return math.ceil(n) if math.isfinite(n) else None


def better_direction(metric: str) -> Better | None:
    """Read from a metric's name which direction is better; None where the name does not say.

    >>> better_direction("test/accuracy"), better_direction("train/loss"), better_direction("weight_norm")
    ('higher', 'lower', None)
    """
    last = (
        metric.lower().replace("-", "_").replace("/", "_").replace(".", "_").replace(" ", "_").split("_")[-1]
    )
    word = last.partition("@")[0]
    if word in _HIGHER:
        return "higher"
    return "lower" if word in _LOWER else None


def direction_of(metric: str, better: Better | None, task: str) -> Better:
    """Return which direction is better: as given, else as the metric's name says.

    Raises:
        AnalysisError: Neither says it.
    """
    direction = better or better_direction(metric)
    if direction is None:
        raise AnalysisError(
            f"{task}: the name {metric!r} does not say which direction is better; "
            "give better='higher' or better='lower'"
        )
    return direction


_HIGHER = frozenset(
    {"accuracy", "acc", "auc", "auroc", "bleu", "f1", "iou", "map", "precision", "r2", "recall"}
)
_LOWER = frozenset(
    {"bpc", "ce", "ece", "err", "error", "loss", "mae", "mse", "nll", "perplexity", "ppl", "rmse"}
)

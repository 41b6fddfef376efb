"""How numbers, levels and conditions are written in tables and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

NONE = "\N{EN DASH}"


def short_names(columns: Sequence[str], labels: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give each column the shortest name that no other column has.

    >>> short_names(["SetOptimizer.lr", "SetOptimizer.momentum", "PerturbMomentum.momentum"])
    {'SetOptimizer.lr': 'lr', 'SetOptimizer.momentum': 'SetOptimizer momentum', \
'PerturbMomentum.momentum': 'PerturbMomentum momentum'}
    """
    last = [column.rpartition(".")[2] for column in columns]
    names = {
        column: name if last.count(name) == 1 else column.replace(".", " ")
        for column, name in zip(columns, last, strict=True)
    }
    return names | {column: label for column, label in (labels or {}).items() if column in names}


def telling(conditions: Sequence[Mapping[str, object]], columns: Sequence[str]) -> list[str]:
    """List the columns that tell conditions apart, the fewest of each intervention.

    Those that differ where the intervention is present; where it has one form alone, its first column, which
    says whether it is there.

    >>> noise = {"P.epsilon": 0.5, "P.step": 2}
    >>> telling([noise, {"P.epsilon": None, "P.step": None}], ["P.epsilon", "P.step"])
    ['P.epsilon']
    >>> telling([noise, {"P.epsilon": 0.5, "P.step": 8}], ["P.epsilon", "P.step"])
    ['P.step']
    """
    groups: dict[str, list[str]] = {}
    for column in columns:
        groups.setdefault(column.rpartition(".")[0], []).append(column)
    told = []
    for group in groups.values():
        present = [c for c in conditions if any(c[column] is not None for column in group)]
        varying = [column for column in group if len({c[column] for c in present}) > 1]
        known = [column for column in group if all(c[column] is not None for c in present)]
        if not varying and 0 < len(present) < len(conditions):
            varying = (known or group)[:1]
        told += varying
    return told


def level_text(value: object) -> str:
    """Write one level: floats without noise, an absent intervention as a dash."""
    if value is None:
        return NONE
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def condition_text(levels: Mapping[str, object], names: Mapping[str, str]) -> str:
    """Write one condition, as in ``epsilon = 0.01, seed = 3``."""
    return ", ".join(f"{names[column]} = {level_text(value)}" for column, value in levels.items())


def decimals(scale: float | None) -> int | None:
    """Count the decimals that show two significant digits of `scale`; None where that takes too many."""
    if scale is None or not math.isfinite(scale) or scale <= 0:
        return 4
    places = 1 - math.floor(math.log10(scale))
    return max(places, 0) if places <= 6 else None


def number(value: float | None, places: int | None = 4, sign: bool = False) -> str:
    """Write a number with fixed decimals (None: three significant digits); a dash for none."""
    if value is None or math.isnan(value):
        return NONE
    if places is None or abs(value) >= 1e6:
        return f"{value:{'+' if sign else ''}z.3g}"
    return f"{value:{'+' if sign else ''}z.{places}f}"


def spread_text(mean: float | None, sd: float | None) -> str:
    """Write ``mean ± sd`` to two significant digits of the sd."""
    if mean is None or sd is None:
        return number(mean)
    places = decimals(sd)
    return f"{number(mean, places)} ± {number(sd, places)}"


def interval_text(middle: float | None, low: float | None, high: float | None) -> str:
    """Write ``middle [low, high]`` to two significant digits of the half width."""
    if middle is None or low is None or high is None:
        return number(middle, decimals(abs(middle) / 10 if middle else None), sign=True)
    places = decimals((high - low) / 2)
    low_text, high_text = number(low, places, sign=True), number(high, places, sign=True)
    return f"{number(middle, places, sign=True)} [{low_text}, {high_text}]"


def p_text(p: float | None) -> str:
    """Write a p value to two significant digits, never as zero."""
    if p is None:
        return NONE
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"

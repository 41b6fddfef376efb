"""Which conditions share a panel, and how each is drawn there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from paribus.analysis.factors import Factor, treatments_of
from paribus.analysis.wording import condition_text, level_text, short_names, telling
from paribus.errors import AnalysisError, suggest
from paribus.plotting.style import CONTROLS, HUES, Hue

Levels = Mapping[str, object]


@dataclass(frozen=True)
class Condition:
    """One combination of treatment levels.

    Attributes:
        levels: Column -> level, for all treatments.
        at_control: Names of the factors that are at their declared control here.
    """

    levels: Levels
    at_control: frozenset[str]


@dataclass(frozen=True)
class Line:
    """A condition as it is drawn in one panel."""

    condition: Condition
    label: str
    hue: Hue
    is_control: bool


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Attributes:
        levels: The levels that all its treated lines share.
        title_parts: They, in words.
        hue_name: Names of the treatments that tell the lines apart; empty where each line names its own.
        lines: What is drawn.
    """

    levels: Levels
    title_parts: tuple[str, ...]
    hue_name: str
    lines: tuple[Line, ...]

    @property
    def title(self) -> str:
        """All shared levels, in words."""
        return ", ".join(self.title_parts)


def conditions_of(frame: pl.DataFrame, factors: Sequence[Factor]) -> list[Condition]:
    """List the conditions of a frame in order of appearance."""
    treatments = treatments_of(factors)
    if not treatments:
        return [Condition({}, frozenset())]
    rows = frame.select(treatments).unique(maintain_order=True).to_dicts()
    return [Condition(row, frozenset(f.name for f in factors if _is_at_control(row, f))) for row in rows]


def arrange(
    conditions: Sequence[Condition],
    factors: Sequence[Factor],
    hue: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> list[Panel]:
    """Share conditions out to panels of at most 12 colours.

    Up to 12 treated conditions and 4 controls share one panel. Beyond that one treatment is told by colour
    and the others make the panels: `hue`, or the treatment with the most levels that fit, sooner one that has
    a control. A control is drawn in black, in every panel that it is the control of.

    Raises:
        AnalysisError: If `hue` is no treatment that varies.
    """
    columns = list(conditions[0].levels)
    varying = telling([condition.levels for condition in conditions], columns)
    declared = frozenset(f.name for f in factors if f.control is not None and f.treatments)
    names = short_names(columns, labels)
    treated = [c for c in conditions if not _is_control(c, declared)]
    controls = len(conditions) - len(treated)
    if hue is None and len(treated) <= len(HUES) and controls <= len(CONTROLS):
        return _panels([({}, list(conditions))], varying, declared, names, labels)
    controlled = [column for f in factors if f.name in declared for column in f.treatments]
    colour = _hue_column(treated, varying, hue, controlled)
    owner = next(f for f in factors if colour in f.treatments)
    inside = declared & {owner.name}
    facets = [column for column in varying if column != colour]
    keys = {tuple(c.levels[column] for column in facets): None for c in treated if not _is_control(c, inside)}
    groups: list[tuple[Levels, list[Condition]]] = []
    for key in keys:
        shared = dict(zip(facets, key, strict=True))
        members = [c for c in conditions if _belongs(c, shared, owner if inside else None)]
        groups.extend((shared, part) for part in _parts(members, inside))
    return _panels(groups, [colour], inside, names, labels)


def _is_at_control(levels: Levels, factor: Factor) -> bool:
    if factor.control is None:
        return False
    return all(levels[column] == value for column, value in factor.control.items())


def _is_control(condition: Condition, factors: frozenset[str]) -> bool:
    return bool(factors) and factors <= condition.at_control


def _hue_column(
    treated: Sequence[Condition], varying: Sequence[str], hue: str | None, controlled: Sequence[str]
) -> str:
    if hue is not None and hue not in varying:
        raise AnalysisError(f"curves: hue {hue!r} is no treatment that varies {suggest(hue, varying)}")
    if hue is not None:
        return hue
    crowd = {column: _most_in_a_panel(treated, column, varying) for column in varying}
    fitting = [column for column in varying if crowd[column] <= len(HUES)]
    if not fitting:
        return min(varying, key=crowd.__getitem__)
    return max([c for c in fitting if c in controlled] or fitting, key=crowd.__getitem__)


def _most_in_a_panel(treated: Sequence[Condition], column: str, varying: Sequence[str]) -> int:
    panels: dict[tuple[object, ...], set[object]] = {}
    for condition in treated:
        key = tuple(condition.levels[other] for other in varying if other != column)
        panels.setdefault(key, set()).add(condition.levels[column])
    return max(len(levels) for levels in panels.values())


def _belongs(condition: Condition, shared: Levels, owner: Factor | None) -> bool:
    """Say whether a condition is drawn in a panel; the control of the colours' factor is in all of its."""
    free = owner.treatments if owner is not None and owner.name in condition.at_control else ()
    return all(condition.levels[column] == level for column, level in shared.items() if column not in free)


def _parts(members: Sequence[Condition], inside: frozenset[str]) -> list[list[Condition]]:
    """Split what needs more colours than there are; each part keeps the controls."""
    controls = [c for c in members if _is_control(c, inside)]
    treated = [c for c in members if not _is_control(c, inside)]
    return [controls + treated[i : i + len(HUES)] for i in range(0, max(1, len(treated)), len(HUES))]


def _panels(
    groups: Sequence[tuple[Levels, list[Condition]]],
    columns: Sequence[str],
    inside: frozenset[str],
    names: Mapping[str, str],
    labels: Mapping[str, str] | None,
) -> list[Panel]:
    everyone = [condition for _, members in groups for condition in members]
    in_words = len(columns) > 1 and any(c.levels[column] is None for c in everyone for column in columns)
    hue_name = "" if in_words else ", ".join(names[column] for column in columns)

    def text(condition: Condition) -> str:
        levels = {column: condition.levels[column] for column in columns}
        present = {column: level for column, level in levels.items() if level is not None}
        if not present and _is_control(condition, inside):
            return ""
        plain, words = condition_text(levels, names), condition_text(present, names) or "untouched"
        short = words if in_words else ", ".join(level_text(level) for level in levels.values())
        return next((labels[each] for each in (plain, short) if labels and each in labels), short)

    treated = dict.fromkeys(text(c) for _, members in groups for c in members if not _is_control(c, inside))
    common = list(treated) if len(treated) <= len(HUES) else None
    panels = []
    for shared, members in groups:
        lines = []
        own = list(dict.fromkeys(text(c) for c in members if not _is_control(c, inside)))
        controls = [c for c in members if _is_control(c, inside)]
        for condition in members:
            if _is_control(condition, inside):
                label = f"{text(condition)} (control)" if text(condition) else "control"
                lines.append(
                    Line(condition, label, CONTROLS[controls.index(condition) % len(CONTROLS)], True)
                )
            else:
                place = (common or own).index(text(condition))
                lines.append(Line(condition, text(condition) or "all runs", HUES[place], False))
        parts = tuple(condition_text({column: level}, names) for column, level in shared.items())
        panels.append(Panel(shared, parts, hue_name, tuple(lines)))
    return panels

"""Studies: which cells of a grid a search fills together, and with what. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, final

from paribus.engine.learners.configuration import describe
from paribus.engine.learners.designs import Cell, Level
from paribus.engine.learners.openings import Filler, space_of
from paribus.engine.search.points import grid_of, positions
from paribus.engine.search.search import Search
from paribus.errors import ConfigurationError
from paribus.identity import digest
from paribus.interventions.dimensions import Categorical, Dimension, Int

CELL = "cell"


@final
@dataclass(frozen=True)
class Arm:
    """One cell of the treatments, with its replicates.

    Attributes:
        label: Its treatments in words; empty where there is one arm without any.
        space: Its dimensions by column name.
        defaults: The values of trial 0, of those dimensions that have one.
        cells: Its open cells, one for each combination of seeds.
    """

    label: str
    space: Mapping[str, Dimension]
    defaults: Mapping[str, Any]
    cells: tuple[Cell, ...]


@final
@dataclass(frozen=True)
class Suggestion:
    """What one trial is to be: an arm of the study, and a value for each of its dimensions."""

    arm: int
    values: Mapping[str, Any]


@final
@dataclass(frozen=True, eq=False)
class Study:
    """Arms that share trials: one, or, in a joint study, all.

    Attributes:
        name: For people: the arm's label.
        arms: At least one.
    """

    name: str
    arms: tuple[Arm, ...]

    @cached_property
    def identity(self) -> bytes:
        """Digest of what suggestions depend on: spaces and defaults (16 bytes)."""
        spaces = [[(n, _plain(d), arm.defaults.get(n)) for n, d in arm.space.items()] for arm in self.arms]
        labels = [arm.label for arm in self.arms] if len(self.arms) > 1 else []
        return digest([labels, spaces])

    @property
    def choice(self) -> Categorical | None:
        """The dimension that chooses the arm; ``None`` where there is one arm."""
        return Categorical([arm.label for arm in self.arms]) if len(self.arms) > 1 else None

    def encoded(self, suggestion: Suggestion) -> dict[str, Any]:
        """Write a suggestion as JSON: numbers as they are, categories by their place."""
        space = self.arms[suggestion.arm].space
        values = {name: _written(space[name], value) for name, value in suggestion.values.items()}
        return {"arm": suggestion.arm, "values": values}

    def decoded(self, body: Any) -> Suggestion:
        """Read a suggestion."""
        space = self.arms[body["arm"]].space
        values = body["values"]
        return Suggestion(body["arm"], {name: _read(each, values[name]) for name, each in space.items()})


def _plain(dimension: Dimension) -> tuple[object, ...]:
    values = (getattr(dimension, field.name) for field in fields(dimension))  # type: ignore[arg-type]
    return type(dimension).__name__, *values


def _written(dimension: Dimension, value: Any) -> Any:
    return dimension.values.index(value) if isinstance(dimension, Categorical) else value


def _read(dimension: Dimension, value: Any) -> Any:
    if isinstance(dimension, Categorical):
        return dimension.values[value]
    return int(value) if isinstance(dimension, Int) else float(value)


def read_studies(cells: Sequence[Cell], search: Search, filler: Filler) -> tuple[list[Study], list[Cell]]:
    """Group open cells into studies; return those, and the cells that no search fills.

    Raises:
        ConfigurationError: No cell has a dimension.
    """
    arms = _arms(by_treatments(cells), filler)
    if not any(arm.space for arm in arms):
        raise ConfigurationError(
            "Experiment: search= without a search dimension; write one as a level, as in "
            "SetOptimizer.make_variations(lr=Float(1e-4, 1.0, log=True))"
        )
    if search.per == "joint":
        return [Study("", tuple(arms))], []
    plain = [cell for arm in arms if not arm.space for cell in arm.cells]
    return [Study(arm.label, (arm,)) for arm in arms if arm.space], plain


def by_treatments(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Group cells that differ in their seeds only, in the order in which they are written."""
    groups: dict[bytes, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(_treatments(cell), []).append(cell)
    return list(groups.values())


def ends_of(studies: Sequence[Study], filler: Filler) -> list[Cell]:
    """Fill a cell of each arm with each end of each dimension, the others in their middle.

    Raises:
        LevelError: An intervention refuses a value that a sampler may suggest.
    """
    cells = []
    for arm in (arm for study in studies for arm in study.arms if arm.space):
        middle = {name: dimension.at(0.5) for name, dimension in arm.space.items()}
        ends = [(name, end) for name, dimension in arm.space.items() for end in dimension.ends()]
        cells += [filler.fill(arm.cells[0], middle | {name: end}) for name, end in ends]
    return cells


def planned(studies: Sequence[Study], search: Search) -> list[list[Suggestion]]:
    """List the trials of each study under a sampler that looks at no result."""
    if search.sampler == "grid":
        return [_grid(study, search.trials) for study in studies]
    names = dict.fromkeys(name for study in studies for arm in study.arms for name in arm.space)
    joint = any(len(study.arms) > 1 for study in studies)
    trials = search.trials or 0
    at = positions(str(search.sampler), [CELL, *names] if joint else [*names], trials, search.seed)
    return [
        [
            _point(study, {name: float(column[number]) for name, column in at.items()}, number)
            for number in range(trials)
        ]
        for study in studies
    ]


def _point(study: Study, at: Mapping[str, float], number: int) -> Suggestion:
    arm = int(at[CELL] * len(study.arms)) if len(study.arms) > 1 else 0
    if number == 0 and study.arms[0].defaults:
        arm = 0
    values = {name: dimension.at(at[name]) for name, dimension in study.arms[arm].space.items()}
    return Suggestion(arm, values | dict(study.arms[0].defaults) if number == 0 and arm == 0 else values)


def _grid(study: Study, trials: int | None) -> list[Suggestion]:
    points = [
        Suggestion(place, values) for place, arm in enumerate(study.arms) for values in grid_of(arm.space)
    ]
    return points[:trials]


def _arms(groups: Sequence[Sequence[Cell]], filler: Filler) -> list[Arm]:
    labels = [", ".join(text for level in cells[0].levels if (text := _told(level))) for cells in groups]
    told = [f"{text} ({place})" if labels.count(text) > 1 else text for place, text in enumerate(labels)]
    return [
        Arm(label, space_of(cells[0]), filler.defaults(cells[0]), tuple(cells))
        for label, cells in zip(told, groups, strict=True)
    ]


def _treatments(cell: Cell) -> bytes:
    """Identify a cell by all of its levels but the seeds."""
    return digest(tuple((level.factor, _unseeded(level)) for level in cell.levels))


def _unseeded(level: Level) -> tuple[tuple[str, object], ...]:
    values = level.opening.values if level.opening else level.intervention.parameters()
    seeds = level.intervention.replicates
    return tuple(
        (name, value)
        for name, value in values.items()
        if name in level.given and (name not in seeds or isinstance(value, Dimension))
    )


def _told(level: Level) -> str:
    told = [(n, v) for n, v in _unseeded(level) if not isinstance(v, Dimension)]
    words = ", ".join(f"{name}={describe(value)}" for name, value in told if value is not None)
    return f"{level.factor}({words})" if words else ""

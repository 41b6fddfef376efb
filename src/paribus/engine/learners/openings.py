"""Open cells: cells of a grid in which search dimensions stand for values, and how they are filled. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, final

from paribus.engine.learners.configuration import Configuration
from paribus.engine.learners.designs import Cell, Level
from paribus.engine.learners.resolver import Resolver
from paribus.errors import LevelError
from paribus.interventions.dimensions import Dimension


def space_of(cell: Cell) -> dict[str, Dimension]:
    """Return the dimensions of a cell by column name, as in ``"SetOptimizer.lr"``."""
    return {
        f"{level.factor}.{name}": value
        for level in cell.levels
        if level.opening is not None
        for name, value in level.opening.values.items()
        if isinstance(value, Dimension)
    }


@final
class Filler:
    """Puts values in place of the dimensions of open cells.

    Args:
        base: The unchanged configuration.
        resolver: What resolves cells.
    """

    def __init__(self, base: Configuration, resolver: Resolver) -> None:
        self._base = base
        self._resolver = resolver

    def fill(self, cell: Cell, values: Mapping[str, object]) -> Cell:
        """Return a cell with values in place of its dimensions.

        Args:
            cell: An open cell.
            values: Values by column name.

        Raises:
            LevelError: The intervention refuses a value.
        """
        configuration, levels = self._base, list(cell.levels)
        for place in sorted(range(len(levels)), key=lambda place: levels[place].intervention.stage):
            level = levels[place]
            if level.opening is not None:
                made = level.opening.made(_components(configuration), _own(level, values))
                levels[place] = replace(level, intervention=made, opening=None)
            configuration = self._resolver.apply(configuration, levels[place].intervention)
        return Cell(tuple(levels), self._resolver.canonical(configuration))

    def defaults(self, cell: Cell) -> dict[str, object]:
        """Return, for each dimension that has one in its range, the value without the intervention.

        It is what the configuration has where the intervention leaves this parameter out; where it does
        not say, the parameter's own default.
        """
        configuration, found = self._base, {}
        for level in sorted(cell.levels, key=lambda level: level.intervention.stage):
            for name, dimension in (level.opening.values if level.opening else {}).items():
                if isinstance(dimension, Dimension):
                    value = self._default(configuration, level, name)
                    if dimension.holds(value):
                        found[f"{level.factor}.{name}"] = value
            configuration = self._resolver.apply(configuration, level.intervention)
        return {name: found[name] for name in space_of(cell) if name in found}

    def _default(self, configuration: Configuration, level: Level, name: str) -> object:
        kind, opening = type(level.intervention), level.opening
        reader = kind.modifies.get(name) or kind.modifies.get("*")
        try:
            without = opening.made(_components(configuration), {}, leave_out=True)  # type: ignore[union-attr]
            if reader is None:
                return without.parameters().get(name)
            return reader(_components(self._resolver.apply(configuration, without)), name)
        except (LevelError, TypeError, KeyError, AttributeError):  # it has no form without this parameter
            return None


def _own(level: Level, values: Mapping[str, object]) -> dict[str, object]:
    names = level.opening.values if level.opening else ()
    return {n: values[column] for n in names if (column := f"{level.factor}.{n}") in values}


def _components(configuration: Configuration) -> dict[str, Any]:
    return {name: component.value for name, component in configuration.components.items()}

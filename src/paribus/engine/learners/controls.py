"""Missing controls: the cells that a comparison needs and a design lacks."""

from __future__ import annotations

from collections.abc import Sequence

from paribus.engine.learners.collection import collection_paused
from paribus.engine.learners.configuration import Configuration
from paribus.engine.learners.designs import Cell, Level
from paribus.engine.learners.resolver import Resolver
from paribus.interventions.designs import Product

_Token = tuple[str, str]


def with_controls(
    cells: Sequence[Cell], design: Product, base: Configuration, resolver: Resolver
) -> list[Cell]:
    """Add for each treated cell the one at its factor's declared control, all else equal.

    A list of entries crosses every control with everything, so it lacks none; a union may, as in
    ``SetOptimizer(…) * PerturbWeights(…) + control``, where the control has one optimizer only. Nothing is
    added for a factor without a declared control: `one_at_a_time` does that.

    Args:
        cells: What the design expands to.
        design: The design.
        base: The unchanged configuration.
        resolver: What resolved the cells.

    Returns:
        The cells, and behind them those that were missing.
    """
    if all(len(set(entry.kinds())) == 1 for entry in design.factors):
        return list(cells)
    with collection_paused():
        complete = list(cells)
        controls = {level.factor: level for cell in cells for level in cell.levels if level.control}
        for factor, control in controls.items():
            present = {_others(cell, factor) for cell in complete if _has(cell, factor, control=True)}
            for cell in [cell for cell in complete if _has(cell, factor, control=False)]:
                others = _others(cell, factor)
                if others not in present:
                    present.add(others)
                    complete.append(_at_control(cell, control, base, resolver))
    return complete


def _has(cell: Cell, factor: str, control: bool) -> bool:
    return any(level.factor == factor and level.control == control for level in cell.levels)


def _others(cell: Cell, factor: str) -> frozenset[_Token]:
    """Tell all else of a cell, by what its levels do."""
    return frozenset(
        (level.factor, repr(sorted(level.intervention.parameters().items(), key=lambda item: item[0])))
        for level in cell.levels
        if level.factor != factor
    )


def _at_control(cell: Cell, control: Level, base: Configuration, resolver: Resolver) -> Cell:
    levels = tuple(control if level.factor == control.factor else level for level in cell.levels)
    configuration = base
    for level in sorted(levels, key=lambda level: level.intervention.stage):
        configuration = resolver.apply(configuration, level.intervention)
    return Cell(levels, resolver.canonical(configuration))

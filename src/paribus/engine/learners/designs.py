"""How a grid is read: designs, and the cells that they expand to under a base configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, final

from paribus.engine.learners.collection import collection_paused
from paribus.engine.learners.configuration import Configuration
from paribus.engine.learners.resolver import Resolver
from paribus.errors import LevelError
from paribus.interventions.base import Intervention
from paribus.interventions.checks import check_count
from paribus.interventions.designs import Components, Design, Modified, Product, Union, Variations
from paribus.interventions.dimensions import Dimension


def one_at_a_time(*entries: Design) -> Design:
    """The unchanged control, and each entry alone: the classic ablation design.

    Example:
        >>> from paribus.interventions import PerturbWeights, SetOptimizer
        >>> design = one_at_a_time(PerturbWeights(epsilon=0.1), SetOptimizer(momentum=0.0))
        >>> len(design.terms)
        3
    """
    return Union((Product(), *entries))


def leave_one_out(*entries: Design) -> Design:
    """All entries together, and all but each one."""
    return leave_k_out(*entries, k=1)


def leave_k_out(*entries: Design, k: int = 2) -> Design:
    """All entries together, and all but each ``k`` of them.

    Raises:
        LevelError: ``k`` is no whole number between 1 and the number of entries.

    Example:
        >>> from paribus.interventions import ScaleGradients
        >>> layers = [ScaleGradients(0.0, layers=name) for name in ("fc1", "fc2", "fc3", "fc4")]
        >>> len(leave_k_out(*layers, k=2).terms)
        7
    """
    check_count("leave_k_out", "k", k, least=1)
    if entries and k > len(entries):
        raise LevelError(f"leave_k_out: k={k} of {len(entries)} entries; give at least as many entries as k")
    places = range(len(entries))
    rest = (tuple(entries[place] for place in places if place not in out) for out in combinations(places, k))
    return Union((Product(entries), *(Product(kept) for kept in rest)))


def pairs(*entries: Design) -> Design:
    """The unchanged control, each entry alone, and each two together: main effects and interactions."""
    return Union((Product(), *entries, *(Product(pair) for pair in combinations(entries, 2))))


@final
@dataclass(frozen=True)
class Opening:
    """What a level is made from in a design with search dimensions.

    Attributes:
        variations: What it is a level of.
        values: By parameter: a value; a dimension; or, where levels are computed from what they modify,
            which of them it is.
    """

    variations: Variations
    values: Mapping[str, object]

    @property
    def is_constant(self) -> bool:
        """Whether no configuration and no search changes it."""
        return not any(isinstance(value, Dimension | Computed) for value in self.values.values())

    def made(
        self, components: Components, chosen: Mapping[str, object], *, leave_out: bool = False
    ) -> Intervention:
        """Make the intervention.

        Args:
            components: The configuration that is modified.
            chosen: Values of dimensions, by parameter.
            leave_out: Whether parameters that are dimensions without a value are left out.
        """
        values: dict[str, Any] = {}
        for name, value in self.values.items():
            if isinstance(value, Dimension):
                if name in chosen or not leave_out:
                    values[name] = chosen[name]
            elif isinstance(value, Computed):
                values[name] = value.of(self.variations, name, components)
            else:
                values[name] = value
        return self.variations.intervention(**values)


@final
@dataclass(frozen=True)
class Computed:
    """One of the levels that a callable computes from the value that it modifies.

    Attributes:
        place: Which of them.
    """

    place: int

    def of(self, variations: Variations, name: str, components: Components) -> object:
        """Compute it for a configuration."""
        levels = variations.values(name, components)
        if self.place >= len(levels):
            raise LevelError(
                f"{variations.intervention.__name__}: the callable level of {name!r} gives {len(levels)} "
                "levels for one value of a search dimension and more for another; give always as many"
            )
        return levels[self.place]


@final
@dataclass(frozen=True, slots=True)
class Level:
    """One factor's level in a cell.

    Attributes:
        factor: Name of the factor: the intervention's class.
        intervention: The change.
        given: Names of the parameters that the user wrote.
        control: Whether the user declared it the control.
        opening: How it is made with values in place of its search dimensions; ``None``: it has none.
    """

    factor: str
    intervention: Intervention
    given: tuple[str, ...]
    control: bool
    opening: Opening | None = None


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of levels and the canonical configuration it resolves to.

    Attributes:
        levels: One of each factor.
        configuration: What they make of the base.
        adaptive: Whether a sampler chose among them that had seen results.
    """

    levels: tuple[Level, ...]
    configuration: Configuration
    adaptive: bool = False

    @property
    def control(self) -> bool:
        """Whether any of its levels was declared a control."""
        return any(level.control for level in self.levels)


def read(entries: Design | Iterable[Design]) -> Product:
    """Read a list of entries: crossed; entries of the same intervention united into one factor.

    Raises:
        LevelError: An entry is no design, or a factor has two controls.
    """
    alone = isinstance(entries, Design) or not isinstance(entries, Iterable)
    listed: list[object] = [entries] if alone else list(entries)  # type: ignore[arg-type]
    factors: dict[object, list[Design]] = {}
    for entry in listed:
        if not isinstance(entry, Design):
            raise LevelError(
                f"interventions: {entry!r} is no intervention; expected PerturbWeights(…), "
                "PerturbWeights.make_variations(…) or a design made of them"
            )
        kinds = set(entry.kinds())
        factors.setdefault(kinds.pop() if len(kinds) == 1 else id(entry), []).append(entry)
    united = tuple(terms[0] if len(terms) == 1 else Union(tuple(terms)) for terms in factors.values())
    return Product(united)


def expand(design: Product, base: Configuration, resolver: Resolver) -> list[Cell]:
    """Resolve every cell of a design under a base configuration, in the order in which it is written.

    Search dimensions stand at their middles, in levels that can be made again: see `Opening`.

    Raises:
        LevelError: A level does not fit the configuration, or a factor has two controls.
    """
    kinds = list(design.kinds())
    named = _named if len(set(kinds)) < len(kinds) else tuple
    with collection_paused():
        rows = _Expansion(resolver, has_dimensions(design)).rows(design, ((), base))
        cells = [Cell(named(levels), resolver.canonical(configuration)) for levels, configuration in rows]
        _check_controls(cells)
    return cells


_Row = tuple[tuple[Level, ...], Configuration]


class _Expansion:
    """Walks a design; the levels of one set of variations are made once for each value that they modify."""

    def __init__(self, resolver: Resolver, is_open: bool) -> None:
        self._resolver = resolver
        self._open = is_open
        self._levels: dict[tuple[object, ...], list[Level]] = {}

    def rows(self, design: Design, row: _Row) -> list[_Row]:
        match design:
            case Union(terms):
                return [new for term in terms for new in self.rows(term, row)]
            case Product(factors):
                return self._product(factors, row)
            case Variations():
                return self._apply(self._levels_of(design, row[1]), row)
            case Intervention():
                given = tuple(name for name, value in design.parameters().items() if value is not None)
                return self._apply([Level(type(design).__name__, design, given, False)], row)
            case _:
                raise LevelError(f"interventions: {design!r} is no design that can be read")

    def _product(self, factors: Sequence[Design], row: _Row) -> list[_Row]:
        """Apply factors by stage, then put the cells back into the written order."""
        staged = sorted(range(len(factors)), key=lambda index: _stage(factors[index]))
        rows: list[tuple[tuple[int, ...], _Row]] = [((), row)]
        for index in staged:
            rows = [
                ((*order, position), new)
                for order, old in rows
                for position, new in enumerate(self.rows(factors[index], old))
            ]
        if staged == sorted(staged):
            return [new for _, new in rows]
        written = sorted(range(len(staged)), key=lambda place: staged[place])
        rows.sort(key=lambda item: tuple(item[0][place] for place in written))
        width = len(row[0])
        return [(row[0] + _reordered(new[0][width:], factors), new[1]) for _, new in rows]

    def _apply(self, levels: Iterable[Level], row: _Row) -> list[_Row]:
        done, configuration = row
        apply = self._resolver.apply
        return [((*done, level), apply(configuration, level.intervention)) for level in levels]

    def _levels_of(self, variations: Variations, configuration: Configuration) -> list[Level]:
        memo: tuple[object, ...] = (id(variations),)
        if any(isinstance(axis, Modified) for axis in variations.axes.values()):
            memo += tuple(component.digest for component in configuration.components.values())
        if memo not in self._levels:
            values = {name: component.value for name, component in configuration.components.items()}
            name, given = variations.intervention.__name__, tuple(variations.axes)
            self._levels[memo] = [
                Level(name, made, given, variations.control, opening)
                for made, opening in self._made(variations, values)
            ]
        return self._levels[memo]

    def _made(
        self, variations: Variations, components: Components
    ) -> Iterator[tuple[Intervention, Opening | None]]:
        """Make the interventions; in an open design with what is needed to make them again."""
        if not self._open:
            yield from ((made, None) for made in variations.levels(components))
            return
        for values in openings(variations, components):
            opening = Opening(variations, values)
            middle = {name: v.at(0.5) for name, v in values.items() if isinstance(v, Dimension)}
            yield opening.made(components, middle), None if opening.is_constant else opening


def has_dimensions(design: Design) -> bool:
    """Tell whether a search dimension stands anywhere in a design."""
    match design:
        case Union(parts) | Product(parts):
            return any(map(has_dimensions, parts))
        case Variations():
            return any(isinstance(v, Dimension) for axis in _listed(design) for v in axis)
        case _:
            return False


def _listed(variations: Variations) -> list[tuple[object, ...]]:
    return [axis for axis in variations.axes.values() if not isinstance(axis, Modified)]


def openings(variations: Variations, components: Components) -> list[dict[str, object]]:
    """List what each level of some variations is made from, computed levels by their place."""
    cells: list[dict[str, object]] = [{}]
    for name, axis in variations.axes.items():
        values: Sequence[object] = variations.values(name, components)
        if isinstance(axis, Modified):
            values = [Computed(place) for place in range(len(values))]
        cells = [cell | {name: value} for cell in cells for value in values]
    return cells


def _reordered(levels: tuple[Level, ...], factors: Sequence[Design]) -> tuple[Level, ...]:
    places = {kind.__name__: index for index, factor in enumerate(factors) for kind in factor.kinds()}
    return tuple(sorted(levels, key=lambda level: places[level.factor]))


def _named(levels: tuple[Level, ...]) -> tuple[Level, ...]:
    """Number the levels of an intervention that a cell has twice: PerturbWeights, PerturbWeights_2."""
    names = [level.factor for level in levels]
    if len(set(names)) == len(names):
        return levels
    counts = {index: names[: index + 1].count(name) for index, name in enumerate(names)}
    return tuple(
        level if counts[index] == 1 else replace(level, factor=f"{level.factor}_{counts[index]}")
        for index, level in enumerate(levels)
    )


def _stage(design: Design) -> int:
    return min((kind.stage for kind in design.kinds()), default=0)


def _check_controls(cells: Sequence[Cell]) -> None:
    controls: dict[str, Mapping[str, object]] = {}
    for cell in cells:
        for level in cell.levels:
            if not level.control:
                continue
            treatment = treatment_of(level)
            if controls.setdefault(level.factor, treatment) != treatment:
                raise LevelError(
                    f"{level.factor}: two controls, {dict(controls[level.factor])} and {dict(treatment)}; "
                    "a factor has one control, so mark only one level with control=True"
                )


def treatment_of(level: Level) -> Mapping[str, object]:
    """Return the parameters of a level that are no seeds."""
    replicates = level.intervention.replicates
    values = level.intervention.parameters()
    return {name: values[name] for name in level.given if name not in replicates}

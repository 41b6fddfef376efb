"""What is compared with what, where the user says so: some factors alone, or another level as the control."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from paribus.analysis.factors import Factor, at_control, require
from paribus.analysis.wording import condition_text, short_names
from paribus.errors import AnalysisError, suggest

_SHOWN = 6  # levels that an error lists


def named_factors(factors: Sequence[Factor], names: str | Sequence[str]) -> list[Factor]:
    """Find the factors of these names, in the order of the experiment.

    Raises:
        AnalysisError: A name is no factor's, or that of one without treatments.
    """
    wanted = [names] if isinstance(names, str) else list(names)
    known = [factor.name for factor in factors if factor.treatments]
    for name in wanted:
        if name not in known:
            raise AnalysisError(
                f"compare: factor={name!r} is no factor with a treatment {suggest(name, known)}"
            )
    return [factor for factor in factors if factor.name in wanted]


def factors_named_by(factors: Sequence[Factor], against: Mapping[str, object]) -> list[Factor]:
    """Find the factors of the treatment columns that `against` names.

    Raises:
        AnalysisError: It names no column, or one that is no treatment.
    """
    treatments = {column: factor for factor in factors for column in factor.treatments}
    if not against:
        raise AnalysisError(
            'compare: against={} names no level; give one, as in against={"SetOptimizer.lr": 0.1}'
        )
    for column in against:
        if column not in treatments:
            raise AnalysisError(
                f"compare: against names {column!r}, no treatment {suggest(column, treatments)}"
            )
    return [factor for factor in factors if set(factor.treatments) & set(against)]


def united(
    factors: Sequence[Factor], chosen: Sequence[Factor], control: Mapping[str, object]
) -> list[Factor]:
    """Make one factor of the chosen ones, with this control, in the place of the first."""
    one = Factor(
        " and ".join(factor.name for factor in chosen),
        tuple(column for factor in chosen for column in factor.treatments),
        tuple(column for factor in chosen for column in factor.replicates),
        control,
    )
    others = [factor for factor in factors if factor not in chosen[1:]]
    return [one if factor is chosen[0] else factor for factor in others]


def complete(
    results: pl.DataFrame, chosen: Sequence[Factor], against: Mapping[str, object]
) -> dict[str, object]:
    """Fill a level of some factors up to a whole condition of them, as far as that can be said.

    A factor that `against` does not name is at its declared control, else absent. A column of a factor that
    it names has the one value that occurs there; with several, it is left out, and must be equal in both.

    Raises:
        AnalysisError: No learner is there.
    """
    require(results, [column for factor in chosen for column in factor.treatments], "compare")
    found = dict(against)
    for factor in chosen:
        if not set(factor.treatments) & set(against):
            found |= factor.control or dict.fromkeys(factor.treatments)
    there = results.filter(at_control(results, found))
    if there.is_empty():
        raise AnalysisError(f"compare: no learner is at {_text(found)}; {_occurring(results, found)}")
    open_columns = [column for factor in chosen for column in factor.treatments if column not in found]
    return found | {c: there[c][0] for c in open_columns if there[c].n_unique() == 1}


def _text(levels: Mapping[str, object]) -> str:
    return condition_text(levels, short_names(list(levels)))


def _occurring(results: pl.DataFrame, columns: Iterable[str]) -> str:
    conditions = results.select(*columns).unique(maintain_order=True).head(_SHOWN).iter_rows(named=True)
    return "there are " + "; ".join(map(_text, conditions))

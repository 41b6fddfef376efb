"""Interventions on the objective: its named terms removed or reweighted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from paribus.errors import LevelError
from paribus.interventions.checks import Window, check_number, check_window
from paribus.interventions.sites import ObjectiveIntervention


@final
@dataclass(frozen=True)
class WeightTerm(ObjectiveIntervention):
    """Train with another weight on one of the objective's named terms; 0 removes it, 1 leaves it as it is.

    An objective has named terms when it returns a mapping, ``{"reconstruction": …, "kl": …}``, or when
    ``loss=`` is one. A term that is removed is not differentiated: a parameter that only it reaches takes no
    step. What is recorded as loss stays the objective's own, all weights 1, so that learners are comparable.

    Attributes:
        term: Name of the term.
        weight: Its weight.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Raises:
        ObjectiveError: The objective has no such term (in the first step, before training).

    Example:
        >>> WeightTerm.make_variations(term="kl", weight=(0.0, 0.1, 10.0)).axes["weight"]
        (0.0, 0.1, 10.0)
    """

    term: str
    weight: float = 0.0
    when: Window | None = None

    def __post_init__(self) -> None:
        check_window("WeightTerm", self.when)
        if not isinstance(self.term, str):
            raise LevelError(
                f"WeightTerm: term={self.term!r} is no name; give the name of a term, as in 'kl'"
            )
        check_number("WeightTerm", "weight", self.weight)
        if math.isinf(self.weight):
            raise LevelError(f"WeightTerm: weight={self.weight!r}; give a finite number")
        object.__setattr__(self, "weight", float(self.weight))

    def edit(self, weights: Mapping[str, float]) -> Mapping[str, float]:
        """Return the weights with this one; a weight of 1 is left out, as it is where nobody writes it."""
        others = {term: weight for term, weight in weights.items() if term != self.term}
        return others if self.weight == 1 else {**others, self.term: self.weight}

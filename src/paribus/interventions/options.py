"""Options of the user's own training function as levels of a grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from paribus.interventions.base import Edit, Intervention


@final
@dataclass(frozen=True, init=False)
class SetOption(Intervention):
    """Train with other options of one's own training function, ``Experiment(train=…)``.

    The function finds them in ``learner.settings``. An option that is left out is not there, and has another
    identity than one with the function's default.

    Attributes:
        options: Values by name.

    Raises:
        LevelError: The experiment has no such function (when the grid is read, before training).

    Example:
        >>> len(list(SetOption.make_variations(mixup=(0.0, 0.2), warmup=(0, 100)).levels({})))
        4
    """

    options: Mapping[str, Any] = field(default_factory=dict)

    def __init__(self, **options: Any) -> None:
        object.__setattr__(self, "options", dict(sorted(options.items())))

    def edits(self) -> Mapping[str, Edit]:
        """Put these options beside others."""
        return {"options": lambda options: {**options, **self.options}}

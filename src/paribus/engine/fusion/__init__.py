"""Many small learners trained as one, with the bits of each trained alone."""

from __future__ import annotations

from typing import Literal, TypeAlias

from paribus.errors import ConfigurationError

Fuse: TypeAlias = int | Literal["auto", False]
"""How many learners are trained as one at most; ``"auto"``: as many as pay, and none where it does not."""

# Writing and proving a program takes about as long as a few hundred steps of a small model.
WORTH = 400


def check_fuse(fuse: object) -> None:
    """Refuse what says nothing about groups.

    Raises:
        ConfigurationError: It is neither ``"auto"``, ``False`` nor a number of at least 1.
    """
    counts = isinstance(fuse, int) and not isinstance(fuse, bool) and fuse >= 1
    if fuse is not False and fuse != "auto" and not counts:
        raise ConfigurationError(
            f"run: fuse={fuse!r}; expected 'auto', False, or how many learners are one group at most"
        )


def worth(fuse: Fuse, steps: int) -> Fuse:
    """Return ``fuse`` as it is for so many steps: with ``"auto"``, a few are not worth a program."""
    return False if steps < (WORTH if fuse == "auto" else 1) else fuse

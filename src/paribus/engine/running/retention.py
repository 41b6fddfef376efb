"""Which states stay on disk. Metrics always do; a state that was dropped is replayed when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from paribus.engine.planning.plan import Plan
from paribus.errors import ConfigurationError
from paribus.store import Store, sweep

Keep = Literal["all", "ends"] | int


def check_keep(keep: object) -> None:
    """Refuse what is no rule.

    Raises:
        ConfigurationError: It is neither ``"all"``, ``"ends"`` nor a number of bytes.
    """
    if keep not in ("all", "ends") and (isinstance(keep, bool) or not isinstance(keep, int) or keep < 0):
        raise ConfigurationError(
            f"run: keep={keep!r}; expected 'all', 'ends' or a number of bytes, as in 10**9"
        )


def retain(plan: Plan, store: Store, keep: Keep) -> int:
    """Drop the states of an experiment that a rule does not keep; return the bytes freed.

    Args:
        plan: The experiment after its run.
        store: Where its states are.
        keep: ``"all"``; ``"ends"``: only those at the end of a learner; a number of bytes: as many as fit,
            ends first, then those that most learners pass through.

    Raises:
        StoreError: The store cannot be written.
    """
    if keep == "all":
        return 0
    digests = {s.key: plan.states[s.key] for s in plan.segments if s.key in plan.states}
    stored = store.sizes(digests.values())
    sizes = {key: stored.get(digest, 0) for key, digest in digests.items()}
    dropped = dispensable(plan, sizes, keep)
    store.forget(dropped, "state")
    return sweep(store, (digests[key] for key in dropped))


def dispensable(plan: Plan, sizes: Mapping[str, int], keep: Keep) -> list[str]:
    """List the keys of the states that a rule does not keep. Pure.

    Args:
        plan: The experiment after its run.
        sizes: Bytes of each stored state, by key.
        keep: The rule.
    """
    ends = {plan.segments[learner.path[-1]].key for learner in plan.learners if learner.path}
    if not isinstance(keep, int):
        return [key for key in sizes if key not in ends] if keep == "ends" else []
    passing = {segment.key: len(segment.learners) for segment in plan.segments}
    left, dropped = keep, []
    for key in sorted(sizes, key=lambda key: (key not in ends, -passing[key])):
        left -= sizes[key]
        if left < 0:
            dropped.append(key)
    return dropped

"""All that is tried before anything is trained, in order: what is refused here has cost nothing."""

from __future__ import annotations

from collections.abc import Sequence

from paribus.engine.building.work import Work
from paribus.engine.learners.configuration import Configuration
from paribus.engine.learners.reading import check_optimizers
from paribus.engine.proving.certification import certify_architectures
from paribus.engine.proving.inspection import try_first_step
from paribus.engine.proving.rehearsal import rehearse
from paribus.engine.proving.trial import try_interventions
from paribus.engine.training.device import at_hand
from paribus.store import Store


def check_before_training(
    work: Work,
    store: Store,
    learners: Sequence[Configuration],
    ends: Sequence[Configuration],
    *,
    first: bool,
) -> None:
    """Refuse optimizers that cannot be made, and changes that cannot be made or are none; try one step.

    Not when an experiment is written: making an optimizer costs torch seconds of imports, and a cached
    experiment none. What is trained on a device that is not here is tried on the CPU.

    Args:
        work: What all learners share.
        store: Where their results are put.
        learners: Those that were not checked yet.
        ends: Of what a search may suggest, the ends of its ranges.
        first: Whether nothing was checked yet: then one step is taken, and watched.

    Raises:
        ConfigurationError: Something cannot be made, or changes nothing; the class says which.
        ObjectiveError: The loss cannot be minimised.
    """
    limits, here = ([at_hand(each) for each in some] for some in (ends, learners))
    check_optimizers(limits)
    rehearse(work, limits)
    check_optimizers(here)
    if first:
        try_first_step(work, here[0], store)
    certify_architectures(work, here)
    try_interventions(work, here)
    rehearse(work, here)

"""The data of a learner: the splits of the experiment, changed as its configuration says."""

from __future__ import annotations

from collections.abc import Mapping

from paribus.engine.configuration import Configuration
from paribus.engine.data import Source
from paribus.engine.work import Work


def prepared(work: Work, configuration: Configuration) -> Mapping[str, Source]:
    """Return the splits that a learner is trained and evaluated on."""
    splits = work.splits
    for change in configuration.preparation:
        splits = change.edit(splits)
    return splits

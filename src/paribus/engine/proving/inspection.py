"""What is tried on a model of its own before anything is trained: one step, watched."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from paribus.engine.building.architecture import build_model, probe_of
from paribus.engine.building.model import counts_contents
from paribus.engine.building.objective import check_loss
from paribus.engine.building.work import Work
from paribus.engine.learners.configuration import Configuration
from paribus.engine.proving.unsaved import UnsavedStateWarning, changed_values, plain_values, warning_of
from paribus.engine.training.ledger import read_parts
from paribus.engine.training.segment import numerics
from paribus.errors import ConfigurationError, DataError, ParibusError
from paribus.identity import Fingerprint, fingerprint
from paribus.identity.audit import calls_made, outside
from paribus.store import Store

_SEEDS = 2**32  # a seed that nobody gave is a random number of many more bits


class UncoveredCodeWarning(UserWarning):
    """Code of the user's ran that no fingerprint counts: a change of it would not change the key."""


class UnseededWeightsWarning(UserWarning):
    """Weights or buffers that count come from an unseeded generator: no other process has such a key."""


def try_step(work: Work, configuration: Configuration) -> list[str]:
    """Take the first step of a learner on a model of its own; say what of it changes and is in no state.

    Raises:
        ConfigurationError: The factory gives the same weights each time.
        ObjectiveError: The loss cannot be minimised.
    """
    with numerics(configuration.numerics):
        model = build_model(work, configuration)
        _refuse_shared(model, work.model.blank())
        if work.train is not None:
            return []
        probe, before = probe_of(work, configuration), plain_values(model)
        try:
            loss = probe.loss(model, probe.batch)
        except ParibusError:
            raise
        except Exception:  # of this learner, and recorded when its turn comes: it stops nobody else
            return []
        check_loss(loss)
        optimizer = probe.optimizer(model)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return changed_values(model, before)


def _refuse_shared(model: nn.Module, other: nn.Module) -> None:
    theirs = set(map(id, other.parameters()))
    shared = [name for name, parameter in model.named_parameters() if id(parameter) in theirs]
    if shared:
        raise ConfigurationError(
            f"model: the factory gives the same parameter {shared[0]!r} each time, and all learners would "
            "train it; make a new module at each call, or give the module itself with weights='keep'"
        )


def uncovered(work: Work, configuration: Configuration) -> list[str]:
    """Name the user's functions that run in a first step and are outside the fingerprint.

    Raises:
        ObjectiveError: The loss cannot be minimised.
    """
    return _watched(work, configuration)[0]


def _watched(work: Work, configuration: Configuration) -> tuple[list[str], list[str]]:
    """Take a first step; name the functions outside the fingerprint, and the values outside the state."""
    unsaved: list[str] = []
    ran = calls_made(lambda: unsaved.extend(try_step(work, configuration)))
    changes = configuration.preparation, configuration.architecture
    counted = [*configuration.fingerprints().values(), *map(fingerprint, (configuration.optimizer, changes))]
    return outside(ran, counted), unsaved


def mend(names: Iterable[str]) -> str:
    """Say what to do about functions that are outside the fingerprint."""
    return (
        f"{', '.join(names)}: ran in the first step, and a change of it would not change the key, since "
        "the way it is reached cannot be read from the code; declare it with Experiment(depends_on=[…])"
    )


def drawn_unseeded(work: Work, configuration: Configuration, store: Store) -> bool:
    """Say whether a stored model differs in its numbers alone, where nobody has seeded torch's generator.

    Either sign alone is none: weights may come from a file, and a seed may have been changed on purpose.
    """
    if torch.initial_seed() < _SEEDS or not counts_contents(work.model):
        return False
    own = configuration.fingerprints()["model"].parts
    models = {record.references["model"]: record for record in store.scan() if "model" in record.references}
    stored = [read_parts(store, record)["model"] for record in models.values()]
    return any(other != own and _structure(other) == _structure(own) for other in stored)


def _structure(parts: Mapping[str, str]) -> dict[str, str]:
    return {path: text for path, text in parts.items() if not path.endswith("/rows")}


UNSEEDED = (
    "model: the store has the same model with other numbers in its weights or buffers, and torch was not "
    "seeded: drawn like this, they differ in every process and no result is found again; call "
    "torch.manual_seed(…) before the model is made, or load them from a file"
)


def check_unchanged(configuration: Configuration, data: Fingerprint) -> None:
    """Refuse data that is no more what the keys name.

    Raises:
        DataError: The data has another fingerprint than the configuration.
    """
    if data.digest != configuration.fingerprints()["data"].digest:
        raise DataError(
            "data: it was changed after the experiment was written, and the keys name what it was; "
            "write the Experiment again"
        )


def try_first_step(work: Work, configuration: Configuration, store: Store) -> None:
    """Try the first step, and warn of what makes its key or its states untrustworthy.

    Raises:
        ObjectiveError: The loss cannot be minimised.
    """
    if drawn_unseeded(work, configuration, store):
        warnings.warn(UNSEEDED, UnseededWeightsWarning, stacklevel=5)
    names, values = _watched(work, configuration)
    if names:
        warnings.warn(mend(names), UncoveredCodeWarning, stacklevel=5)
    if values:
        warnings.warn(warning_of(values), UnsavedStateWarning, stacklevel=5)

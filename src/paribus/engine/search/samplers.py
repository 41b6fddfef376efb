"""Optuna's samplers: made from what the user gives, and identified."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from paribus.errors import ConfigurationError, FingerprintError
from paribus.identity import digest

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

_CLASSES = {"tpe": "TPESampler", "cmaes": "CmaEsSampler", "gp": "GPSampler", "nsga2": "NSGAIISampler"}


def make_sampler(sampler: str | BaseSampler | Callable[..., BaseSampler], seed: int) -> BaseSampler:
    """Make a fresh sampler; of an instance, a copy.

    Raises:
        ConfigurationError: A factory makes none.
    """
    import optuna

    if isinstance(sampler, optuna.samplers.BaseSampler):
        return copy.deepcopy(sampler)
    factory = getattr(optuna.samplers, _CLASSES[sampler]) if isinstance(sampler, str) else sampler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        made = factory(seed=seed)
    if not isinstance(made, optuna.samplers.BaseSampler):
        raise ConfigurationError(
            f"Search: sampler={sampler!r} makes {type(made).__name__}, no Optuna sampler; "
            "give one, or what makes one from seed="
        )
    return made


def identity_of(sampler: str | BaseSampler | Callable[..., BaseSampler]) -> bytes:
    """Identify a sampler, (16 bytes): by its class and values, not by Optuna's version.

    Raises:
        ConfigurationError: It is no sampler, has no seed, or holds what cannot be identified.
    """
    try:
        match sampler:
            case str():
                return digest(sampler)
            case partial():
                named = tuple(sorted(sampler.keywords.items()))
                return digest((identity_of(sampler.func), sampler.args, named))
            case type():
                return digest((sampler.__module__, sampler.__qualname__))
            case _ if _is_sampler(sampler):
                return digest(tuple(_parts(sampler, type(sampler).__name__, set())))
            case _ if callable(sampler):
                return digest(sampler)
    except FingerprintError as error:
        raise ConfigurationError(
            f"Search: sampler={sampler!r} cannot be identified ({error}); give its class or a partial of it, "
            "as in partial(TPESampler, n_startup_trials=5)"
        ) from error
    raise ConfigurationError(
        f"Search: sampler={sampler!r}; expected a name such as 'tpe', an Optuna sampler, or what makes one"
    )


def _is_sampler(value: object) -> bool:
    import optuna

    return isinstance(value, optuna.samplers.BaseSampler)


def _parts(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, object]]:
    """Yield what tells an instance from others of its class: values, and states of generators."""
    if id(value) in seen:
        return
    if isinstance(value, np.random.RandomState):
        yield (
            path,
            tuple(part.tobytes() if isinstance(part, np.ndarray) else part for part in value.get_state()),
        )
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _parts(part, f"{path}.{name}", seen)
    elif type(value).__module__.startswith("optuna") and hasattr(value, "__dict__"):
        seen.add(id(value))
        yield path, f"{type(value).__module__}.{type(value).__qualname__}"
        if vars(value).get("_rng", value) is None:
            raise ConfigurationError(
                f"Search: {path} has no seed, so that nothing could be asked again; "
                "give one, as in TPESampler(seed=0)"
            )
        for name, part in sorted(vars(value).items()):
            yield from _parts(part, f"{path}.{name}", seen)
    else:
        yield path, value

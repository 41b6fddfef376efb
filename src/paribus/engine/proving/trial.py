"""Interventions tried before training: each must find what it is to change in a first step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import nn

from paribus.engine.building.architecture import build_model, model_digest, probe_of
from paribus.engine.building.nested import map_tensors
from paribus.engine.building.objective import total
from paribus.engine.building.work import Work
from paribus.engine.learners.configuration import Configuration, Event, terms_at
from paribus.engine.training.segment import numerics
from paribus.engine.training.sites import edited_batch
from paribus.errors import LevelError, ParibusError
from paribus.interventions.selection import as_globs, selected_modules, selected_parameters
from paribus.interventions.sites import (
    ActivationsIntervention,
    BatchIntervention,
    Call,
    GradientsIntervention,
    ObjectiveIntervention,
)

_SITES: tuple[Any, ...] = (BatchIntervention, ActivationsIntervention, GradientsIntervention)


def try_interventions(work: Work, configurations: Iterable[Configuration]) -> None:
    """Take a first step for each distinct model and data, and try there what acts within steps.

    Where the user's own code raises, the learner fails with that when its turn comes, and stops nobody else.

    Raises:
        ConfigurationError: An intervention finds nothing to change, or cannot change what it finds.
    """
    for group in _groups(configurations):
        with numerics(group.first.numerics), users_errors_wait():
            _try_group(work, group)


@contextmanager
def users_errors_wait() -> Iterator[None]:
    """Pass over what the user's own code raises: it is the learner's, recorded when its turn comes."""
    try:
        yield
    except ParibusError:
        raise
    except Exception:
        return


@final
@dataclass(frozen=True)
class _Group:
    """What acts in the steps of the configurations that have model and data in common.

    Attributes:
        first: One of the configurations.
        events: The distinct timed interventions.
        weights: The distinct weights of the objective's terms.
    """

    first: Configuration
    events: dict[bytes, Event] = field(default_factory=dict)
    weights: dict[tuple[tuple[str, float], ...], Mapping[str, float]] = field(default_factory=dict)

    def add(self, configuration: Configuration) -> None:
        self.events.update({event.digest: event for event in configuration.timeline})
        windows = [e for e in configuration.timeline if isinstance(e.intervention, ObjectiveIntervention)]
        if windows or configuration.terms:
            for step in {0, *(mark for e in windows for mark in (e.start, e.stop) if mark is not None)}:
                weights = terms_at(configuration, step)
                self.weights[tuple(sorted(weights.items()))] = weights

    def of(self, *sites: Any) -> list[tuple[Any, int]]:
        """Return the interventions at some sites, with the first step of each."""
        found = [event for event in self.events.values() if isinstance(event.intervention, sites)]
        return [(event.intervention, max(event.start, 0)) for event in found]


def _groups(configurations: Iterable[Configuration]) -> list[_Group]:
    groups: dict[bytes, _Group] = {}
    for configuration in configurations:
        if configuration.timeline or configuration.terms:
            groups.setdefault(model_digest(configuration), _Group(configuration)).add(configuration)
    return [group for group in groups.values() if group.weights or group.of(*_SITES)]


def _try_group(work: Work, group: _Group) -> None:
    model = build_model(work, group.first)
    batch = probe_of(work, group.first).batch
    for each, step in group.of(BatchIntervention):
        with users_errors_wait():
            edited_batch(each, batch, step, group.first.seeds.augment)
    with _watched(model, group.of(ActivationsIntervention)) as found:
        value = work.objective.value(model, batch)
    _check_called(found)
    for weights in group.weights.values():
        total(value, weights)
    asked = [each for each, _ in group.of(GradientsIntervention) if hasattr(each, "layers")]
    if asked:
        total(value).backward()  # type: ignore[no-untyped-call]
        _check_gradients(model, asked)


_Found = dict[tuple[str, str], dict[str, bool]]


@contextmanager
def _watched(model: nn.Module, asked: Iterable[tuple[ActivationsIntervention, int]]) -> Iterator[_Found]:
    """Try interventions on what submodules give; yield, for each glob, which of its submodules gave any."""
    found: _Found = {}
    with ExitStack() as handles:
        for each, step in asked:
            for glob in as_globs(each.layers):
                modules = selected_modules(model, glob, type(each).__name__)
                given = found.setdefault((type(each).__name__, glob), dict.fromkeys(modules, False))
                for path, module in modules.items():
                    handles.callback(
                        module.register_forward_hook(_trying(each, Call(path, step), given)).remove
                    )
        yield found


def _trying(each: ActivationsIntervention, call: Call, given: dict[str, bool]) -> Any:
    def tried(module: nn.Module, inputs: object, output: Any) -> None:
        map_tensors(try_one, output)

    def try_one(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_floating_point():
            given[call.layer] = True
            with torch.no_grad(), users_errors_wait():
                _check_edited(each, call, tensor, each.edit(tensor, call))
        return tensor

    return tried


def _check_edited(each: ActivationsIntervention, call: Call, before: torch.Tensor, after: object) -> None:
    shape = tuple(after.shape) if isinstance(after, torch.Tensor) else type(after).__name__
    if shape != tuple(before.shape):
        raise LevelError(
            f"{type(each).__name__}: it made {shape} of what {call.layer!r} gave, a tensor of shape "
            f"{tuple(before.shape)}; return a tensor of that shape from edit"
        )


def _check_called(found: _Found) -> None:
    """Refuse what would silently do nothing: containers, and layers whose weights others read."""
    for (name, glob), given in found.items():
        if not any(given.values()):
            raise LevelError(
                f"{name}: {glob!r} matches {', '.join(map(repr, given))}, and no forward pass of it gives a "
                "floating tensor in the first step; name a submodule that is called, as the one around it"
            )


def _check_gradients(model: nn.Module, asked: Iterable[Any]) -> None:
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for each in asked:
        name = type(each).__name__
        chosen = selected_parameters(gradients, each.layers, name)
        if chosen and all(gradients[parameter] is None for parameter in chosen):
            raise LevelError(
                f"{name}: {each.layers!r} matches {', '.join(map(repr, sorted(chosen)))}, and none has a "
                "gradient in the first step; name a parameter that is trained"
            )

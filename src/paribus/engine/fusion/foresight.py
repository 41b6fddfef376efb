"""What is trained alone, as one step of each kind of learner tells before anything is trained, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeAlias

import torch
from torch import nn

from paribus.engine.building.architecture import build_model, probe_of
from paribus.engine.building.optimizer import parameter_groups
from paribus.engine.building.work import Work
from paribus.engine.fusion import WORTH, Fuse, worth
from paribus.engine.fusion.alone import FORMS, makes_another, obstacle_in_optimizer, obstacle_of
from paribus.engine.fusion.kinds import most_in_cache, obstacle_in_model
from paribus.engine.fusion.trace import Untraceable, agreed, trace_step
from paribus.engine.learners.configuration import Configuration, Event, setting_at
from paribus.engine.training.device import at_hand
from paribus.engine.training.segment import quick_numerics
from paribus.errors import in_one_line
from paribus.interventions.settings import OptimizerSetting

# A model is made and two steps are traced for each: of so many, that is soon done.
_TRIED = 16
_DECIDING = ("model", "data", "objective", "code", "architecture", "preparation", "numerics")

Segment: TypeAlias = tuple[Configuration, int, int]
"""A learner's steps, from the first to the one after the last."""

_Kind: TypeAlias = tuple[bytes, object, bool]

_tried: dict[_Kind, str | None] = {}
"""Why the steps of a kind are those of no group, as far as this process has tried."""


def notes_of(
    segments: Iterable[Segment], work: Callable[[], Work], fuse: Fuse, *, opaque: bool
) -> tuple[str, ...]:
    """Count segments by why they are trained alone: lines of a plan.

    Args:
        segments: What is to be trained.
        work: Gives what all learners share; it is asked where a step must be tried.
        fuse: How many learners are one group at most.
        opaque: Whether the training function is the user's own.
    """
    reasons, lengths = Counter[str](), Counter[bytes]()
    often, first = Counter[_Kind](), dict[_Kind, Segment]()
    for segment, count, steps in _counted(segments):
        kind = _kind_of(*segment[:2], fuse)
        lengths[kind[0]] += steps
        if reason := obstacle_of(*segment[:2], opaque=opaque):
            reasons[reason] += count
        else:
            often[kind] += count
            first.setdefault(kind, segment)
    kinds = often.most_common()
    for kind, count in kinds[:_TRIED]:
        if reason := _obstacle(kind, *first[kind][:2], work, fuse) or _too_few(lengths[kind[0]], fuse):
            reasons[reason] += count
    lines = [f"{n} × a segment that is no part of a group: {reason}" for reason, n in reasons.most_common()]
    if left := sum(count for _, count in kinds[_TRIED:]):
        lines.append(f"{left} × a segment of which the run finds out: there are {len(kinds)} kinds of models")
    return tuple(lines)


def _counted(segments: Iterable[Segment]) -> Iterable[tuple[Segment, int, int]]:
    """Count the segments of one experiment, and their steps, by what may decide; each sort by its first.

    A grid has this in its innermost loop.
    """
    first: dict[object, Segment] = {}
    counts: dict[object, int] = {}
    steps: dict[object, int] = {}
    for segment in segments:
        configuration, start, stop = segment
        parts, active = configuration.components, configuration.active(start)
        acts = tuple([_acting(e) for e in active]) if active else ()
        sort = parts["architecture"].digest, parts["preparation"].digest, parts["optimizer"].digest, acts
        if sort in counts:
            counts[sort] += 1
            steps[sort] += stop - start
        else:
            first[sort], counts[sort], steps[sort] = segment, 1, stop - start
    return zip(first.values(), counts.values(), steps.values(), strict=True)


def _too_few(steps: int, fuse: Fuse) -> str | None:
    """Tell that a program of some shapes is not worth it, of all steps that are to be taken with them."""
    told = f"all that have its shapes take {steps} steps, and a program is worth {WORTH}"
    return None if worth(fuse, steps) else told


def _acting(event: Event) -> object:
    """Return what of an event may decide: its class, and what it does where that makes another optimizer."""
    return event.digest if makes_another(event.intervention) else type(event.intervention)


def _kind_of(configuration: Configuration, step: int, fuse: Fuse) -> _Kind:
    """Return what decides whether a step is that of a group, where nothing acts in it; its shapes first."""
    parts = configuration.components
    deciding = b"".join([parts[name].digest for name in _DECIDING])
    return deciding, _form(setting_at(configuration, step)), fuse == "auto"


def _form(setting: OptimizerSetting) -> object:
    """Return what of an optimizer decides."""
    options = dict(setting.hyperparameters)
    return setting.kind, repr(setting.groups), tuple(bool(options.get(form)) for form in FORMS)


def _obstacle(
    kind: _Kind, configuration: Configuration, step: int, work: Callable[[], Work], fuse: Fuse
) -> str | None:
    if kind not in _tried:
        try:
            _tried[kind] = _obstacle_in_step(configuration, step, work(), fuse)
        except Exception as error:  # it is recorded when its turn comes, and stops nobody else
            return f"the first of them fails ({type(error).__name__}: {in_one_line(error)})"
    return _tried[kind]


def _obstacle_in_step(configuration: Configuration, step: int, work: Work, fuse: Fuse) -> str | None:
    """Tell why a step is that of no group: it is traced twice, with a model of its own.

    No optimizer is made: the first costs torch seconds of imports.
    """
    here = at_hand(configuration)
    with quick_numerics(here.numerics):
        model = build_model(work, here)
        if reason := obstacle_in_model(model) or _obstacle_in_setting(model, setting_at(here, step)):
            return reason
        if fuse == "auto" and _is_on_cpu(configuration) and most_in_cache(model) == 1:
            return "its model is so large that a group gains nothing"
        probe = probe_of(work, here)
        try:
            agreed([trace_step(model, lambda: probe.loss(model, probe.batch), probe.batch) for _ in range(2)])
        except Untraceable as reason:
            return str(reason)
    return None


def _obstacle_in_setting(model: nn.Module, setting: OptimizerSetting) -> str | None:
    groups = parameter_groups(model, setting)
    return obstacle_in_optimizer(setting.kind, dict(setting.hyperparameters), len(groups))


def _is_on_cpu(configuration: Configuration) -> bool:
    """Tell where learners are trained: on other devices, how many have room is known there."""
    return torch.device(configuration.numerics.device).type == "cpu"

"""The model fitted to samples of another shape: the first layers that fail are rebuilt."""

from __future__ import annotations

import torch
from torch import nn

from paribus.errors import ShapeUnrepairable
from paribus.interventions.features.selectors import NAME
from paribus.interventions.layers.nested import mapped, shapes
from paribus.interventions.layers.planning import MOST_REBUILDS
from paribus.interventions.layers.rebuilding import Rebuild, rebuild, rebuilt
from paribus.interventions.layers.surgery import Surgery, operate, put, shared
from paribus.interventions.layers.trace import Trace, trace
from paribus.interventions.sites import Probe


def fit_input(model: nn.Module, probe: Probe) -> nn.Module:
    """Rebuild the layers that cannot take the samples, drawn anew from their own streams; all others stay.

    Args:
        model: The caller's own copy.
        probe: How it may be tried.

    Raises:
        ShapeUnrepairable: What fails is no layer that can be rebuilt for another width, or too many do.
    """
    return operate(model, fitting(model, probe), probe.seed)


def fitting(model: nn.Module, probe: Probe) -> Surgery:
    """Find the layers that must be rebuilt for the samples; the model is left as it is.

    Raises:
        ShapeUnrepairable: What fails is no layer that can be rebuilt for another width, or too many do.
    """
    trial, rebuilds = shared(model), list[Rebuild]()
    while True:
        seen = trace(trial, probe.loss, mapped(torch.Tensor.clone, probe.batch))
        if seen.error is None:
            return Surgery("layers rebuilt for samples of another shape", rebuilds=tuple(rebuilds))
        how = _rebuild(trial, seen) if len(rebuilds) < MOST_REBUILDS else None
        if how is None:
            raise _refusal(seen, probe, len(rebuilds))
        put(trial, how.path, rebuilt(trial.get_submodule(how.path), how, probe.seed, sliced=False))
        rebuilds.append(how)


def _rebuild(model: nn.Module, seen: Trace) -> Rebuild | None:
    call = seen.failed
    if call is None or not call.inputs:
        return None
    return rebuild(call.path, model.get_submodule(call.path), tuple(call.inputs[0].shape))


def _refusal(seen: Trace, probe: Probe, count: int) -> ShapeUnrepairable:
    call = seen.failed
    path, given = ("forward", probe.batch) if call is None else (call.path, call.arguments)
    tried = f"after {count} layers were rebuilt, " if count else ""
    return ShapeUnrepairable(
        f"{NAME}: the model cannot take samples without the feature: {tried}{path!r} fails on "
        f"{shapes(given)} ({seen.error}), and is not rebuilt for another width; give mode='zero' or 'mean'",
        path,
        shapes(given),
    )

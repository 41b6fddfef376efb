"""Where a learner's model comes from: a template whose weights are drawn anew, or a factory."""

from __future__ import annotations

import copy
import math
import re
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from paribus.engine.building.data import drawing_from, preserved_draws, seed_draws
from paribus.errors import ConfigurationError
from paribus.identity import Fingerprint, derive_seed, fingerprint, fingerprint_module

_RESETS = ("reset_parameters", "_reset_parameters")


class ModelSource(ABC):
    """Makes models with freshly drawn weights; each one is the caller's own."""

    @abstractmethod
    def build(self, seed: int) -> nn.Module:
        """Return a new model whose weights are a function of the seed of the ``init`` stream."""

    @abstractmethod
    def redraw(self, seed: int) -> nn.Module:
        """Return a new model with weights drawn under a seed; NaN where none can be drawn."""

    @abstractmethod
    def blank(self) -> nn.Module:
        """Return a new model whose weights are about to be overwritten."""

    @abstractmethod
    def fingerprint(self) -> Fingerprint:
        """Return the identity."""


@final
@dataclass(frozen=True, eq=False)
class Template(ModelSource):
    """A module given as an instance: its structure counts, its weights are drawn anew.

    Every submodule draws from a stream of its own, named by its path, so that a change of one submodule
    moves no draw of another.
    """

    module: nn.Module

    def build(self, seed: int) -> nn.Module:
        """Copy the module and let each submodule reset its own parameters."""
        model = self.blank()
        drawn = [
            (name, module, reset)
            for name, module in reversed(list(model.named_modules()))
            if (reset := reset_of(module)) is not None
        ]
        # Torch's own layers draw from torch alone; keeping NumPy's state takes as long as drawing a layer.
        others = not all(type(module).__module__.startswith("torch.nn.modules.") for _, module, _ in drawn)
        with preserved_draws(others=others):
            for name, _, reset in drawn:
                seed_draws(derive_seed(seed, "init", name), others=others)
                reset()
        return model

    def redraw(self, seed: int) -> nn.Module:
        """Draw as ``build`` does."""
        return self.build(seed)

    def blank(self) -> nn.Module:
        """Copy the module."""
        return _copy(self.module)

    def fingerprint(self) -> Fingerprint:
        """Return the identity of code and structure, without the weights."""
        return fingerprint(self.module)


@final
@dataclass(frozen=True, eq=False)
class Factory(ModelSource):
    """A callable that makes a module: whatever its constructor draws is drawn from the ``init`` stream."""

    make: Callable[[], Any]

    def build(self, seed: int) -> nn.Module:
        """Call the factory under the stream's seed."""
        with drawing_from(derive_seed(seed, "init")):
            model = self.make()
        if not isinstance(model, nn.Module):
            raise ConfigurationError(
                f"model: {self.make!r} made a {type(model).__name__}; expected a factory of torch.nn.Module"
            )
        return model

    def redraw(self, seed: int) -> nn.Module:
        """Draw as ``build`` does."""
        return self.build(seed)

    def blank(self) -> nn.Module:
        """Call the factory."""
        return self.build(0)

    def fingerprint(self) -> Fingerprint:
        """Return the identity of the factory's code and arguments."""
        return fingerprint(self.make)


@final
@dataclass(frozen=True, eq=False)
class Kept(ModelSource):
    """A module whose present weights are every learner's initial weights (``weights="keep"``)."""

    module: nn.Module

    def build(self, seed: int) -> nn.Module:
        """Copy the module, weights included."""
        return self.blank()

    def redraw(self, seed: int) -> nn.Module:
        """Let each submodule that can reset its own parameters, as a template's do."""
        emptied = self.blank()
        with torch.no_grad():
            for parameter in emptied.parameters():
                if parameter.is_floating_point() or parameter.is_complex():
                    parameter.fill_(math.nan)
        return Template(emptied).build(seed)

    def blank(self) -> nn.Module:
        """Copy the module."""
        return _copy(self.module)

    def fingerprint(self) -> Fingerprint:
        """Return the identity of code, structure and weights."""
        return fingerprint_module(self.module, contents=True)


def read_model(model: object, weights: str) -> ModelSource:
    """Read ``model=`` and ``weights=``.

    Raises:
        ConfigurationError: The model is no module and no factory, or has weights that cannot be drawn anew.
    """
    if weights not in ("draw", "keep"):
        raise ConfigurationError(f"Experiment: weights={weights!r}; expected 'draw' or 'keep'")
    if isinstance(model, nn.Module):
        # Gradients and training mode of the user's instance are no part of the template.
        own = _copied(model).train()
        own.zero_grad(set_to_none=True)
        if weights == "keep":
            return Kept(own)
        check_redrawable(own)
        return Template(own)
    if not callable(model):
        raise ConfigurationError(
            f"model: got {model!r}; expected a torch.nn.Module, or a factory such as partial(LeNet5, width=2)"
        )
    if weights == "keep":
        raise ConfigurationError(
            "Experiment: weights='keep' needs a module with weights, and model= is a factory"
        )
    return Factory(model)


def _copy(model: nn.Module) -> nn.Module:
    """Copy a module in half the time: most of what it has are empty dicts of hooks, each slow to copy."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if type(value) in (dict, OrderedDict) and not value:
                memo[id(value)] = type(value)()
    return copy.deepcopy(model, memo)


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except (
        RuntimeError,
        TypeError,
    ) as error:  # weight_norm keeps a tensor that cannot be; a lock in an attribute
        raise ConfigurationError(
            f"model: this {type(model).__name__} cannot be copied ({str(error).partition('. ')[0]}); give a "
            "factory: model=lambda: Net(…)"
        ) from error


def check_redrawable(model: nn.Module) -> None:
    """Refuse a module with parameters that no ``reset_parameters`` draws.

    Raises:
        ConfigurationError: A submodule owns parameters and has no such method.
    """
    for name, module in model.named_modules():
        owned = [parameter for parameter, _ in module.named_parameters(recurse=False)]
        if owned and reset_of(module) is None:
            path = ".".join(part for part in (name, owned[0]) if part)
            raise ConfigurationError(
                f"model: the parameter '{path}' cannot be drawn anew, since {type(module).__name__} has no "
                "reset_parameters(); give a factory (model=lambda: Net(…)), or weights='keep' to start every "
                "learner from the present weights"
            )
    _check_drawn(model)


def _check_drawn(model: nn.Module) -> None:
    """Refuse what ``reset_parameters`` leaves as it is: it would start every learner, and be in no key."""
    unsure = [name for name, module in model.named_modules() if _may_leave_some(module)]
    trial = copy.deepcopy(model) if unsure else model
    for name in unsure:
        module = trial.get_submodule(name)
        with preserved_draws(), torch.no_grad():
            for parameter in module.parameters(recurse=False):
                if not is_lazy(parameter) and (parameter.is_floating_point() or parameter.is_complex()):
                    parameter.fill_(math.nan)
            if (reset := reset_of(module)) is not None:
                reset()
        for parameter_name, parameter in module.named_parameters(recurse=False):
            if not is_lazy(parameter) and bool(parameter.isnan().any()):
                path = ".".join(part for part in (name, parameter_name) if part)
                raise ConfigurationError(
                    f"model: the parameter '{path}' is not drawn anew by {type(module).__name__}."
                    "reset_parameters(); give a factory (model=lambda: Net(…)), or weights='keep' to start "
                    "every learner from the present weights"
                )


_STANDARD = re.compile(
    r"weight|bias|in_proj_(weight|bias)|[qkv]_proj_weight|bias_[kv]|(weight|bias)_(ih|hh|hr)(_l\d+)?(_reverse)?"
)


def _may_leave_some(module: nn.Module) -> bool:
    """Say whether a module owns parameters beside those that torch's own ``reset_parameters`` draws."""
    owned = [name for name, _ in module.named_parameters(recurse=False)]
    ours = type(module).__module__.startswith("torch.")
    return bool(owned) and not (ours and all(_STANDARD.fullmatch(name) for name in owned))


def counts_contents(source: ModelSource) -> bool:
    """Say whether numbers that may have been drawn are part of the model's identity: weights, or buffers."""
    match source:
        case Kept():
            return True
        case Template(module):
            return any(_varies(buffer) for buffer in module.buffers())
        case _:
            return False


def _varies(buffer: torch.Tensor) -> bool:
    return buffer.is_floating_point() and buffer.numel() > 1 and bool((buffer != buffer.flatten()[0]).any())


def reset_of(module: nn.Module) -> Callable[[], object] | None:
    """Return the method that draws a module's own parameters, if it has one."""
    for name in _RESETS:
        method = getattr(module, name, None)
        if callable(method):
            return method  # type: ignore[no-any-return]
    return None


def torch_dtype(name: str) -> torch.dtype:
    """Read the name of a floating dtype.

    Raises:
        ConfigurationError: It is none.
    """
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ConfigurationError(
            f"dtype: {name!r} is no floating dtype of torch; give 'float32', 'float64', …"
        )
    return dtype

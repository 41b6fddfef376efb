"""Where a learner's model comes from: a template whose weights are drawn anew, or a factory."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn

from paribus.engine.data import drawing_from, preserved_draws, seed_draws
from paribus.errors import ConfigurationError
from paribus.identity import Fingerprint, derive_seed, fingerprint, fingerprint_module

_RESETS = ("reset_parameters", "_reset_parameters")


class ModelSource(ABC):
    """Makes models with freshly drawn weights; each one is the caller's own."""

    @abstractmethod
    def build(self, seed: int) -> nn.Module:
        """Return a new model whose weights are a function of the seed of the ``init`` stream."""

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
        with preserved_draws():
            for name, module in reversed(list(model.named_modules())):
                reset = reset_of(module)
                if reset is not None:
                    seed_draws(derive_seed(seed, "init", name))
                    reset()
        return model

    def blank(self) -> nn.Module:
        """Copy the module."""
        return copy.deepcopy(self.module)

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

    def blank(self) -> nn.Module:
        """Copy the module."""
        return copy.deepcopy(self.module)

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
        own = copy.deepcopy(model).train()
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

"""The proof that recording leaves what the next step starts from as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import torch
from torch import nn

from paribus.engine.training.state import bits_of, same_bits

_Seen = tuple[object, list[torch.Tensor]]


@final
class Watch:
    """Sees whether metrics change a model or its optimizer.

    What nobody had in hand cannot have changed, and is not compared. At a step, the model is remembered when
    it is first evaluated or handed to a metric, the optimizer when one of the two is handed over. One may
    keep what it was handed: after that, both are remembered before any metric but the library's own.

    Attributes:
        handed: Whether a metric was ever given the model or the optimizer.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.handed = False
        self._model = model
        self._optimizer = optimizer
        self._modules: list[nn.Module] = []
        self._modes: list[bool] = []
        self._trusted = self._ready = False
        self._of_model: _Seen | None = None
        self._of_optimizer: _Seen | None = None

    @property
    def meddled(self) -> bool:
        """Whether the metric that is computed may have the model in hand: it need not be what it was."""
        return self.handed and not self._trusted

    def begin(self, *, trusted: bool) -> None:
        """Begin with a metric; one that is trusted, the library's own, only evaluates."""
        self._trusted, self._ready = trusted, False
        if self.meddled:
            self.hand()

    def evaluate(self) -> None:
        """Let the model evaluate, as it does already unless an earlier metric left it otherwise."""
        if self._ready:
            return
        self._ready = True
        if self._of_model is None:
            self._modules = list(self._model.modules())
        if not self._modes or self._modes != [module.training for module in self._modules]:
            self._switch(training=False)
            self._modes = [module.training for module in self._modules]
        if self._of_model is None:
            self._of_model = _model_now(self._modules)

    def hand(self) -> None:
        """Let a metric have the model and the optimizer."""
        self.handed = True
        self.evaluate()
        if self._of_optimizer is None:
            self._of_optimizer = _optimizer_now(self._optimizer)

    def sees_a_change(self) -> bool:
        """Tell whether the metric that began last left anything other than it was."""
        if not self._ready:
            return False
        changed = self._of_model is not None and _differ(self._of_model, _model_now(self._modules))
        if self._of_optimizer is not None:
            changed = changed or _differ(self._of_optimizer, _optimizer_now(self._optimizer))
        return changed

    def end(self) -> None:
        """Let the model train again."""
        if self._modes:
            self._switch(training=True)
        self._modes, self._of_model, self._of_optimizer = [], None, None

    def _switch(self, *, training: bool) -> None:
        """Do what ``train`` and ``eval`` do, in a fraction of their time where no module has its own."""
        if all(_switches_plainly(module) for module in self._modules):
            for module in self._modules:
                module.training = training
        elif training:
            self._model.train()
        else:
            self._model.eval()


def _switches_plainly(module: nn.Module) -> bool:
    kind, own = type(module), vars(module)
    plain = kind.train is nn.Module.train and kind.eval is nn.Module.eval
    return plain and "train" not in own and "eval" not in own


# Contents are compared: versions of tensors do not see ``.data``. Torch's own walks over a model take longer
# than a small one's step.


def _model_now(modules: Sequence[nn.Module]) -> _Seen:
    parts = [part for module in modules for part in module._modules.values()]
    trained = _tensors(module._parameters for module in modules)
    buffers = _tensors(module._buffers for module in modules)
    settings = [id(each) for each in (*parts, *trained)], [p.requires_grad for p in trained]
    return settings, bits_of([*trained, *buffers])


def _optimizer_now(optimizer: torch.optim.Optimizer) -> _Seen:
    groups = [{n: v for n, v in group.items() if n != "params"} for group in optimizer.param_groups]
    return groups, bits_of(_tensors(optimizer.state.values()))


def _differ(before: _Seen, now: _Seen) -> bool:
    (settings, bits), (others, found) = before, now
    return settings != others or len(bits) != len(found) or not all(map(same_bits, bits, found))


def _tensors(entries: Iterable[Mapping[Any, Any]]) -> list[torch.Tensor]:
    return [value for each in entries for value in each.values() if isinstance(value, torch.Tensor)]

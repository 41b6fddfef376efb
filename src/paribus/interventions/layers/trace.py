"""One run of the user's loss, watched: which submodules were called, with what, and where it failed."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
from torch import nn

from paribus.interventions.layers.nested import tensors

Loss = Callable[[nn.Module, Any], torch.Tensor]


@final
@dataclass(eq=False)
class Call:
    """One call of a submodule.

    Attributes:
        path: Of the submodule.
        arguments: Positional ones, then those by name.
        output: What it returned; ``None`` where it did not.
        began, ended: Its place in the order of all beginnings and ends.
        drew: Whether it drew random numbers.
        drawn: The state of the generator after it.
        unchanged: Whether it returned its first tensor itself, and wrote to none.
        versions: Of the tensors it was given, when it began.
    """

    path: str
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    began: int
    output: Any = None
    ended: int = -1
    drew: bool = False
    drawn: torch.Tensor | None = None
    unchanged: bool = False
    versions: list[int] = field(default_factory=list)

    @property
    def inputs(self) -> list[torch.Tensor]:
        """The tensors it was given, floating ones first."""
        given = tensors(self.arguments)
        return sorted(given, key=lambda tensor: not tensor.is_floating_point())


@final
@dataclass(eq=False)
class Trace:
    """What was seen in one run.

    Attributes:
        calls: In the order in which they began.
        outputs: What the model returned, call by call.
        loss: The loss, with its graph; ``None`` where the run failed.
        error: Why it failed.
        failed: The innermost call that was under way then.
        drawn: The state of the generator at the end.
    """

    calls: list[Call] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    loss: torch.Tensor | None = None
    error: Exception | None = None
    failed: Call | None = None
    drawn: torch.Tensor | None = None

    def of(self, path: str) -> list[Call]:
        """Return the finished calls of a submodule."""
        return [call for call in self.calls if call.path == path and call.ended >= 0]


def trace(
    model: nn.Module,
    loss: Loss,
    batch: Any,
    *,
    train: bool = True,
    watch: bool = True,
    then: Callable[[Trace], None] | None = None,
) -> Trace:
    """Run the loss once; the model's buffers, its mode and all generators are left as they were.

    Args:
        model: The model.
        loss: The user's loss of (model, batch).
        batch: The batch; the user's code may write to it.
        train: Whether the model is in training mode, with gradients.
        watch: Whether every submodule is watched; otherwise only the model's outputs are.
        then: Called with what was seen, while buffers and graph are as the run left them.
    """
    seen = Trace()
    with _as_it_was(model), warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")  # of a trial; the training will say it again
        model.train(train)
        _seed(0)
        running = _Watch(seen, device_of(model))
        for path, module in watched(model).items() if watch else ():
            running.attach(stack, path, _hookable(stack, model, module))
        _hook_outputs(stack, model, seen)
        try:
            with torch.set_grad_enabled(train):
                seen.loss = loss(model, batch)
        except Exception as error:
            seen.error = error
            seen.failed = running.stack[-1] if running.stack else None
        seen.drawn = drawn(device_of(model))
        if then is not None:
            then(seen)
    return seen


def watched(model: nn.Module) -> dict[str, nn.Module]:
    """Return the submodules that Python calls: those inside a scripted or compiled one are its own affair."""
    found: dict[str, nn.Module] = {}
    closed: tuple[str, ...] = ()
    for path, module in model.named_modules():
        if path and not path.startswith(closed or ("\0",)):
            found[path] = module
        if is_closed(module):
            closed = (*closed, f"{path}." if path else "")
    return found


def is_closed(module: nn.Module) -> bool:
    """Tell whether a module runs code of its own: scripted, traced or compiled."""
    # Dynamo takes seconds to import, and is there only where something is compiled.
    return isinstance(module, torch.jit.ScriptModule) or type(module).__name__ == "OptimizedModule"


def device_of(model: nn.Module) -> torch.device:
    """Return where a model's parameters are."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def drawn(device: torch.device) -> torch.Tensor:
    """Return the state of the generator that models on a device draw from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


@contextmanager
def kept_draws() -> Iterator[None]:
    """Leave every generator as it was."""
    python, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        yield
    random.setstate(python)
    np.random.set_state(arrays)


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with kept_draws():
        try:
            yield
        finally:
            model.train()  # some modules drop here what they cached in evaluation
            for module, training in modes:
                module.training = training
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


@final
class _Stand(nn.Module):
    """Calls a scripted module, which takes no hooks."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.scripted = (module,)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.scripted[0](*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["scripted"][0], name)


def _hookable(stack: ExitStack, model: nn.Module, module: nn.Module) -> nn.Module:
    """Return the module, or for a scripted one what stands for it while the run lasts."""
    if not isinstance(module, torch.jit.ScriptModule):
        return module
    stand = _Stand(module)
    for owner in model.modules():
        for name, child in owner._modules.items():
            if child is module:
                owner._modules[name] = stand
                stack.callback(owner._modules.__setitem__, name, module)
    return stand


def _hook_outputs(stack: ExitStack, model: nn.Module, seen: Trace) -> None:
    handle = model.register_forward_hook(lambda module, given, output: seen.outputs.append(output))
    stack.callback(handle.remove)


@final
class _Watch:
    """The calls that are under way."""

    def __init__(self, seen: Trace, device: torch.device) -> None:
        self.seen = seen
        self.stack: list[Call] = []
        self._device = device
        self._clock = 0

    def attach(self, stack: ExitStack, path: str, module: nn.Module) -> None:
        def begin(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call = Call(path, (args, kwargs), self._tick(), drawn=drawn(self._device))
            call.versions = [tensor._version for tensor in tensors((args, kwargs))]
            self.stack.append(call)
            self.seen.calls.append(call)

        def end(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            while self.stack and self.stack[-1].path != path:
                self.stack.pop()  # the model caught an error of its own
            if self.stack:
                self._end(self.stack.pop(), output)

        stack.callback(module.register_forward_pre_hook(begin, with_kwargs=True).remove)
        stack.callback(module.register_forward_hook(end, with_kwargs=True).remove)

    def _end(self, call: Call, output: Any) -> None:
        given, state = tensors(call.arguments), drawn(self._device)
        wrote = call.versions != [tensor._version for tensor in given]
        call.unchanged = bool(given) and output is given[0] and not wrote
        call.drew, call.drawn = not torch.equal(state, call.drawn), state  # type: ignore[arg-type]
        call.output, call.ended = output, self._tick()

    def _tick(self) -> int:
        self._clock += 1
        return self._clock

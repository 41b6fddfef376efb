"""The gate: what must hold of a changed model before it is trained, proven on copies."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import torch
from torch import nn

from paribus.errors import AblationError, InputCut, NoEffect, ShapeUnrepairable, TiedAlias
from paribus.interventions.layers.nested import (
    batch_size,
    flattened,
    layout,
    mapped,
    resized,
    shapes,
    tensors,
    unflattened,
)
from paribus.interventions.layers.replacements import Removed
from paribus.interventions.layers.surgery import copied, randomised
from paribus.interventions.layers.trace import Trace, kept_draws, trace

if TYPE_CHECKING:
    from paribus.interventions.sites import Probe

_CONDITIONS = ((True, False), (False, False), (False, True))
_DRAWS = 2


@final
class Evidence:
    """What a model does with a batch, run when it is asked for and kept; the model is left as it is.

    Args:
        model: The model.
        probe: How it may be run.

    Attributes:
        writes: Whether a run changed the batch.
    """

    def __init__(self, model: nn.Module, probe: Probe) -> None:
        self.model = model
        self.probe = probe
        self.writes = False
        self._runs: dict[tuple[bool, bool], Trace] = {}
        self._effects: dict[tuple[int, int], frozenset[int]] = {}

    def run(self, *, train: bool, other: bool = False) -> Trace:
        """Return the run in a mode, at the batch's size or another one."""
        key = (train, other)
        if key not in self._runs:
            batch = mapped(torch.Tensor.clone, self.probe.batch)
            self._runs[key] = self._run(self.model, resized(batch) if other else batch, train=train)
            pairs = zip(tensors(batch), tensors(self.probe.batch), strict=True)
            self.writes = self.writes or any(differ(a, b) for a, b in pairs)
        return self._runs[key]

    @cached_property
    def modes_agree(self) -> bool:
        """Whether training and evaluation give the same."""
        return not any(
            differ(a, b)
            for a, b in zip(results(self.run(train=True)), results(self.run(train=False)), strict=False)
        )

    @cached_property
    def drawn(self) -> list[nn.Module]:
        """Copies with other parameters, none of them zero."""
        return [randomised(self.model, seed) for seed in range(_DRAWS)]

    @cached_property
    def drawn_runs(self) -> list[Trace]:
        """The runs of those copies, in training and in evaluation."""
        return [
            self._run(model, mapped(torch.Tensor.clone, self.probe.batch), train=train)
            for model in self.drawn
            for train in (True, False)
        ]

    def reached(self, leaf: int, draw: int) -> frozenset[int]:
        """Return which outputs change with one tensor of the batch, by values.

        Args:
            leaf: Number of the tensor in the batch.
            draw: 0: the parameters as they are; above: randomised ones.
        """
        key = (leaf, draw)
        if key not in self._effects:
            model = self.model if draw == 0 else self.drawn[draw - 1]
            before = results(self.run(train=False) if draw == 0 else self.drawn_runs[2 * draw - 1])
            after = results(self._run(model, varied(self.probe.batch, leaf), train=False))
            pairs = enumerate(zip(before, after, strict=False))
            self._effects[key] = frozenset(i for i, (a, b) in pairs if differ(a, b))
        return self._effects[key]

    @cached_property
    def dependencies(self) -> dict[int, tuple[int, ...]]:
        """For each output that depends on tensors of the batch, their numbers."""
        found: dict[int, list[int]] = {}
        for leaf in range(len(tensors(self.probe.batch))):
            reached = (self.reached(leaf, draw) for draw in self._draws())
            for output in frozenset[int]().union(*reached):
                found.setdefault(output, []).append(leaf)
        return {output: tuple(leaves) for output, leaves in found.items()}

    def depends(self, output: int, leaves: tuple[int, ...]) -> bool:
        """Tell whether an output depends on one of these tensors of the batch."""
        return any(output in self.reached(leaf, draw) for draw in range(_DRAWS + 1) for leaf in leaves)

    @cached_property
    def tells_apart(self) -> bool:
        """Whether some output differs between the samples of the batch."""
        size = batch_size(self.probe.batch)
        return _tells_apart(self.run(train=False), size) or any(
            _tells_apart(run, size) for run in self.drawn_runs
        )

    def _draws(self) -> Iterator[int]:
        """Yield draws of parameters until one makes something depend on the batch."""
        for draw in range(_DRAWS + 1):
            yield draw
            if any(self.reached(leaf, draw) for leaf in range(len(tensors(self.probe.batch)))):
                return

    def _run(self, model: nn.Module, batch: Any, *, train: bool) -> Trace:
        return trace(model, self.probe.loss, batch, train=train, watch=False)


def certify(
    baseline: nn.Module | Evidence, ablated: nn.Module, probe: Probe, name: str = "the changed model"
) -> None:
    """Prove on copies that a changed model can be trained, and that the change is one.

    Structure and shape of the output are the baseline's in training and evaluation and at another batch size;
    the loss, its gradients and an optimizer step work; the batch is not written to; training and evaluation
    agree where they did; each output still depends on the input, by values; and something is changed. Where
    the baseline itself fails one of these, it is not asked for.

    Args:
        baseline: The model before the change, or what is known of it.
        ablated: The model after it, with its surviving weights.
        probe: How both may be run.
        name: Of the change, for the messages.

    Raises:
        AblationError: One of these does not hold; the class says which.
    """
    before = baseline if isinstance(baseline, Evidence) else Evidence(baseline, probe)
    after = Evidence(ablated, probe)
    with told_of(name):
        _check_outputs(before, after)
        if after.writes and not before.writes:
            raise AblationError("it writes to the user's batch; leave out what feeds an in-place layer")
        if before.modes_agree and not after.modes_agree:
            raise AblationError("training and evaluation differ, and did not before; leave it out")
        _check_effect(before, after)
        _check_input(before, after)
        _check_step(before, after)


@contextmanager
def told_of(name: str) -> Iterator[None]:
    """Begin the message of a refusal with what was refused."""
    try:
        yield
    except AblationError as error:
        error.args = (f"{name}: {error}",)
        raise


def results(run: Trace) -> list[torch.Tensor]:
    """Return the output tensors of a run; the loss where the model hides them."""
    found = tensors(run.outputs)
    return found if found or run.loss is None else [run.loss]


def differ(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether two tensors differ in a bit that is a number."""
    if one.shape != other.shape:
        return True
    if one.is_floating_point():
        one, other = one.nan_to_num(), other.nan_to_num()
    return not torch.equal(one, other)


def _tells_apart(run: Trace, size: int) -> bool:
    return any(_rows_differ(output) for output in results(run) if output.ndim and output.shape[0] == size)


def _rows_differ(output: torch.Tensor) -> bool:
    """Tell whether samples differ by more than rounding, which may depend on the place in the batch."""
    if not output.is_floating_point():
        return differ(output, output[:1].expand_as(output))
    output = output.nan_to_num()
    return bool((output - output[:1]).abs().max() > 1e-5 * output.abs().max())


def varied(batch: Any, leaf: int) -> Any:
    """Return the batch with other values in one of its tensors: noise on floats, another order of others."""
    leaves, structure = flattened(batch)
    places = [place for place, value in enumerate(leaves) if isinstance(value, torch.Tensor)]
    leaves = [value.clone() if isinstance(value, torch.Tensor) else value for value in leaves]
    tensor = leaves[places[leaf]]
    if tensor.is_floating_point():
        noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(leaf))
        leaves[places[leaf]] = tensor + noise.to(tensor)
    else:
        flat = tensor.flatten()
        rolled = (flat.roll(step) for step in range(1, flat.numel()))
        leaves[places[leaf]] = next((r for r in rolled if not torch.equal(r, flat)), flat).reshape(
            tensor.shape
        )
    return unflattened(leaves, structure)


def _check_outputs(before: Evidence, after: Evidence) -> None:
    for train, other in _CONDITIONS:
        expected = before.run(train=train, other=other)
        if expected.error is not None:
            continue
        got = after.run(train=train, other=other)
        where = f"{'in training' if train else 'in evaluation'}{', at another batch size' if other else ''}"
        if got.error is not None:
            raise ShapeUnrepairable(
                f"it fails {where}: {type(got.error).__name__}: {got.error}; use "
                "mode='zero', or remove the block that contains the layer",
                "forward",
            ) from got.error
        if layout(expected.outputs) != layout(got.outputs):
            both = shapes(got.outputs), shapes(expected.outputs)
            raise ShapeUnrepairable(
                f"{where} its output is {both[0]}, expected {both[1]}; use mode='zero', or "
                "remove the block that contains the layer",
                "forward",
                (*both[0], *both[1]),
            )


def _check_effect(before: Evidence, after: Evidence) -> None:
    pairs = [(before.run(train=train), after.run(train=train)) for train in (True, False)]
    if any(_told_apart(a, b) for a, b in pairs) or _learning_differs(before, after):
        return
    if any(_told_apart(a, b) for a, b in zip(before.drawn_runs, after.drawn_runs, strict=True)):
        return
    raise NoEffect(
        "it changes no bit of the output, whatever the weights are; leave it out, or give a batch "
        "that uses the layer"
    )


def _told_apart(one: Trace, other: Trace) -> bool:
    if one.error is not None or other.error is not None:
        return False
    mine, theirs = results(one), results(other)
    return len(mine) != len(theirs) or any(differ(a, b) for a, b in zip(mine, theirs, strict=True))


def _learning_differs(before: Evidence, after: Evidence) -> bool:
    asked, ask = (
        {name: parameter.requires_grad for name, parameter in one.model.named_parameters()}
        for one in (before, after)
    )
    return any(ask[name] != learns for name, learns in asked.items() if name in ask)


def _check_input(before: Evidence, after: Evidence) -> None:
    dependencies = before.dependencies
    reached = all(after.depends(output, leaves) for output, leaves in dependencies.items())
    if not reached or (dependencies and not after.tells_apart and before.tells_apart):
        raise InputCut(
            "its output does not depend on the input: the layer is the only way from one to "
            "the other; remove one that has a shortcut, or use mode='freeze_init' or 'reinit'"
        )


def _check_step(before: Evidence, after: Evidence) -> None:
    if not any(parameter.requires_grad for parameter in after.model.parameters()):
        raise AblationError("nothing is left to train; remove or freeze less")
    model = copied(after.model)
    error = _step(model, after.probe)
    if error is not None and _step(copied(before.model), before.probe) is None:
        raise AblationError(f"it takes no step: {type(error).__name__}: {error}; remove less") from error
    for name, module in model.named_modules():
        was = module.was[0].named_parameters() if isinstance(module, Removed) else ()
        used = next((n for n, parameter in was if parameter.is_leaf and parameter.grad is not None), None)
        if used:
            raise TiedAlias(
                f"'{name}.{used}' is read by the model beside the calls of {name!r}, as tied weights "
                "are; remove what reads it in the same group, or untie them"
            )


def _step(model: nn.Module, probe: Probe) -> Exception | None:
    """Take one step of training; return what went wrong."""
    with kept_draws(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.train()
            loss = probe.loss(model, mapped(torch.Tensor.clone, probe.batch))
            loss.backward()  # type: ignore[no-untyped-call]
            probe.optimizer(model).step()
        except Exception as error:
            return error
    return None

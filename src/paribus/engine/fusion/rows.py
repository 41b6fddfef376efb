"""The state of K learners as flat rows of numbers, and the optimizers that step on them."""

from __future__ import annotations

import copy
import inspect
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, final

import torch
from torch import nn

from paribus.engine.fusion.alone import obstacle_in_optimizer
from paribus.engine.fusion.inexact import FUSED
from paribus.engine.fusion.rules import ROW
from paribus.engine.training.segment import Run

# What an optimizer makes on its way for more bytes of parameters than these is memory that the system gives
# and takes back in each step: for Adam three times the time.
_BLOCK = 2_000_000


@final
class Rows:
    """Parameters and gradients of K learners, ``(K, P)``; each parameter begins where a cache line does.

    Attributes:
        names: The trained parameters.
        values: The parameters.
        gradients: Their gradients.
    """

    def __init__(self, parameters: Mapping[str, torch.Tensor], rows: int) -> None:
        """Make rows for parameters such as these; they are empty."""
        self.names = tuple(parameters)
        self._shapes = [tuple(parameter.shape) for parameter in parameters.values()]
        self._starts, length = [], 0
        for parameter in parameters.values():
            self._starts.append(length)
            length += padded(parameter.numel())
        some = next(iter(parameters.values()))
        self.values = torch.zeros(rows, length, dtype=some.dtype, device=some.device)
        self.gradients = torch.zeros_like(self.values)

    def stacks(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Return the parameters' places in rows like these, ``(K, *shape)`` each."""
        return [
            rows[:, start : start + torch.Size(shape).numel()].view(len(rows), *shape)
            for start, shape in zip(self._starts, self._shapes, strict=True)
        ]


def padded(size: int) -> int:
    """Return the length of so many numbers in a row: what comes next begins where a cache line does."""
    return -(-size // ROW) * ROW


@final
class RowOptimizer:
    """Steps on rows: neighbouring learners that step alike are one parameter group, of few parameters.

    Args:
        rows: The learners' rows.
        runs: The learners, whose optimizers' states are taken over.
    """

    def __init__(self, rows: Rows, runs: Sequence[Run]) -> None:
        self._rows = rows
        self._runs = runs
        self._parameters = [[dict(run.model.named_parameters())[n] for n in rows.names] for run in runs]
        self._blocks: list[tuple[int, nn.Parameter]] = []
        self._step = copy.copy(runs[0].optimizer)
        self._step.param_groups, self._step.state = [], defaultdict(dict)
        self._leaders: list[torch.optim.Optimizer] = []
        self._on_cpu = rows.values.device.type == "cpu"
        fuses = isinstance(self._step, FUSED) and not runs[0].configuration.is_exact
        # What torch would look for each time; elsewhere, it takes all blocks in one call, as alone.
        self._form = {} if not self._on_cpu else {"fused": True} if fuses else {"foreach": False}
        for _, alike in groupby(range(len(runs)), lambda row: stride_of(runs[row])):
            self._add(list(alike))
        self._plain = inspect.unwrap(type(self._step).step)  # without the profiler's marks: half its time
        self._scheduled = [run for run in runs if run.factor_of is not None]

    def _add(self, alike: Sequence[int]) -> None:
        """Add a group of learners that step alike."""
        leader = self._runs[alike[0]].optimizer
        many = max(1, _BLOCK // self._rows.values[0].nbytes) if self._on_cpu else len(alike)
        blocks = [alike[place : place + many] for place in range(0, len(alike), many)]
        parameters = [self._block(block[0], block[-1] + 1) for block in blocks]
        self._leaders.append(leader)
        self._step.param_groups.append({**leader.param_groups[0], **self._form, "params": parameters})

    def _block(self, first: int, last: int) -> nn.Parameter:
        """Make a parameter of neighbouring rows, with its state."""
        parameter = nn.Parameter(self._rows.values[first:last])
        parameter.grad = self._rows.gradients[first:last]
        self._blocks.append((first, parameter))
        kept = self._runs[first].optimizer.state.get(self._parameters[first][0], {})
        for name, value in kept.items():
            whole = value
            if isinstance(value, torch.Tensor):
                whole = value.clone() if value.ndim == 0 else self._gathered(name, first, last)
            self._step.state[parameter][name] = whole
        return parameter

    def _gathered(self, name: str, first: int, last: int) -> torch.Tensor:
        whole = torch.zeros_like(self._rows.values[first:last])
        for place, stack in enumerate(self._rows.stacks(whole)):
            for row, into in enumerate(stack.unbind(0), first):
                into.copy_(self._runs[row].optimizer.state[self._parameters[row][place]][name])
        return whole

    def step(self, step: int) -> None:
        """Take one step of all learners."""
        if self._scheduled:
            for run in self._scheduled:
                run.schedule(step)
            for leader, group in zip(self._leaders, self._step.param_groups, strict=True):
                group["lr"] = leader.param_groups[0]["lr"]
        with torch.no_grad():
            self._plain(self._step)

    def states(self) -> list[dict[str, Any]]:
        """Return what is kept for each block."""
        return [self._step.state.get(parameter, {}) for _, parameter in self._blocks]

    def saved(self) -> list[dict[str, Any]]:
        """Copy what is kept for each block."""
        return [{name: _own(value) for name, value in kept.items()} for kept in self.states()]

    def entries(
        self, states: Sequence[Mapping[str, Any]], rows: Iterable[int]
    ) -> dict[int, list[dict[str, Any]]]:
        """Return, for each parameter of some learners, what their own optimizers would keep.

        Args:
            states: What is kept for each block, now or before.
            rows: The learners.
        """
        wanted, found = set(rows), {}
        for (first, parameter), kept in zip(self._blocks, states, strict=True):
            parts = {
                name: self._rows.stacks(value)
                for name, value in kept.items()
                if isinstance(value, torch.Tensor) and value.ndim
            }
            for row in wanted.intersection(range(first, first + len(parameter))):
                found[row] = [
                    {n: parts[n][place][row - first] if n in parts else _own(v) for n, v in kept.items()}
                    for place in range(len(self._rows.names))
                ]
        return found

    def show(self, rows: Iterable[int]) -> None:
        """Let the own optimizers of some learners see their part of the state."""
        for row, found in self.entries(self.states(), rows).items():
            for parameter, entries in zip(self._parameters[row], found, strict=True):
                if entries:
                    self._runs[row].optimizer.state[parameter] = entries


def _own(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def stride_of(run: Run) -> str:
    """Describe how a learner's optimizer steps; those of equal descriptions step in one call."""
    group = {name: value for name, value in run.optimizer.param_groups[0].items() if name != "params"}
    counts = [_counted(run.optimizer.state.get(each, {})) for each in run.optimizer.param_groups[0]["params"]]
    schedule = None if run.factor_of is None else (run.factor_of, run.rates, run.configuration.total)
    return repr((sorted(group.items()), counts[:1], schedule))


def _counted(entries: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return what a parameter's state holds beside tensors of its own shape, and the names of those."""
    return [
        (name, value if not isinstance(value, torch.Tensor) else "" if value.ndim else value.item())
        for name, value in sorted(entries.items())
    ]


def obstacle(optimizer: torch.optim.Optimizer) -> str | None:
    """Tell why an optimizer cannot step on rows; ``None`` where it can."""
    name, group = type(optimizer).__name__, optimizer.param_groups[0]
    if reason := obstacle_in_optimizer(type(optimizer), group, len(optimizer.param_groups)):
        return reason
    first = _counted(optimizer.state.get(group["params"][0], {}))
    for each in group["params"]:
        entries = optimizer.state.get(each, {})
        if _counted(entries) != first:
            return f"its parameters have not all taken the same steps with {name}"
        for entry, value in entries.items():
            if isinstance(value, torch.Tensor) and value.ndim and value.shape != each.shape:
                return f"{name} keeps {entry!r} of another shape than the parameter's"
    return None

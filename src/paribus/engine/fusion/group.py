"""K learners at one step of their runs, trained as one; each sees its row as its own model and optimizer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, final

import torch

from paribus.engine.building.nested import tensors_of
from paribus.engine.building.objective import total
from paribus.engine.fusion.inexact import close
from paribus.engine.fusion.program import Builder, Program
from paribus.engine.fusion.rows import RowOptimizer, Rows
from paribus.engine.fusion.trace import Trace, Untraceable, agreed, trace_step
from paribus.engine.training.draws import Draws
from paribus.engine.training.segment import Run
from paribus.engine.training.state import bits_of, named_tensors, same_bits
from paribus.identity import derive_seed
from paribus.interventions.sites import (
    BatchIntervention,
    BuffersIntervention,
    ConstraintIntervention,
    GradientsIntervention,
    StepIntervention,
)

Shape = tuple[tuple[tuple[int, ...], torch.dtype], ...]
Saved = tuple[dict[str, torch.Tensor], Sequence[Mapping[str, Any]]]

# A learner's numbers, gradients and two of an optimizer's: in rows, saved before a step, and of its own.
_COPIES = 12


@final
class Group:
    """Places for K learners of one kind: rows, stacks of what else differs, a program for each batch's shape.

    Attributes:
        runs: The learners in their places.
        device: Where they are.
        shape: Of the batches that were loaded last.
        programs: By the shape of a batch.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        """Make places for learners such as these."""
        self.runs: Sequence[Run] = ()
        self.device = runs[0].device
        self.programs: dict[Shape, Program] = {}
        self.shape: Shape = ()
        tensors = named_tensors(runs[0].model)
        trained = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
        self._rows = Rows(trained, len(runs))
        places = dict(zip(trained, self._rows.stacks(self._rows.values), strict=True))
        self._stacks = {
            name: places[name] if name in places else tensor.new_empty(len(runs), *tensor.shape)
            for name, tensor in tensors.items()
        }
        self._gradients = dict(zip(trained, self._rows.stacks(self._rows.gradients), strict=True))
        self._shared = shares(runs)
        self._batches: dict[Shape, list[torch.Tensor]] = {}
        self._generators = [torch.Generator(self.device) for _ in runs]
        self._places = range(len(runs))

    def take(self, runs: Sequence[Run]) -> None:
        """Copy learners into the rows, and let their models be there."""
        self.runs = runs
        self._tensors = [named_tensors(run.model) for run in runs]
        for row, tensors in enumerate(self._tensors):
            for name, tensor in tensors.items():
                self._stacks[name][row].copy_(tensor.detach())
        self._optimizer = RowOptimizer(self._rows, runs)
        self._feeds = [(run, rows, run.batches()) for run, rows in _courses(runs)]
        self._held = [run for run in runs if _acts(run, ConstraintIntervention)]
        self._pushed = [row for row, run in enumerate(runs) if _acts(run, BuffersIntervention)]
        self._steered = [row for row, run in enumerate(runs) if _acts(run, GradientsIntervention)]
        self._raw: list[Any] = [None] * len(runs)
        self.bind()

    def bind(self, rows: Sequence[int] | None = None) -> None:
        """Let the models of learners, of all if not told, be in the rows, as they are there."""
        rows = self._places if rows is None else rows
        for row in rows:
            for name, tensor in self._tensors[row].items():
                tensor.data = self._stacks[name][row]
        self._optimizer.show(rows)

    def saved(self) -> Saved:
        """Copy what the learners have now."""
        values = self._rows.values.clone()
        trained = dict(zip(self._gradients, self._rows.stacks(values), strict=True))
        stacks = {n: trained[n] if n in trained else stack.clone() for n, stack in self._stacks.items()}
        return stacks, self._optimizer.saved()

    def leave(self, saved: Saved | None = None, rows: Sequence[int] | None = None) -> None:
        """Give learners, all if not told, tensors of their own: what they have now, or had before."""
        stacks, states = saved or (self._stacks, self._optimizer.states())
        rows = self._places if rows is None else rows
        entries = self._optimizer.entries(states, rows)
        for row in rows:
            state = self.runs[row].optimizer.state
            for name, tensor in self._tensors[row].items():
                tensor.grad = None
                tensor.data = stacks[name][row].clone()
            for name, found in zip(self._gradients, entries[row], strict=True):
                state.pop(self._tensors[row][name], None)
                if found:
                    state[self._tensors[row][name]] = _cloned(found)

    def load(self, step: int) -> None:
        """Bring the batches of a step into their places."""
        for run, rows, batches in self._feeds:
            batch = next(batches)
            leaves = list(tensors_of(run.sites.changed_batch(batch, step)))
            self.shape = shape_of(leaves)
            for place, leaf in zip(self._buffers(leaves), leaves, strict=True):
                for row in rows[:1] if self._shared else rows:
                    place[row].copy_(leaf)
            for row in rows:
                self._raw[row] = batch

    def _buffers(self, leaves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        if self.shape not in self._batches:
            rows = len(self.runs)
            self._batches[self.shape] = [
                torch.empty_like(leaf).expand(rows, *leaf.shape)
                if self._shared
                else leaf.new_empty(rows, *leaf.shape)
                for leaf in leaves
            ]
        return self._batches[self.shape]

    def write(self) -> None:
        """Write the program for the batches loaded.

        Raises:
            Untraceable: There is none.
        """
        ends = self._places[0], self._places[-1]
        self.leave(rows=ends)  # traced is what they are alone
        try:
            trace = agreed([_traced(self.runs[row], self._raw[row]) for row in ends])
        finally:
            self.bind(ends)
        names = [*self._gradients, *(name for name in self._stacks if name not in self._gradients)]
        given = [*(self._stacks[name] for name in names), *self._batches[self.shape]]
        gradients = list(self._gradients.values())
        self.programs[self.shape] = Builder(
            trace, given, gradients, self._generators, exact=self.runs[0].configuration.is_exact
        ).build()

    def step(self, step: int) -> list[float]:
        """Take one step of all learners on the batches that are loaded; return their losses.

        The row of a learner whose loss is not finite is of no use after it; the others' are.

        Raises:
            Untraceable: A parameter is to take no step.
        """
        program = self.programs[self.shape]
        if program.draws:
            for run, generator in zip(self.runs, self._generators, strict=True):
                generator.manual_seed(derive_seed(run.seeds.forward, "forward", step))
        for row in self._pushed:
            self._optimizer.show([row])
            self.runs[row].sites.change_buffers(step)
        losses: list[float] = program.run().tolist()
        for row in self._steered:
            if math.isfinite(losses[row]):
                self._change_gradients(row, step)
        self._optimizer.step(step)
        for run in self._held:
            run.constraints.hold()
        return losses

    def _change_gradients(self, row: int, step: int) -> None:
        """Let what acts on a learner's gradients change its row."""
        places = {self._tensors[row][name]: stack[row] for name, stack in self._gradients.items()}
        for parameter, place in places.items():
            parameter.grad = place
        self.runs[row].sites.change_gradients(step)
        for parameter, place in places.items():
            if parameter.grad is None:
                raise Untraceable("a parameter takes no step")
            if parameter.grad is not place:
                place.copy_(parameter.grad)

    def step_alone(self, step: int, rows: Iterable[int]) -> list[bool]:
        """Take the same step learner by learner, some of them; tell whose loss was finite."""
        went = []
        for row in rows:
            run = self.runs[row]
            run.draws = Draws(run.device, always=False)  # others may have drawn meanwhile
            went.append(run.advance(step, self._raw[row]))
            run.draws = Draws(run.device, always=False)
        return went

    def agrees(self, losses: Sequence[float], went: Sequence[bool], rows: Sequence[int]) -> bool:
        """Tell whether the rows hold what learners with tensors of their own have."""
        if [math.isfinite(losses[row]) for row in rows] != list(went):
            return False
        entries = self._optimizer.entries(self._optimizer.states(), rows)
        going = [row for row, finite in zip(rows, went, strict=True) if finite]
        pairs = [pair for row in going for pair in self._pairs(row, entries[row])]
        return _same(pairs, same_bits if self.runs[0].configuration.is_exact else close)

    def _pairs(self, row: int, entries: Sequence[dict[str, Any]]) -> Iterator[tuple[Any, Any]]:
        """Yield what a learner has, each beside what its row holds."""
        state, tensors = self.runs[row].optimizer.state, self._tensors[row]
        yield from ((tensor, self._stacks[name][row]) for name, tensor in tensors.items())
        for name, found in zip(self._gradients, entries, strict=True):
            own = state.get(tensors[name], {})
            yield own.keys(), found.keys()
            yield from ((value, found[entry]) for entry, value in own.items() if entry in found)

    def show(self) -> None:
        """Let the learners' optimizers and gradients be what they are in the rows."""
        self._optimizer.show(self._places)
        for name, stack in self._gradients.items():
            for tensors, gradient in zip(self._tensors, stack.unbind(0), strict=True):
                tensors[name].grad = gradient


def shape_of(leaves: Iterable[torch.Tensor]) -> Shape:
    """Describe the leaves of a batch, on which a program depends."""
    return tuple((tuple(leaf.shape), leaf.dtype) for leaf in leaves)


def shares(runs: Sequence[Run]) -> bool:
    """Tell whether learners see the same batches."""
    return len(_courses(runs)) == 1


def acting(runs: Sequence[Run]) -> tuple[str, ...]:
    """Name the classes of all that acts within the steps of some learners now."""
    events = (event for run in runs for event in run.configuration.active(run.step))
    kinds = {type(e.intervention) for e in events if isinstance(e.intervention, StepIntervention)}
    return tuple(sorted(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds))


def _courses(runs: Sequence[Run]) -> list[tuple[Run, list[int]]]:
    """Find learners that see the same batches: one of each sort, and the places of all."""
    found: dict[object, tuple[Run, list[int]]] = {}
    for row, run in enumerate(runs):
        sort = row if _acts(run, BatchIntervention) else run.configuration.course
        found.setdefault(sort, (run, []))[1].append(row)
    return list(found.values())


def _acts(run: Run, kind: type) -> bool:
    return any(isinstance(event.intervention, kind) for event in run.configuration.active(run.step))


def _traced(run: Run, batch: Any) -> Trace:
    """Trace a learner's step on a batch; the generators are put back by who calls."""
    batch = run.sites.changed_batch(batch, run.step)
    return trace_step(run.model, lambda: total(run.objective.value(run.model, batch), run.terms), batch)


def size_of(run: Run) -> int:
    """Return how many bytes a learner takes in a group, while it is proven.

    Raises:
        Untraceable: It is in none.
    """
    tensors = sum(tensor.nbytes for tensor in named_tensors(run.model).values())
    return _COPIES * tensors + _traced(run, next(run.batches())).made


def _cloned(entries: dict[str, Any]) -> dict[str, Any]:
    return {n: value.clone() if isinstance(value, torch.Tensor) else value for n, value in entries.items()}


def _same(pairs: Sequence[tuple[Any, Any]], same: Callable[[torch.Tensor, torch.Tensor], bool]) -> bool:
    """Tell whether what stands in pairs is the same."""
    if any(_form(one) != _form(other) for one, other in pairs):
        return False
    tensors = [pair for pair in pairs if isinstance(pair[0], torch.Tensor)]
    rows = (bits_of(pair[side] for pair in tensors) for side in (0, 1))
    return all(itertools.starmap(same, zip(*rows, strict=True)))


def _form(value: Any) -> object:
    return (value.shape, value.dtype) if isinstance(value, torch.Tensor) else value

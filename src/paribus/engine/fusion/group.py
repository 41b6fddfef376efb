"""K learners at one step of their runs, trained as one; each sees its row as its own model and optimizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

import torch

from paribus.engine.building.data import other_generators
from paribus.engine.building.nested import tensors_of
from paribus.engine.building.objective import check_loss, total
from paribus.engine.fusion.program import Builder, Program
from paribus.engine.fusion.rows import RowOptimizer, Rows
from paribus.engine.fusion.trace import Trace, Untraceable, trace_step
from paribus.engine.training.draws import Draws
from paribus.engine.training.segment import Run
from paribus.engine.training.state import named_tensors, same_bits
from paribus.identity import derive_seed
from paribus.interventions.sites import BatchIntervention, ConstraintIntervention

Shape = tuple[tuple[tuple[int, ...], torch.dtype], ...]
Own = tuple[dict[str, torch.Tensor], dict[torch.Tensor, dict[str, Any]]]


@final
class Group:
    """Places for K learners of one kind: rows, stacks of what else differs, a program for each batch's shape.

    Attributes:
        runs: The learners in their places.
        shape: Of the batches that were loaded last.
        programs: By the shape of a batch.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        """Make places for learners such as these."""
        self.runs: Sequence[Run] = ()
        self.programs: dict[Shape, Program] = {}
        self.shape: Shape = ()
        tensors = named_tensors(runs[0].model)
        trained = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
        self._rows = Rows(trained, len(runs))
        places = dict(zip(trained, self._rows.stacks(self._rows.values), strict=True))
        self._stacks = {
            name: places[name]
            if name in places
            else torch.empty(len(runs), *tensor.shape, dtype=tensor.dtype)
            for name, tensor in tensors.items()
        }
        self._gradients = dict(zip(trained, self._rows.stacks(self._rows.gradients), strict=True))
        self._shared = shares(runs)
        self._batches: dict[Shape, list[torch.Tensor]] = {}
        self._generators = [torch.Generator() for _ in runs]

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
        self._raw: list[Any] = [None] * len(runs)
        self.bind()

    def bind(self) -> None:
        """Let the learners' models be in the rows, as they are there."""
        for name, stack in self._stacks.items():
            for tensors, own in zip(self._tensors, stack.unbind(0), strict=True):
                tensors[name].data = own
        self._optimizer.show()

    def copies(self) -> list[Own]:
        """Copy what the learners have now."""
        self._optimizer.show()
        return [
            (
                {name: tensor.detach().clone() for name, tensor in tensors.items()},
                {own: _cloned(entries) for own, entries in run.optimizer.state.items()},
            )
            for tensors, run in zip(self._tensors, self.runs, strict=True)
        ]

    def leave(self, copies: Sequence[Own] | None = None) -> None:
        """Give the learners tensors of their own: what they have now, or copies of before."""
        copies = copies or self.copies()
        for run, tensors, (own, state) in zip(self.runs, self._tensors, copies, strict=True):
            for name, tensor in tensors.items():
                tensor.grad = None
                tensor.data = own[name]
            run.optimizer.state.update(state)

    def load(self, step: int) -> None:
        """Bring the batches of a step into their places."""
        for run, rows, batches in self._feeds:
            batch = next(batches)
            leaves = list(tensors_of(run.sites.changed_batch(batch, step)))
            self.shape = tuple((tuple(leaf.shape), leaf.dtype) for leaf in leaves)
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
                else torch.empty(rows, *leaf.shape, dtype=leaf.dtype)
                for leaf in leaves
            ]
        return self._batches[self.shape]

    def write(self) -> None:
        """Write the program for the batches loaded; the learners have tensors of their own meanwhile.

        Raises:
            Untraceable: There is none.
        """
        trace = _traced(self.runs[0], self._raw[0])
        other = self.runs[-1], self._raw[-1]
        if not trace.same(_traced(*other)):
            raise Untraceable("its step differs between learners, or from one time to the next")
        if any(gradient is None for gradient in trace.gradients):
            raise Untraceable("a parameter gets no gradient")
        names = [*self._gradients, *(name for name in self._stacks if name not in self._gradients)]
        given = [*(self._stacks[name] for name in names), *self._batches[self.shape]]
        gradients = list(self._gradients.values())
        self.programs[self.shape] = Builder(trace, given, gradients, self._generators).build()

    def step(self, step: int) -> list[float]:
        """Take one step of all learners on the batches that are loaded; return their losses.

        The row of a learner whose loss is not finite is of no use after it; the others' are.
        """
        program = self.programs[self.shape]
        if program.draws:
            for run, generator in zip(self.runs, self._generators, strict=True):
                generator.manual_seed(derive_seed(run.seeds.forward, "forward", step))
        losses = program.run()
        self._optimizer.step(step)
        for run in self._held:
            run.constraints.hold()
        return losses

    def step_alone(self, step: int) -> list[bool]:
        """Take the same step learner by learner; tell whose loss was finite."""
        went = []
        for run, batch in zip(self.runs, self._raw, strict=True):
            run.draws = Draws(run.device, always=False)  # others may have drawn meanwhile
            went.append(run.advance(step, batch))
            run.draws = Draws(run.device, always=False)
        return went

    def agrees(self, losses: Sequence[float], went: Sequence[bool]) -> bool:
        """Tell whether the rows hold what learners with tensors of their own have, to the bit."""
        if [math.isfinite(loss) for loss in losses] != list(went):
            return False
        entries = self._optimizer.entries()
        return all(self._agrees(row, entries[row]) for row, finite in enumerate(went) if finite)

    def _agrees(self, row: int, entries: Sequence[dict[str, Any]]) -> bool:
        run, tensors = self.runs[row], self._tensors[row]
        pairs = [(tensor, self._stacks[name][row]) for name, tensor in tensors.items()]
        for name, found in zip(self._gradients, entries, strict=True):
            own = run.optimizer.state.get(tensors[name], {})
            if own.keys() != found.keys():
                return False
            pairs += [(value, found[entry]) for entry, value in own.items()]
        return all(_same(one, other) for one, other in pairs)

    def show(self) -> None:
        """Let the learners' optimizers and gradients be what they are in the rows."""
        self._optimizer.show()
        for name, stack in self._gradients.items():
            for tensors, gradient in zip(self._tensors, stack.unbind(0), strict=True):
                tensors[name].grad = gradient


def shares(runs: Sequence[Run]) -> bool:
    """Tell whether learners see the same batches."""
    return len(_courses(runs)) == 1


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
    """Trace a learner's step on a batch; its buffers and the generators are put back by who calls."""
    tensors = named_tensors(run.model)
    trained = [tensor for tensor in tensors.values() if tensor.requires_grad]
    others = [tensor for tensor in tensors.values() if not tensor.requires_grad]
    saved = [tensor.clone() for tensor in others]
    batch = run.sites.changed_batch(batch, run.step)
    drawn = other_generators()

    def loss() -> torch.Tensor:
        return check_loss(total(run.objective.value(run.model, batch), run.terms))

    try:
        trace = trace_step(loss, trained, others, batch)
    finally:
        with torch.no_grad():
            for tensor, before in zip(others, saved, strict=True):
                tensor.copy_(before)
    if other_generators() != drawn:
        raise Untraceable("it draws from Python's or NumPy's generator")
    return trace


def _cloned(entries: dict[str, Any]) -> dict[str, Any]:
    return {n: value.clone() if isinstance(value, torch.Tensor) else value for n, value in entries.items()}


def _same(one: Any, other: Any) -> bool:
    return same_bits(one, other) if isinstance(one, torch.Tensor) else bool(one == other)

"""Learners of one kind evaluated on a split as one, with the bits of each alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import nn

from paribus.engine.building.data import InMemory
from paribus.engine.building.nested import leaves_of, map_tensors, tensors_of
from paribus.engine.fusion.device import clock, room
from paribus.engine.fusion.group import Shape, shape_of
from paribus.engine.fusion.program import Builder, Program
from paribus.engine.fusion.rows import padded
from paribus.engine.fusion.trace import Trace, Untraceable, trace_forward, without_other_draws
from paribus.engine.training.segment import Run
from paribus.engine.training.state import same_bits
from paribus.errors import in_one_line

# Evaluations in both forms before a program is trusted, as many as of a step of training.
_PROOFS = 3
# So many learners are one program that what they compute stays in the cache, or that as many have room.
_MOST, _BYTES, _PROGRAMS = 16, 8_000_000, 64
# Writing a program takes about as long as so many evaluations of a learner alone.
_PATIENCE = 64

Joined = tuple[torch.Tensor, torch.Tensor]


@final
class Evaluation:
    """Evaluates learners whose models differ in numbers alone, many at once.

    The forward pass is written for 1, 2, 4, 8 and 16 of them, as many as are there and fit into the cache.
    What cannot be written, or gives other bits than a learner alone, each learner evaluates itself.

    Args:
        quicker: Whether a program must be quicker, and is written only for what is evaluated often.

    Attributes:
        evaluated: How many splits were evaluated so, of all learners.
        refused: Why others are not: by their number, 0 for any, and the shapes of a split's batches.
    """

    def __init__(self, *, quicker: bool) -> None:
        self.evaluated = 0
        self.refused: dict[tuple[int, tuple[Shape, ...]], str] = {}
        self._quicker = quicker
        self._forwards: dict[Shape, _Forward] = {}
        self._places: dict[int, _Places] = {}
        self._asked: Counter[tuple[Shape, ...]] = Counter()

    @contextmanager
    def of(self, runs: Sequence[Run]) -> Iterator[None]:
        """Let learners record at one step, in this order: who asks is evaluated with those that follow."""
        step = _Step(self, runs)
        for place, run in enumerate(runs):
            run.record.observed.together = partial(step, place)
        try:
            yield
        finally:
            for run in runs:
                run.record.observed.together = None
            for places in self._places.values():
                places.leave()

    def first(self, runs: Sequence[Run], split: str) -> list[Joined]:
        """Evaluate the first of some learners, as many as are one program; none where there is none.

        Returns:
            Outputs and targets of each, ``(samples, …)``, in memory of its own.
        """
        source = runs[0].record.observed.splits[split].source
        if not isinstance(source, InMemory):
            return []
        batches = list(source.evaluation())
        shapes = tuple(shape_of(tensors_of(batch)) for batch in batches)
        if (0, shapes) in self.refused or not self._pays(len(runs), shapes):
            return []
        rows = 0
        try:
            forwards = [self._forward(runs, *each) for each in zip(shapes, batches, strict=True)]
            rows = _power(min(len(runs), *(forward.most for forward in forwards)))
            if rows == 0 or (rows, shapes) in self.refused:
                return []
            if rows not in self._places:
                self._places[rows] = _Places(runs[0].model, rows)
            joined = self._places[rows].evaluate(
                runs[:rows], batches, forwards, shapes, quicker=self._quicker
            )
        except Untraceable as reason:
            self.refused[rows, shapes] = str(reason)
        except Exception as error:  # whatever it is, a learner alone has it too, or has none
            self.refused[rows, shapes] = f"its program fails: {in_one_line(error)}"
        else:
            self.evaluated += rows
            return joined
        return []

    def _pays(self, count: int, shapes: tuple[Shape, ...]) -> bool:
        """Tell whether a split is evaluated so often that a program is worth it."""
        self._asked[shapes] += 1
        return not self._quicker or self._asked[shapes] + count > _PATIENCE

    def _forward(self, runs: Sequence[Run], shape: Shape, batch: Any) -> _Forward:
        if shape not in self._forwards:
            self._forwards[shape] = _forward(runs[0], runs[-1], batch)
        return self._forwards[shape]


@final
class _Step:
    """What learners give at one step; kept until their metrics ask for it."""

    def __init__(self, evaluation: Evaluation, runs: Sequence[Run]) -> None:
        self._evaluation = evaluation
        self._runs = runs
        self._found: dict[tuple[int, str], Joined] = {}

    def __call__(self, place: int, split: str) -> Joined | None:
        """Return outputs and targets of the learner at a place."""
        if (place, split) not in self._found:
            first = self._evaluation.first(self._runs[place:], split)
            self._found.update({(place + number, split): joined for number, joined in enumerate(first)})
        return self._found.pop((place, split), None)


@final
@dataclass(frozen=True, eq=False)
class _Forward:
    """A learner's forward pass on batches of one shape.

    Attributes:
        trace: Its operations, on parameters, buffers and leaves of a batch.
        targets: Which leaf of a batch the targets are.
        most: Of how many learners the tensors fit into the cache.
    """

    trace: Trace
    targets: int
    most: int


@final
@dataclass(eq=False)
class _Proof:
    """How often a split was evaluated in both forms, and the shortest time that each took."""

    times: int = 0
    together: float = math.inf
    alone: float = math.inf


@final
class _Places:
    """Places for so many learners, and the programs that evaluate what is in them."""

    def __init__(self, model: nn.Module, rows: int) -> None:
        self._rows = rows
        self._held: Sequence[Run] = ()
        self._stacks = [_stack(rows, tensor) for tensor in _tensors_in(model)]
        self._programs: dict[Shape, tuple[Program, list[torch.Tensor]]] = {}
        self._proofs: dict[tuple[Shape, ...], _Proof] = {}

    def evaluate(
        self,
        runs: Sequence[Run],
        batches: Sequence[Any],
        forwards: Sequence[_Forward],
        shapes: tuple[Shape, ...],
        *,
        quicker: bool,
    ) -> list[Joined]:
        """Evaluate learners on the batches of a split, the first times in both forms.

        Raises:
            Untraceable: The forms differ, or a program is no quicker.
        """
        self._fill(runs)
        for forward, shape, batch in zip(forwards, shapes, batches, strict=True):
            if shape not in self._programs:
                self._write(forward, shape, batch)
        began = clock(runs[0].device)
        joined = self._run(batches, forwards, shapes)
        proof = self._proofs.setdefault(shapes, _Proof())
        if proof.times < _PROOFS:
            proof.together = min(proof.together, clock(runs[0].device) - began)
            _prove(proof, joined, runs, batches, quicker=quicker)
        return joined

    def leave(self) -> None:
        """Forget who is in the places: they train on."""
        self._held = ()

    def _fill(self, runs: Sequence[Run]) -> None:
        if self._held != runs:
            own = zip(*(_tensors_in(run.model) for run in runs), strict=True)
            for stack, tensors in zip(self._stacks, own, strict=True):
                stack.copy_(torch.stack(tensors))
            self._held = runs

    def _write(self, forward: _Forward, shape: Shape, batch: Any) -> None:
        leaves = [leaf.clone() for leaf in tensors_of(batch)]
        given = [*self._stacks, *(leaf.expand(self._rows, *leaf.shape) for leaf in leaves)]
        generators = [torch.Generator() for _ in range(self._rows)]  # none draws
        self._programs[shape] = Builder(forward.trace, given, [], generators).build(), leaves

    def _run(
        self, batches: Sequence[Any], forwards: Sequence[_Forward], shapes: Sequence[Shape]
    ) -> list[Joined]:
        outputs, targets = [], []
        for batch, forward, shape in zip(batches, forwards, shapes, strict=True):
            program, places = self._programs[shape]
            leaves = list(tensors_of(batch))
            for place, leaf in zip(places, leaves, strict=True):
                place.copy_(leaf)
            outputs.append(program.run().clone())
            targets.append(leaves[forward.targets])
        return [(torch.cat(own), torch.cat(targets)) for own in zip(*outputs, strict=True)]


def _prove(
    proof: _Proof, joined: Sequence[Joined], runs: Sequence[Run], batches: Sequence[Any], *, quicker: bool
) -> None:
    """Compare what learners gave together with what each gives alone."""
    began = clock(runs[0].device)
    alone = [_alone(run, batches) for run in runs]
    proof.alone = min(proof.alone, clock(runs[0].device) - began)
    proof.times += 1
    for given, own in zip(joined, alone, strict=True):
        if not all(map(same_bits, given, own)):
            raise Untraceable("its bits differ")
    if quicker and proof.times == _PROOFS and proof.together > proof.alone:
        raise Untraceable("it is no quicker")


def _alone(run: Run, batches: Sequence[Any]) -> Joined:
    with _evaluating(run.model):
        predicted = [run.objective.predict(run.model, batch) for batch in batches]
    outputs, targets = zip(*(pair for pair in predicted if pair is not None), strict=True)
    return torch.cat(outputs), torch.cat(targets)


def _forward(run: Run, other: Run, batch: Any) -> _Forward:
    """Trace the forward pass of two learners, which must be one.

    Raises:
        Untraceable: It is not one, or not the same from one time to the next.
    """
    (trace, targets), (again, _) = _traced(run, batch), _traced(other, batch)
    if not trace.same(again):
        raise Untraceable("its forward pass differs between learners, or from one time to the next")
    if trace.draws:
        raise Untraceable("it draws random numbers")
    return _Forward(trace, targets, min(_MOST, _space(run.device) // max(trace.made, 1)))


def _space(device: torch.device) -> int:
    """Return how many bytes a program may compute with."""
    return _BYTES if device.type == "cpu" else room(device) // _PROGRAMS


def _traced(run: Run, batch: Any) -> tuple[Trace, int]:
    if not all(isinstance(leaf, torch.Tensor) for leaf in leaves_of(batch)):
        raise Untraceable("its batches are not tensors alone")
    batch = map_tensors(torch.clone, batch)
    leaves = list(tensors_of(batch))
    targets: list[torch.Tensor] = []

    def outputs() -> torch.Tensor:
        predicted = run.objective.predict(run.model, batch)
        if predicted is None:
            raise Untraceable("its objective hides outputs")
        targets.append(predicted[1])
        return predicted[0]

    with without_other_draws(), _evaluating(run.model), _apart(run.model) as tensors:
        given = [*tensors, *leaves]
        if not all(tensor.is_contiguous() for tensor in given):
            raise Untraceable("a tensor of it is not contiguous")
        trace = trace_forward(outputs, given)
    form, found = trace.forms[trace.loss.number], [leaf is targets[0] for leaf in leaves]
    if True not in found:
        raise Untraceable("its targets are not those of the batch")
    if form.shape[:1] != tuple(targets[0].shape[:1]):
        raise Untraceable("its outputs are not one for each sample")
    return trace, found.index(True)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Let a model evaluate, and put each module's mode back: a metric may be at it."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _apart(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Give each of a model's tensors memory of its own, and put its data back."""
    tensors = _tensors_in(model)
    held = [tensor.data for tensor in tensors]
    for tensor in tensors:
        tensor.data = tensor.data.clone()
    try:
        yield tensors
    finally:
        for tensor, data in zip(tensors, held, strict=True):
            tensor.data = data


def _tensors_in(model: nn.Module) -> list[torch.Tensor]:
    """List parameters and buffers, tied ones once: torch's own walks take as long as a small step."""
    rooms: list[Mapping[str, torch.Tensor | None]] = []
    for module in model.modules():
        rooms += [module._parameters, module._buffers]
    return list({id(each): each for room in rooms for each in room.values() if each is not None}.values())


def _power(most: int) -> int:
    """Return the largest power of two that is not more, or 0."""
    return 1 << most.bit_length() - 1 if most else 0


def _stack(rows: int, tensor: torch.Tensor) -> torch.Tensor:
    """Make a stack in which each learner's tensor begins where a cache line does, as it does alone."""
    size = tensor.numel()
    flat = tensor.new_empty(rows, padded(size))
    return flat[:, :size].view(rows, *tensor.shape)

"""A step of K learners as a straight line of calls on buffers that are there before, all views taken once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch

from paribus.engine.fusion.buffers import listed, out_of, writing
from paribus.engine.fusion.device import drawing, quickest
from paribus.engine.fusion.inexact import close, loosely_stacked
from paribus.engine.fusion.lines import Lines
from paribus.engine.fusion.rules import Call, stacked
from paribus.engine.fusion.trace import Form, Operation, Place, Trace, Untraceable, mapped
from paribus.engine.training.state import same_bits

# A tensor that is made anew in each step is stacked only where that costs less than it saves.
_STAGED = 4096
_MADE = frozenset(
    """empty empty_like zeros zeros_like ones ones_like full full_like new_zeros new_empty new_ones new_full
    arange scalar_tensor""".split()  # noqa: SIM905
)


@final
@dataclass(frozen=True, eq=False)
class Program:
    """The forward and backward pass of K learners.

    Attributes:
        run: Computes losses and gradients of what is in the buffers, and returns the losses ``(K,)``; of a
            forward pass alone, what it gives ``(K, …)``. The next run overwrites them.
        draws: Whether it draws random numbers.
        looped: How many operations are computed learner by learner, by name.
        grouped: The same for all learners at once.
    """

    run: Callable[[], torch.Tensor]
    draws: bool
    looped: Mapping[str, int]
    grouped: Mapping[str, int]


@final
class Builder:
    """Writes a program operation by operation, and carries each out meanwhile on what the stacks hold.

    Args:
        trace: The step of one of the learners.
        given: For each tensor that is given, its stack ``(K, *shape)``.
        gradients: For each parameter, the stack that its gradient is written to.
        generators: The learners', from which the step draws.
        exact: Whether each learner must get the bits that it gets alone.
    """

    def __init__(
        self,
        trace: Trace,
        given: Sequence[torch.Tensor],
        gradients: Sequence[torch.Tensor],
        generators: Sequence[torch.Generator],
        *,
        exact: bool = True,
    ) -> None:
        self._trace = trace
        self._given_stacks = given
        self._generators = generators
        self._exact = exact
        self._same = same_bits if exact else close
        self._rows = len(generators)
        self._gradients = gradients
        self._looped: Counter[str] = Counter()
        self._grouped: Counter[str] = Counter()
        self._stacks: dict[int, torch.Tensor] = {}  # static, by number
        self._seen: dict[int, list[torch.Tensor]] = {}  # of each learner, by number
        self._lines = Lines()
        for place, stack in zip(trace.given, given, strict=True):
            self._hold(place.number, stack)
        for number, constant in trace.constants.items():
            self._hold(number, constant.expand(self._rows, *constant.shape))
        changes = [o.results[0] for o in trace.operations if o.mutates and o.results]
        self._changed = {self._form(place).owner for place in changes}
        makes = [o for o in trace.operations if o.name.removeprefix("aten::") not in _MADE]
        self._read = {place.number for o in makes for place in o.places()}
        if not trace.gradients:
            self._read.add(trace.loss.number)
        self._places = self._placed()

    @torch.no_grad()
    def build(self) -> Program:
        """Write the program; what the stacks held is put back.

        Raises:
            Untraceable: An operation cannot be written.
        """
        saved = [stack.clone() for stack in self._given_stacks]
        for operation in self._trace.operations:
            self._write(operation)
        for place, target in zip(self._trace.gradients, self._gradients, strict=True):
            if place is not None:
                self._deliver(place.number, target)
        if self._trace.loss.number not in self._stacks:
            self._stage(self._trace.loss.number)
        stack = self._stacks[self._trace.loss.number]
        run = self._lines.compiled(f"return {self._lines.name(stack)}")
        if all(form.device == stack.device for form in self._trace.forms):
            run = quickest(run, stack.device, self._generators if self._trace.draws else ())
        for stack, before in zip(self._given_stacks, saved, strict=True):
            if not torch.equal(stack, before):
                stack.copy_(before)
        return Program(run, self._trace.draws, self._looped, self._grouped)

    # What lies where

    def _form(self, place: Place | None) -> Form:
        assert place is not None
        return self._trace.forms[place.number]

    def _hold(self, number: int, stack: torch.Tensor) -> None:
        self._stacks[number] = stack
        self._seen[number] = list(stack.unbind(0))

    def _placed(self) -> dict[int, torch.Tensor]:
        """Find the tensors that can be computed straight into the rows of gradients."""
        found: dict[int, torch.Tensor] = {}
        for place, target in zip(self._trace.gradients, self._gradients, strict=True):
            if place is None:
                continue
            form = self._form(place)
            owner = self._trace.forms[form.owner]
            alone = owner.stride == _contiguous(owner.shape) and owner.offset == form.offset == 0
            fits = form.shape == tuple(target.shape[1:]) and form.stride == _contiguous(form.shape)
            size = torch.Size(owner.shape).numel() == target[0].numel()
            if alone and fits and size and form.owner not in found and form.owner not in self._stacks:
                found[form.owner] = target.as_strided(
                    (self._rows, *owner.shape), (target.stride(0), *owner.stride), target.storage_offset()
                )
        return found

    def _allocated(self, number: int) -> torch.Tensor:
        """Make the buffer of a tensor: each learner's lies as it does alone."""
        if number in self._places:
            return self._places[number]
        form = self._trace.forms[number]
        shape, stride = (self._rows, *form.shape), (form.extent, *form.stride)
        return torch.empty_strided(shape, stride, dtype=form.dtype, device=form.device)

    def _view(self, number: int) -> torch.Tensor:
        """Take a view once."""
        form, stack = self._trace.forms[number], self._stacks[self._trace.forms[number].owner]
        offset = stack.storage_offset() + form.offset - self._trace.forms[form.owner].offset
        return stack.as_strided((self._rows, *form.shape), (stack.stride(0), *form.stride), offset)

    # Names in the program

    def _name(self, number: int, row: int) -> str:
        if number in self._stacks:
            return self._lines.name(self._seen[number][row])
        return f"v{number}_{row}"

    def _text(self, leaf: Any, row: int) -> str:
        """Write an argument of one learner."""
        if isinstance(leaf, Place):
            return self._name(leaf.number, row)
        if isinstance(leaf, list | tuple) and _holds_places(leaf):
            return "[" + ", ".join(self._text(item, row) for item in leaf) + "]"
        return self._lines.name(leaf)

    def _each(self, operation: Operation) -> Iterator[tuple[Any, Any]]:
        """Yield the arguments of each learner as they are now."""
        arguments = [self._column(leaf) for leaf in operation.arguments]
        keywords = {name: self._column(leaf) for name, leaf in operation.keywords.items()}
        for row in range(self._rows):
            yield [column[row] for column in arguments], {name: each[row] for name, each in keywords.items()}

    def _column(self, leaf: Any) -> Sequence[Any]:
        """Return what each learner has for an argument."""
        if isinstance(leaf, Place):
            return self._seen[leaf.number]
        if isinstance(leaf, list | tuple) and _holds_places(leaf):
            return list(zip(*map(self._column, leaf), strict=True))
        return [leaf] * self._rows

    # Operations

    def _write(self, operation: Operation) -> None:
        fresh = [p for p in operation.results if p is not None and p.number not in self._seen]
        views = [p for p in fresh if self._form(p).owner != p.number]
        bare = operation.name.removeprefix("aten::")
        if fresh and views == fresh and not operation.mutates:
            if all(self._form(p).owner in self._stacks for p in views):
                for place in views:
                    self._hold(place.number, self._view(place.number))
                return
            self._loop(operation, fresh)
        elif views:
            raise Untraceable(f"{operation.name} gives views beside new tensors")
        elif bare in _MADE:
            self._make(operation, fresh[0].number)
        elif operation.draws:
            self._draw(operation, fresh)
        elif operation.mutates:
            self._change(operation, fresh)
        elif not self._group(operation, fresh):
            self._loop(operation, fresh)

    def _make(self, operation: Operation, number: int) -> None:
        """What depends on no values is made once; where it is written to, in each step."""
        arguments, keywords = next(self._each(operation))
        made = operation.function(*arguments, **keywords)
        if number not in self._changed:
            self._hold(number, made.expand(self._rows, *made.shape))
            return
        self._hold(number, self._allocated(number))
        if "empty" not in operation.name:
            self._stacks[number].copy_(made)
            self._lines.add(f"{self._lines.name(self._stacks[number])}.copy_({self._lines.name(made)})")

    def _draw(self, operation: Operation, fresh: Sequence[Place]) -> None:
        names = {argument.name for argument in operation.function._schema.arguments}
        if "generator" not in names:
            self._draw_beside(operation, fresh)
            return
        if fresh:
            raise Untraceable(f"{operation.name} draws a tensor of its own")
        given = zip(self._generators, self._each(operation), strict=True)
        for row, (generator, (arguments, keywords)) in enumerate(given):
            self._emit(operation, row, "", {"generator": self._lines.name(generator)})
            operation.function(*arguments, **(keywords | {"generator": generator}))
        self._looped[operation.name] += 1

    def _draw_beside(self, operation: Operation, fresh: Sequence[Place]) -> None:
        """What draws from its device's generator, as dropout on a GPU: the learner's stands in for it."""
        draw = drawing(self._form(fresh[0]).device) if fresh else None
        if draw is None or operation.mutates:
            raise Untraceable(f"{operation.name} draws, and takes no generator")
        each = [partial(draw, generator, operation.function) for generator in self._generators]
        self._loop_anew(operation, fresh, each)
        self._looped[operation.name] += 1

    def _change(self, operation: Operation, fresh: Sequence[Place]) -> None:
        """An operation that writes into its argument."""
        if fresh:
            raise Untraceable(f"{operation.name} changes an argument and makes a tensor")
        changed = operation.arguments[0].number
        before = [row.clone() for row in self._seen[changed]]
        for arguments, keywords in self._each(operation):
            operation.function(*arguments, **keywords)
        if changed in self._stacks and self._change_all(operation, self._stacks[changed], before):
            self._grouped[operation.name] += 1
            return
        self._looped[operation.name] += 1
        for row in range(self._rows):
            self._emit(operation, row, "")

    def _change_all(self, operation: Operation, stack: torch.Tensor, before: Sequence[torch.Tensor]) -> bool:
        """Change the argument of all learners at once, if it gets the bits that it has got one by one."""
        call = None if 0 in stack.stride() else self._call(operation)
        if call is None:
            return False
        alone = stack.clone()
        for row, old in zip(stack.unbind(0), before, strict=True):
            row.copy_(old)
        call.function(*call.arguments, **call.keywords)
        if not self._same(stack, alone):
            stack.copy_(alone)
            return False
        self._lines.call(call.function, call.arguments, call.keywords)
        return True

    def _call(self, operation: Operation) -> Call | None:
        """Return an operation for all learners, where it has a rule."""
        numbers = {place.number for place in operation.places()}
        moving = [n for n in numbers if n not in self._stacks]
        if any(torch.Size(self._trace.forms[n].shape).numel() > _STAGED for n in moving):
            return None
        find = lambda leaf: self._stack_of(leaf.number) if isinstance(leaf, Place) else leaf  # noqa: E731
        given = Call(
            operation.function, mapped(find, operation.arguments), mapped(find, dict(operation.keywords))
        )
        first = operation.results[0] if self._rows > 1 else None
        if first is None:
            return None
        shape = self._form(first).shape
        call = stacked(operation.name, given, shape)
        return call if call or self._exact else loosely_stacked(operation.name, given, shape)

    def _stack_of(self, number: int) -> torch.Tensor:
        if number in self._stacks:
            return self._stacks[number]
        form = self._trace.forms[number]
        stack = torch.empty(self._rows, *form.shape, dtype=form.dtype, device=form.device)
        return torch.stack(self._seen[number], out=stack)

    def _group(self, operation: Operation, fresh: Sequence[Place]) -> bool:
        """Compute an operation for all learners at once, if it has the bits of each alone."""
        call = self._call(operation)
        if call is None or any(place is None for place in operation.results):
            return False
        buffers = [self._allocated(place.number) for place in fresh]
        try:
            function, keywords = writing(call, buffers)
            function(*call.arguments, **keywords)
        except (RuntimeError, IndexError):
            return False
        if not self._agrees(operation, fresh, buffers):
            return False
        for number in sorted({place.number for place in operation.places()} - self._stacks.keys()):
            self._stage(number)
        call = self._call(operation)
        assert call is not None
        function, keywords = writing(call, buffers)
        self._lines.call(function, call.arguments, keywords)
        for place, buffer in zip(fresh, buffers, strict=True):
            self._hold(place.number, buffer)
        self._grouped[operation.name] += 1
        return True

    def _stage(self, number: int) -> None:
        """Let a tensor that is made anew in each step be copied into a stack."""
        stack = self._stack_of(number)
        rows = ", ".join(self._name(number, row) for row in range(self._rows))
        self._lines.add(f"{self._lines.name(torch.stack)}([{rows}], out={self._lines.name(stack)})")
        self._hold(number, stack)

    def _agrees(self, operation: Operation, fresh: Sequence[Place], buffers: Sequence[torch.Tensor]) -> bool:
        """Compare with each learner alone; what nothing reads, as the loss itself, may differ."""
        each = self._each(operation)
        alone = (listed(operation.function(*arguments, **keywords)) for arguments, keywords in each)
        return all(
            place.number not in self._read or self._same(buffer, torch.stack(given))
            for place, buffer, given in zip(fresh, buffers, zip(*alone, strict=True), strict=True)
        )

    def _loop(self, operation: Operation, fresh: Sequence[Place]) -> None:
        """Compute an operation learner by learner, where ATen can into the learners' own rows."""
        self._looped[operation.name] += 1
        overload = out_of(operation.function)
        new = len(fresh) == len(operation.results) and all(self._form(p).owner == p.number for p in fresh)
        if overload is not None and new and not overload[2]:
            self._loop_into(operation, fresh, overload[0], overload[1])
        else:
            self._loop_anew(operation, fresh)

    def _loop_into(
        self, operation: Operation, fresh: Sequence[Place], overload: Any, names: Sequence[str]
    ) -> None:
        buffers = [self._allocated(place.number) for place in fresh]
        for row, (arguments, keywords) in enumerate(self._each(operation)):
            outs = {name: buffer[row] for name, buffer in zip(names, buffers, strict=True)}
            overload(*arguments, **(keywords | outs))
            self._emit(
                operation, row, "", {name: self._lines.name(out) for name, out in outs.items()}, overload
            )
        for place, buffer in zip(fresh, buffers, strict=True):
            self._hold(place.number, buffer)

    def _loop_anew(
        self, operation: Operation, fresh: Sequence[Place], functions: Sequence[Any] | None = None
    ) -> None:
        functions = functions or [operation.function] * self._rows
        for row, (arguments, keywords) in enumerate(self._each(operation)):
            given, names = listed(functions[row](*arguments, **keywords)), []
            for place, each in zip(operation.results, given, strict=True):
                names.append("_" if place is None or place not in fresh else f"v{place.number}_{row}")
                if place is not None and place in fresh:
                    self._seen.setdefault(place.number, []).append(each)
            target = f"{', '.join(names)}{',' if operation.several else ''} = "
            self._emit(operation, row, target, function=functions[row])

    def _emit(
        self,
        operation: Operation,
        row: int,
        target: str,
        more: Mapping[str, str] = {},
        function: Any = None,
    ) -> None:
        texts = [self._text(leaf, row) for leaf in operation.arguments]
        texts += [f"{name}={self._text(leaf, row)}" for name, leaf in operation.keywords.items()]
        texts += [f"{name}={text}" for name, text in more.items()]
        self._lines.add(
            f"{target}{self._lines.name(function or operation.function)}({', '.join(texts)})", row
        )

    def _deliver(self, number: int, target: torch.Tensor) -> None:
        """Bring a gradient into its rows, where it was not computed there."""
        stack = self._stacks.get(number)
        if stack is None:
            for row, into in enumerate(target.unbind(0)):
                self._lines.add(f"{self._lines.name(into)}.copy_({self._name(number, row)})", row)
        elif stack.data_ptr() != target.data_ptr() or stack.stride() != target.stride():
            self._lines.add(f"{self._lines.name(target)}.copy_({self._lines.name(stack)})")


def _holds_places(leaf: Any) -> bool:
    return any(isinstance(item, Place) for item in leaf)


def _contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    strides, size = [], 1
    for length in reversed(shape):
        strides.append(size)
        size *= max(length, 1)
    return tuple(reversed(strides))

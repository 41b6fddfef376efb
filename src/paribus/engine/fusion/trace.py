"""One learner's step as a list of ATen operations: forward and backward of the module as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from paribus.engine.building.data import other_generators
from paribus.engine.building.nested import tensors_of
from paribus.engine.building.objective import check_loss
from paribus.engine.training.state import named_tensors


class Untraceable(Exception):  # noqa: N818  # no error: a reason to train alone
    """A step is not the same operations for all learners and all batches."""


@final
@dataclass(frozen=True)
class Place:
    """A tensor of the step, by its number."""

    number: int


@final
@dataclass(frozen=True)
class Form:
    """How a tensor lies in memory.

    Attributes:
        shape: Its sizes.
        stride: Its strides, in elements.
        offset: Where it begins in its storage, in elements.
        dtype: Of its elements.
        device: Where its storage is.
        owner: Number of the tensor whose storage it lies in: its own where it is no view.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    device: torch.device
    owner: int

    @property
    def extent(self) -> int:
        """Elements from its first to its last in memory."""
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))


@final
@dataclass(frozen=True)
class Operation:
    """One call of an ATen operation; tensors stand as `Place` in nested arguments.

    Attributes:
        function: The overload.
        arguments: Positional ones.
        keywords: Named ones.
        results: The tensors that it gave, in order; one that an argument names is that argument, changed.
        several: Whether it gives a tuple.
    """

    function: Any
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    results: tuple[Place | None, ...]
    several: bool

    @property
    def name(self) -> str:
        """The operation's name, as in ``aten::mm``."""
        name: str = self.function._schema.name  # the overload's only public face is its text
        return name

    @property
    def draws(self) -> bool:
        """Whether it draws random numbers."""
        return torch.Tag.nondeterministic_seeded in self.function.tags

    @property
    def mutates(self) -> bool:
        """Whether it writes into an argument."""
        return bool(self.function._schema.is_mutable)

    def places(self) -> list[Place]:
        """List the tensors among the arguments."""
        return places_in((self.arguments, dict(self.keywords)))


@final
@dataclass(frozen=True, eq=False)
class Trace:
    """The operations of a step.

    Attributes:
        operations: In order.
        forms: How each tensor lies in memory, by number.
        given: The tensors that differ by learner: parameters, buffers, leaves of the batch.
        constants: The tensors that the model made or holds besides, by number.
        loss: The loss; of a forward pass alone, what it gives.
        gradients: Of each parameter; ``None`` where it gets none; empty of a forward pass alone.
    """

    operations: tuple[Operation, ...]
    forms: tuple[Form, ...]
    given: tuple[Place, ...]
    constants: Mapping[int, torch.Tensor]
    loss: Place
    gradients: tuple[Place | None, ...]

    def same(self, other: Trace) -> bool:
        """Tell whether two steps are the same operations on the same constants."""
        return (
            self.operations == other.operations
            and self.forms == other.forms
            and self.loss == other.loss
            and self.gradients == other.gradients
            and self.constants.keys() == other.constants.keys()
            and all(torch.equal(tensor, other.constants[n]) for n, tensor in self.constants.items())
        )

    @property
    def draws(self) -> bool:
        """Whether the step draws random numbers."""
        return any(operation.draws for operation in self.operations)

    @property
    def made(self) -> int:
        """Bytes of what is computed, of one learner."""
        held = {place.number for place in self.given} | self.constants.keys()
        own = [form for n, form in enumerate(self.forms) if form.owner == n and n not in held]
        return sum(form.extent * form.dtype.itemsize for form in own)


def trace_step(model: nn.Module, loss_of: Callable[[], object], batch: Any) -> Trace:
    """Take a model's forward and backward pass once, and write down what is computed; buffers are put back.

    Args:
        model: Its trainable parameters are trained; what else it has differs by learner, too.
        loss_of: Computes the loss, a scalar; it may change the buffers.
        batch: What ``loss_of`` computes the loss of, nested.

    Raises:
        Untraceable: What is computed depends on values, or draws what a program does not.
        ObjectiveError: The loss cannot be minimised.
    """
    tensors = named_tensors(model).values()
    trained = [tensor for tensor in tensors if tensor.requires_grad]
    others = [tensor for tensor in tensors if not tensor.requires_grad]
    saved = [tensor.clone() for tensor in others]
    try:
        with without_other_draws():
            return _traced(lambda: check_loss(loss_of()), trained, [*trained, *others, *tensors_of(batch)])
    finally:
        with torch.no_grad():
            for tensor, before in zip(others, saved, strict=True):
                tensor.copy_(before)


def _traced(
    loss_of: Callable[[], torch.Tensor], parameters: Sequence[torch.Tensor], given: Sequence[torch.Tensor]
) -> Trace:
    with torch.enable_grad(), _Writer(given) as writer:
        loss = loss_of()
        gradients = torch.autograd.grad(loss, list(parameters), allow_unused=True)
    return Trace(
        tuple(writer.operations),
        tuple(writer.forms),
        tuple(writer.place(tensor) for tensor in given),
        writer.constants,
        writer.place(loss),
        tuple(None if gradient is None else writer.place(gradient) for gradient in gradients),
    )


def agreed(traces: Sequence[Trace]) -> Trace:
    """Return what steps have in common, of several learners or of one, several times: all of it.

    Raises:
        Untraceable: They differ, or such learners are in no group.
    """
    trace, *others = traces
    if not all(map(trace.same, others)):
        raise Untraceable("its step differs between learners, or from one time to the next")
    if any(gradient is None for gradient in trace.gradients):
        raise Untraceable("a parameter gets no gradient")
    return trace


def trace_forward(outputs_of: Callable[[], torch.Tensor], given: Sequence[torch.Tensor]) -> Trace:
    """Take the forward pass alone: what it gives stands in the loss's place, and there are no gradients.

    Args:
        outputs_of: Computes what is wanted.
        given: What differs by learner or by batch: parameters, buffers, leaves of the batch.

    Raises:
        Untraceable: What is computed depends on values, or something given is changed.
    """
    with torch.no_grad(), _Writer(given) as writer:
        outputs = outputs_of()
    places = tuple(writer.place(tensor) for tensor in given)
    owners = {writer.forms[place.number].owner for place in places}
    for operation in writer.operations:
        changed = [place for place in operation.results if place] or operation.places()
        if operation.mutates and any(writer.forms[place.number].owner in owners for place in changed):
            raise Untraceable(f"it changes what it is given ({operation.name})")
    return Trace(
        tuple(writer.operations), tuple(writer.forms), places, writer.constants, writer.place(outputs), ()
    )


@contextmanager
def without_other_draws() -> Iterator[None]:
    """Refuse a trace of what draws from Python's or NumPy's generator: a program would not.

    Raises:
        Untraceable: It does.
    """
    drawn = other_generators()
    yield
    if other_generators() != drawn:
        raise Untraceable("it draws from Python's or NumPy's generator")


@final
class _Writer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down operations; a tensor is told by where it lies: autograd makes new objects of old ones."""

    def __init__(self, given: Sequence[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self.forms: list[Form] = []
        self.constants: dict[int, torch.Tensor] = {}
        self._numbers: dict[object, int] = {}
        self._owners: dict[int, int] = {}
        self._alive: list[torch.Tensor] = []
        for tensor in given:
            self._add(tensor)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and importing the compiler takes seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not _VALUES.isdisjoint(func.tags) or func._schema.name in _READS:
            raise Untraceable(f"what it computes depends on values ({func._schema.name})")
        arguments, keywords = mapped(self._known, args), mapped(self._known, kwargs or {})
        given = func(*args, **(kwargs or {}))
        results = given if isinstance(given, tuple | list) else (given,)
        before = len(self.forms)
        places = tuple(self.place(r) if isinstance(r, torch.Tensor) else None for r in results)
        fresh = any(place is not None and place.number >= before for place in places)
        if fresh or func._schema.is_mutable:  # else it gave an argument once more, as detach does
            several = isinstance(given, tuple | list)
            self.operations.append(Operation(func, arguments, keywords, places, several))
        return given

    def place(self, tensor: torch.Tensor) -> Place:
        """Return the number of a tensor; a new one is added."""
        number = self._numbers.get(_where(tensor))
        return Place(self._add(tensor) if number is None else number)

    def _known(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        before = len(self.forms)
        place = self.place(value)
        if place.number >= before and self.forms[place.number].owner == place.number:
            self.constants[place.number] = value.detach().clone()
        return place

    def _add(self, tensor: torch.Tensor) -> int:
        if tensor.layout != torch.strided or type(tensor) not in (torch.Tensor, torch.nn.Parameter):
            raise Untraceable(f"it computes with a {type(tensor).__name__} of layout {tensor.layout}")
        number = len(self.forms)
        self._alive.append(tensor)  # or its memory would be another tensor's
        self._numbers[_where(tensor)] = number
        empty = tensor.numel() == 0  # such lie nowhere
        owner = number if empty else self._owners.setdefault(tensor.untyped_storage().data_ptr(), number)
        self.forms.append(
            Form(
                tuple(tensor.shape),
                tuple(tensor.stride()),
                int(tensor.storage_offset()),
                tensor.dtype,
                tensor.device,
                owner,
            )
        )
        return number


_VALUES = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
_READS = frozenset({"aten::_local_scalar_dense", "aten::equal", "aten::is_nonzero"})


def _where(tensor: torch.Tensor) -> object:
    if tensor.numel() == 0:
        return id(tensor)
    storage = tensor.untyped_storage().data_ptr()
    return storage, tensor.storage_offset(), tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """Apply a function to each leaf of an operation's arguments."""
    if isinstance(tree, tuple | list):
        return type(tree)(mapped(function, value) for value in tree)
    if isinstance(tree, dict):
        return {name: mapped(function, value) for name, value in tree.items()}
    return function(tree)


def places_in(tree: Any) -> list[Place]:
    """List the places in an operation's arguments."""
    found: list[Place] = []
    mapped(lambda leaf: found.append(leaf) if isinstance(leaf, Place) else None, tree)
    return found

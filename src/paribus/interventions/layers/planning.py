"""How layers are removed from a model: found by trials on copies, before training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, final

import torch
from torch import nn

from paribus.errors import AblationError, NoEffect, Opaque, OutputProducer, ShapeUnrepairable, TiedAlias
from paribus.interventions.layers.fitting import fit
from paribus.interventions.layers.nested import (
    Shape,
    flattened,
    layout,
    mapped,
    resized,
    shapes,
    tensors,
)
from paribus.interventions.layers.rebuilding import Rebuild, rebuild
from paribus.interventions.layers.replacements import Leaf
from paribus.interventions.layers.surgery import Removal, Surgery, operate, randomised, shared
from paribus.interventions.layers.trace import Call, Trace, is_closed, trace

if TYPE_CHECKING:
    from paribus.interventions.sites import Probe

MOST_REBUILDS = 3
_DRAWS = 4


@final
class Subject:
    """A model under trial, and what was seen of it; what was seen once is kept.

    Args:
        model: The model; it is left as it is.
        probe: How it may be run.
    """

    def __init__(self, model: nn.Module, probe: Probe) -> None:
        self.model = model
        self.probe = probe
        self._traces: dict[tuple[bool, bool], Trace] = {}
        self._named = list(model.named_parameters(remove_duplicate=False))
        self._learning: dict[str, bool] = {}
        self._drawn: list[Trace] = []

    def seen(self, *, train: bool = True, other: bool = False) -> Trace:
        """Return a watched run, in a mode, at the batch's size or at another one."""
        key = (train, other)
        if key not in self._traces:
            then = self._learn if key == (True, False) else None
            self._traces[key] = self.run(self.model, train=train, other=other, then=then)
        return self._traces[key]

    def run(
        self,
        model: nn.Module,
        *,
        train: bool,
        other: bool = False,
        watch: bool = True,
        then: Callable[[Trace], None] | None = None,
    ) -> Trace:
        """Run a model like this one."""
        batch = mapped(torch.Tensor.clone, self.probe.batch)
        batch = resized(batch) if other else batch
        return trace(model, self.probe.loss, batch, train=train, watch=watch, then=then)

    def drawn(self) -> list[Trace]:
        """Return runs with parameters drawn from seeds of their own."""
        if not self._drawn:
            copies = (randomised(self.model, seed) for seed in range(_DRAWS))
            self._drawn = [self.run(model, train=True) for model in copies]
        return self._drawn

    def variants(self) -> Iterator[Trace]:
        """Yield runs in which different submodules may be called."""
        yield self.seen()
        yield self.seen(train=False)
        yield from self.drawn()

    def first_call(self, path: str) -> tuple[Call, Trace]:
        """Return the first call of a submodule in the first run that calls it."""
        return next((calls[0], run) for run in self.variants() if (calls := run.of(path)))

    def learning(self) -> dict[str, bool]:
        """Tell of each parameter whether the loss gives it a gradient."""
        self.seen()
        return self._learning

    def _learn(self, run: Trace) -> None:
        asked = {id(p): p for _, p in self._named if p.requires_grad}
        found: Sequence[torch.Tensor | None] = ()
        if run.loss is not None and run.loss.requires_grad and asked:
            found = torch.autograd.grad(run.loss, list(asked.values()), allow_unused=True)
            run.loss = run.loss.detach()
        reached = {key for key, gradient in zip(asked, found, strict=False) if gradient is not None}
        self._learning = {name: id(p) in reached for name, p in self._named}


def sites(subject: Subject, paths: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the submodules to act on, as the model calls them, and the parameters that it only reads.

    Args:
        subject: The model.
        paths: What was selected.

    Raises:
        NoEffect: Nothing of it is used.
        Opaque: It is inside a scripted or compiled module.
        TiedAlias: It is used under another name too.
    """
    _refuse_closed(subject.model, paths)
    _refuse_aliases(subject.model, paths)
    called: dict[str, None] = {}
    read: dict[str, None] = {}
    first = {id(module): path for path, module in subject.model.named_modules()}
    modules = dict(subject.model.named_modules(remove_duplicate=False))
    names = dict.fromkeys(first[id(modules[path])] if path in modules else path for path in paths)
    for path in _outermost(names):
        calls, parameters = _used(subject, path)
        called |= dict.fromkeys(calls)
        read |= dict.fromkeys(parameters)
        if not calls and not parameters:
            raise NoEffect(
                f"{path!r} is neither called nor read in a step on this batch: to remove it changes nothing; "
                "leave it out of the ablation, or give a batch that uses it"
            )
    return tuple(called), tuple(read)


def _used(subject: Subject, path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if any(run.of(path) for run in (subject.seen(), subject.seen(train=False))):
        return (path,), ()
    # A router may leave an expert out: which are called must depend neither on one run nor on the weights.
    runs = subject.drawn()
    inside = {
        c.path
        for run in runs
        for c in run.calls
        if c.ended >= 0 and (c.path == path or _within(c.path, path))
    }
    if path in inside:
        return (path,), ()
    known = dict(subject.model.named_modules())
    calls = tuple(_outermost(name for name in known if name in inside))
    learning = subject.learning()
    own = [name for name, used in learning.items() if used and (name == path or _within(name, path))]
    return calls, tuple(name for name in own if not any(_within(name, call) for call in calls))


def _refuse_closed(model: nn.Module, paths: Iterable[str]) -> None:
    for path in paths:
        parts = path.split(".")
        owners = (model.get_submodule(".".join(parts[:length])) for length in range(len(parts)))
        if any(is_closed(owner) for owner in owners):
            raise Opaque(
                f"{path!r} is inside a scripted or compiled module, whose code cannot be edited; "
                "remove that module as a whole, or give the model unscripted and uncompiled"
            )


def _refuse_aliases(model: nn.Module, paths: Sequence[str]) -> None:
    """Refuse a selection whose modules or parameters have a name outside of it."""
    chosen: dict[int, str] = {}
    outside: dict[int, str] = {}
    named: list[tuple[str, Any]] = [
        *model.named_modules(remove_duplicate=False),
        *model.named_parameters(remove_duplicate=False),
    ]
    for name, value in named:
        inside = any(name == path or _within(name, path) for path in paths)
        (chosen if inside else outside).setdefault(id(value), name)
    for key, name in chosen.items():
        if key in outside:
            raise TiedAlias(
                f"{name!r} is also {outside[key]!r}, which stays: with one of the two the other changes; "
                "remove both as one group, or give a model in which they are not tied"
            )


def _within(name: str, path: str) -> bool:
    return name.startswith(f"{path}.")


def _outermost(paths: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for path in sorted(dict.fromkeys(paths), key=lambda path: path.count(".")):
        if not any(_within(path, other) for other in kept):
            kept.append(path)
    return kept


def removal(subject: Subject, paths: Sequence[str], *, repair: bool, sliced: bool) -> Surgery:
    """Find the first way that works: pass-through, rebuilt neighbours, an adapter at the site.

    Args:
        subject: The model.
        paths: What was selected.
        repair: Whether neighbours and shapes may be changed.
        sliced: Whether rebuilt neighbours keep the weights that fit.

    Raises:
        AblationError: There is no way; the class says why.
    """
    called, read = sites(subject, paths)
    for path in called:
        _refuse_identity(subject, path)
        _refuse_producer(subject, path)
    surgery = Surgery("parameters that are read become zero", zeroed=read, sliced=sliced)
    if not called:
        return surgery
    surgery = dataclasses.replace(
        surgery, way="pass-through", removals=_removals(subject, called, fitted=False)
    )
    found, last = _passed(subject, surgery, limit=MOST_REBUILDS if repair else 0)
    if found is not None and (found.rebuilds or not repair or not _absorbed(subject, called)):
        return found
    for path in called:
        _refuse_producer(subject, path, last)
    if repair:
        way = "adapter at the site, without parameters"
        surgery = dataclasses.replace(surgery, way=way, removals=_removals(subject, called, fitted=True))
        found, last = _passed(subject, surgery, limit=0)
        if found is not None:
            return found
    raise _unrepairable(subject, paths, last)


def _removals(subject: Subject, called: Iterable[str], *, fitted: bool) -> tuple[Removal, ...]:
    return tuple(_removal(subject, path, fitted=fitted) for path in called)


def _removal(subject: Subject, path: str, *, fitted: bool) -> Removal:
    call, run = subject.first_call(path)
    given = call.inputs
    made, structure = flattened(call.output)
    if not any(isinstance(leaf, torch.Tensor) for leaf in made):
        kind = type(call.output).__name__
        raise Opaque(
            f"{path!r} returns a {kind}, in which no tensor is found; remove what it calls, one by one"
        )
    others = _other_shapes(subject, path)
    leaves = tuple(
        _leaf(leaf, number, given, others, raw=number == 0 and not fitted)
        if isinstance(leaf, torch.Tensor)
        else _handed_on(path, leaf, flattened(call.arguments)[0])
        for number, leaf in enumerate(made)
    )
    calls = run.of(path)
    later = not torch.equal(calls[0].drawn, run.drawn)  # type: ignore[arg-type]
    ghost = any(call.drew for call in calls) and later
    return Removal(path, leaves, structure, ghost)


def _other_shapes(subject: Subject, path: str) -> tuple[tuple[Shape, ...], tuple[Shape, ...]]:
    """Return the shapes of inputs and outputs at another batch size, where there are any."""
    calls = subject.seen(other=True).of(path)
    return (shapes(calls[0].inputs), shapes(calls[0].output)) if calls else ((), ())


def _handed_on(path: str, leaf: Any, arguments: list[Any]) -> Leaf:
    """Return what stands for something that is no tensor."""
    if leaf is None or isinstance(leaf, bool | int | float | str | torch.Size | torch.dtype | torch.device):
        return Leaf(None, other=leaf)
    place = next((place for place, given in enumerate(arguments) if given is leaf), None)
    if place is None:
        raise Opaque(
            f"{path!r} makes a {type(leaf).__name__}, which nothing else can make; remove what it "
            "calls, or use mode='zero'"
        )
    return Leaf(None, argument=place)


def _leaf(
    leaf: torch.Tensor,
    number: int,
    given: list[torch.Tensor],
    others: tuple[tuple[Shape, ...], tuple[Shape, ...]],
    *,
    raw: bool,
) -> Leaf:
    if not given:
        return Leaf(None, other=torch.zeros_like(leaf, requires_grad=False))
    shape = tuple(leaf.shape)
    at = next((i for i in _nearest(number, len(given)) if tuple(given[i].shape) == shape), 0)
    source = given[0 if raw else at]
    if source.is_floating_point() == leaf.is_floating_point() and (raw or tuple(source.shape) == shape):
        return Leaf(0 if raw else at)
    in_other, out_other = others
    index = 0 if raw else at
    how = fit(
        tuple(source.shape),
        shape,
        in_other[index] if index < len(in_other) else None,
        out_other[number] if number < len(out_other) else None,
    )
    # Indices say nothing as numbers: a table that is gone gives zeros.
    indices = leaf.is_floating_point() != source.is_floating_point()
    return Leaf(index, how, zero=indices, dtype=leaf.dtype)


def _nearest(number: int, count: int) -> list[int]:
    return sorted(range(count), key=lambda i: (i != number, i))


def _passed(subject: Subject, surgery: Surgery, limit: int) -> tuple[Surgery | None, Trace]:
    """Try a surgery, and rebuild the consumers that fail, up to a limit."""
    while True:
        try:
            model = operate(shared(subject.model), surgery, subject.probe.seed)
        except Exception as error:  # a property, a parametrization: code of the user's
            return None, Trace(error=error)
        run = subject.run(model, train=True)
        if run.error is None and _same(subject.seen(), run):
            other = subject.run(model, train=False, other=True, watch=False)
            expected = subject.seen(train=False, other=True)
            fits = expected.error is not None or (other.error is None and _same(expected, other))
            return (surgery if fits else None), (run if fits else other)
        consumer = _consumer(model, run) if len(surgery.rebuilds) < limit else None
        if consumer is None or consumer.path in {done.path for done in surgery.rebuilds}:
            return None, run
        surgery = dataclasses.replace(
            surgery, way="pass-through, neighbours rebuilt", rebuilds=(*surgery.rebuilds, consumer)
        )


def _same(expected: Trace, got: Trace) -> bool:
    return layout(expected.outputs) == layout(got.outputs)


def _consumer(model: nn.Module, run: Trace) -> Rebuild | None:
    """Return how the layer that failed is rebuilt."""
    if run.failed is None or not (given := run.failed.inputs):
        return None
    module = model.get_submodule(run.failed.path)
    try:
        _refuse_aliases(model, (run.failed.path,))
    except TiedAlias:
        return None
    return rebuild(run.failed.path, module, tuple(given[0].shape))


def _absorbed(subject: Subject, called: Iterable[str]) -> bool:
    """Tell whether a width changes at a site: where no consumer failed, nobody has checked it."""
    return any(
        _width(call.inputs[0]) != _width(tensors(call.output)[0])
        for path in called
        for call in [subject.first_call(path)[0]]
        if call.inputs and call.inputs[0].is_floating_point()
    )


def _width(tensor: torch.Tensor) -> int:
    axis = 1 if tensor.ndim > 3 else -1
    return tensor.shape[axis] if tensor.ndim else 0


def _refuse_identity(subject: Subject, path: str) -> None:
    calls = [call for train in (True, False) for call in subject.seen(train=train).of(path)]
    if calls and all(call.unchanged for call in calls):
        raise NoEffect(f"{path!r} returns what it is given: to remove it changes nothing; leave it out")


def _refuse_producer(subject: Subject, path: str, tried: Trace | None = None) -> None:
    """Refuse to remove what makes the output, in a shape that it is not given.

    Args:
        subject: The model.
        path: Of the submodule.
        tried: A run without it; ``None``: only a submodule whose very output is the model's is refused.
    """
    call, run = subject.first_call(path)
    given, made = call.inputs, tensors(call.output)
    if not given or not made or tuple(given[0].shape) == tuple(made[0].shape):
        return
    outputs = {id(tensor) for tensor in tensors(run.outputs)}
    direct = any(id(tensor) in outputs for tensor in made)
    ended = run.of(path)[-1].ended
    followed = any(c.began > ended and _has_parameters(subject.model, c.path) for c in run.calls)
    if direct or (tried is not None and tried.outputs and not followed):
        raise OutputProducer(
            f"{path!r} makes the model's output {tuple(made[0].shape)} from {tuple(given[0].shape)}: without "
            "it the output has another shape; remove a layer before it, or use mode='freeze_init' or 'reinit'"
        )


def _has_parameters(model: nn.Module, path: str) -> bool:
    return next(model.get_submodule(path).parameters(), None) is not None


def _unrepairable(subject: Subject, paths: Sequence[str], run: Trace) -> AblationError:
    names = ", ".join(map(repr, paths))
    expected = shapes(subject.seen().outputs)
    if run.error is None:
        got = shapes(run.outputs)
        told = f"the model's output would be {_told(got)} instead of {_told(expected)}"
        return ShapeUnrepairable(f"{names}: without it {told}; {_MEND}", "forward", (*got, *expected))
    op = run.failed.path if run.failed else "forward"
    given = shapes(run.failed.arguments) if run.failed else ()
    why = str(run.error).partition("\n")[0]
    return ShapeUnrepairable(
        f"{names}: without it {op!r} fails on {_told(given)}: {type(run.error).__name__}: {why}; {_MEND}",
        op,
        given,
    )


_MEND = "use mode='zero', or remove the block that contains it"


def _told(given: Iterable[Shape]) -> str:
    return ", ".join(map(str, given)) or "no tensor"

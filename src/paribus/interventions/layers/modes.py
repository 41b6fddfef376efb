"""The modes that keep a layer: output replaced, branch or heads silenced, weights frozen or redrawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from paribus.errors import AblationError, NoEffect, Opaque
from paribus.interventions.layers.nested import shapes, tensors
from paribus.interventions.layers.planning import Subject, sites
from paribus.interventions.layers.replacements import Silence, SilenceHeads
from paribus.interventions.layers.surgery import Surgery, operate, shared
from paribus.interventions.layers.trace import Trace

_ACTIVATION_NAMES = (
    "relu",
    "gelu",
    "silu",
    "swish",
    "mish",
    "sigmoid",
    "tanh",
    "activation",
    "glu",
    "softplus",
)
_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads", "nheads")
_PROJECTIONS = (
    "out_proj",
    "proj",
    "o_proj",
    "c_proj",
    "dense",
    "to_out",
    "out_lin",
    "wo",
    "output",
    "projection",
    "o",
)


def silenced(subject: Subject, paths: Sequence[str], mode: str) -> Surgery:
    """Plan to replace what modules give: zero, mean or another sample's.

    Raises:
        Opaque: A module is read and never called, and the mode is not ``"zero"``.
    """
    called, read = sites(subject, paths)
    if read and mode != "zero":
        raise Opaque(f"{read[0]!r} is read and not called: there is no output to replace; use mode='zero'")
    scripted = [
        path for path in called if isinstance(subject.model.get_submodule(path), torch.jit.ScriptModule)
    ]
    if scripted:
        raise Opaque(f"{scripted[0]!r} is scripted, and takes no hook on its output; use mode='remove'")
    silences = tuple((path, Silence(mode, _batch_axis(subject, path))) for path in called)
    return Surgery(f"outputs replaced: {mode}", silences=silences, zeroed=read)


def kept(subject: Subject, paths: Sequence[str], mode: str, seed: int) -> Surgery:
    """Plan to freeze modules as they are drawn, or to draw them from another seed.

    Raises:
        NoEffect: They have no parameters that learn.
    """
    sites(subject, paths)
    learning = [
        name
        for name, learns in subject.learning().items()
        if learns and any(name == path or name.startswith(f"{path}.") for path in paths)
    ]
    if not learning:
        raise NoEffect(
            f"{', '.join(map(repr, paths))}: no parameter of it learns, so mode={mode!r} changes nothing"
        )
    if mode == "freeze_init":
        return Surgery("frozen as drawn", frozen=tuple(learning))
    owners = {path for path in paths if path in dict(subject.model.named_modules())}
    return Surgery(f"drawn anew with seed {seed}", redrawn=tuple(sorted(owners)), seed=seed)


def without_branch(subject: Subject, paths: Sequence[str]) -> Surgery:
    """Plan to silence the branch of each block that has most parameters, so that its shortcut remains.

    Raises:
        AblationError: A block has no shortcut.
    """
    called, _ = sites(subject, paths)
    silences = tuple((_branch(subject, path), Silence("zero")) for path in called)
    return Surgery("the branch beside the shortcut gives zero", silences=silences)


def _branch(subject: Subject, path: str) -> str:
    """Return the end of the heaviest branch: the last submodule that the input can do without."""
    best, most = "", 0
    block, run = subject.first_call(path)
    inside = [c for c in run.calls if c.path.startswith(f"{path}.") and block.began < c.began < block.ended]
    for child in dict.fromkeys(call.path for call in inside):
        surgery = Surgery("", silences=((child, Silence("zero")),))
        model = operate(shared(subject.model), surgery, subject.probe.seed)
        counts: list[int] = []
        subject.run(model, train=True, then=partial(_count_unreached, model, path, counts))
        if counts and counts[0] >= most and counts[0] > 0:
            best, most = child, counts[0]
    if not best:
        raise AblationError(
            f"mode='skip_branch': {path!r} has no shortcut beside its layers; use mode='zero' or 'remove'"
        )
    return best


def _count_unreached(model: nn.Module, path: str, counts: list[int], run: Trace) -> None:
    """Count the block's parameters that do not reach its output, where its input does."""
    calls = run.of(path)
    output = next((t for call in calls[:1] for t in tensors(call.output) if t.requires_grad), None)
    given = next((t for call in calls[:1] for t in call.inputs if t.requires_grad), None)
    if output is None or given is None:
        return
    own = [p for p in model.get_submodule(path).parameters() if p.requires_grad]
    through, *found = torch.autograd.grad(output.sum(), [given, *own], allow_unused=True)
    if through is not None:
        counts.append(sum(p.numel() for p, gradient in zip(own, found, strict=True) if gradient is None))


def without_heads(subject: Subject, paths: Sequence[str], heads: tuple[int, ...]) -> Surgery:
    """Plan to silence attention heads, at the input of the projection that follows them.

    Raises:
        AblationError: A module has no heads, or not those.
    """
    called, _ = sites(subject, paths)
    before, masked, silences = [], [], []
    for path in called:
        module = subject.model.get_submodule(path)
        silence = SilenceHeads(heads, _head_count(path, module, heads))
        if isinstance(module, nn.MultiheadAttention):
            masked.append((f"{path}.out_proj", silence))
        elif (projection := _projection(subject, path, module)) is not None:
            before.append((projection, silence))
        else:
            silences.append((path, silence))
    told = f"attention heads {', '.join(map(str, heads))} silenced"
    return Surgery(told, before=tuple(before), masked=tuple(masked), silences=tuple(silences))


def _head_count(path: str, module: nn.Module, heads: tuple[int, ...]) -> int:
    own = [getattr(part, name, None) for part in module.modules() for name in _COUNTS]
    count = next((value for value in own if isinstance(value, int)), None)
    if count is None:
        raise AblationError(
            f"heads={heads}: {path!r}, a {type(module).__name__}, has none of the attributes "
            f"{', '.join(_COUNTS)}; select the attention itself"
        )
    if not all(0 <= head < count for head in heads):
        raise AblationError(f"heads={heads}: {path!r} has {count} heads; give numbers from 0 to {count - 1}")
    return count


def _projection(subject: Subject, path: str, module: nn.Module) -> str | None:
    called = {call.path for call in subject.seen().calls}
    names = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    found = (name for wanted in _PROJECTIONS for name in names if wanted in name.split("."))
    return next((f"{path}.{name}" for name in found if f"{path}.{name}" in called), None)


def following_activations(subject: Subject, paths: Sequence[str]) -> tuple[str, ...]:
    """Return the activation module that follows each removed one, norms and dropout between them skipped.

    Raises:
        AblationError: None follows, or it follows other modules too.
    """
    found = []
    for path in sites(subject, paths)[0]:
        activation = _activation_after(subject, path)
        if len(subject.seen().of(activation)) > len(subject.seen().of(path)):
            raise AblationError(
                f"with_activation: {activation!r}, which follows {path!r}, follows other layers too; "
                "give each its own activation module, or leave with_activation out"
            )
        found.append(activation)
    return tuple(found)


def _activation_after(subject: Subject, path: str) -> str:
    call, run = subject.first_call(path)
    here: Any = tensors(call.output)[0]
    for later in run.calls:
        module = subject.model.get_submodule(later.path)
        leaf = next(module.children(), None) is None
        if later.began < call.ended or not leaf or all(given is not here for given in later.inputs):
            continue
        if any(name in type(module).__name__.lower() for name in _ACTIVATION_NAMES):
            return later.path
        if not any(name in type(module).__name__.lower() for name in ("norm", "dropout")):
            break
        here = tensors(later.output)[0]
    raise AblationError(
        f"with_activation: no activation module follows {path!r}; what is written as a function in forward() "
        "cannot be removed alone: leave with_activation out"
    )


def _batch_axis(subject: Subject, path: str) -> int:
    call, _ = subject.first_call(path)
    other = subject.seen(other=True).of(path)
    if not other or not (pair := list(zip(shapes(call.output), shapes(other[0].output), strict=False))):
        return 0
    return next(_differing(*pair[0]), 0)


def _differing(one: Sequence[int], other: Sequence[int]) -> Iterator[int]:
    return (axis for axis, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)

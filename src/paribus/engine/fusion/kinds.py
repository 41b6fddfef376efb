"""Which learners can be trained as one, and why others cannot."""

from __future__ import annotations

from torch import nn

from paribus.engine.building.architecture import model_digest
from paribus.engine.fusion import Fuse
from paribus.engine.fusion.device import room
from paribus.engine.fusion.group import size_of
from paribus.engine.fusion.rows import obstacle
from paribus.engine.learners.configuration import terms_at
from paribus.engine.training.segment import Run
from paribus.engine.training.state import named_tensors

# Parameters, gradients and optimizer's state of a group, three times its models, in bytes: larger groups gain
# no more. A model larger than this has arithmetic to do, and little else.
_TOGETHER = 36_000_000
_ALONE = 1_500_000
_MOST = 128
# On other devices, arithmetic waits for nobody, and memory is what there is: so many groups have room.
_GROUPS = 16


def obstacle_in(run: Run) -> str | None:
    """Tell why a learner is trained alone, as far as its model and its optimizer tell."""
    return obstacle_in_model(run.model) or obstacle(run.optimizer)


def obstacle_in_model(model: nn.Module) -> str | None:
    """Tell why learners of a model are trained alone, as far as its parameters tell."""
    trained = [tensor for tensor in named_tensors(model).values() if tensor.requires_grad]
    if len({tensor.dtype for tensor in trained}) != 1:
        return "its parameters are of several types"
    if not all(tensor.is_contiguous() for tensor in trained):
        return "a parameter is not contiguous"
    return None


def kind_of(run: Run) -> object:
    """Return what learners have in common that can be one group when they are at one step."""
    configuration = run.configuration
    learns = tuple(tensor.requires_grad for tensor in named_tensors(run.model).values())
    course = configuration.course
    sizes = [(phase.start, phase.batch_size) for phase in course.phases]
    changes = tuple(now for before, now in zip([(0, 0), *sizes], sizes, strict=False) if before[1] != now[1])
    return signature_of(run), learns, course.samples, changes


def signature_of(run: Run) -> object:
    """Return what decides the program of a learner's step, beside the shapes of batches."""
    configuration, group = run.configuration, run.optimizer.param_groups[0]
    parts = [configuration.components[name].digest for name in ("model", "objective", "code")]
    return (
        b"".join([*parts, model_digest(configuration)]),
        configuration.numerics,
        configuration.is_exact,
        tuple(sorted(terms_at(configuration, run.step).items())),
        type(run.optimizer),
        tuple(bool(value) for name, value in group.items() if name != "params"),
    )


def most(run: Run, fuse: Fuse) -> int:
    """Return how many learners of a kind are trained as one at most; with ``"auto"``, as many as pay."""
    if fuse != "auto":
        return int(fuse)
    if run.device.type != "cpu":
        return _most_in_memory(run)
    return most_in_cache(run.model)


def most_in_cache(model: nn.Module) -> int:
    """Return how many learners with such a model gain from going together on a CPU; 1: they gain nothing."""
    size = sum(tensor.nbytes for tensor in named_tensors(model).values())
    return 1 if size > _ALONE else min(_MOST, _TOGETHER // (3 * max(1, size)))


def _most_in_memory(run: Run) -> int:
    """Return how many learners like this one have room on their device, beside other groups."""
    try:
        many = room(run.device) // (_GROUPS * size_of(run))
    except Exception:  # its step fails alone, too, or the device does not say what it has
        return 1
    return max(1, min(_MOST, many))

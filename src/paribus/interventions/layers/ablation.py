"""`AblateLayers`: layers removed, silenced, frozen or drawn anew."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import TYPE_CHECKING, Any, ClassVar, final

from paribus.errors import AblationError, LevelError, NoEffect, suggest
from paribus.interventions.checks import check_count
from paribus.interventions.layers.selection import Selector, select
from paribus.interventions.sites import ArchitectureIntervention

if TYPE_CHECKING:
    from torch import nn

    from paribus.interventions.layers.change import Change
    from paribus.interventions.layers.planning import Subject
    from paribus.interventions.layers.surgery import Surgery
    from paribus.interventions.sites import Probe

MODES = ("remove", "identity", "zero", "mean", "resample", "skip_branch", "freeze_init", "reinit")
_MOST_KEPT = 256
_PLAIN = (bool, int, float, str, NoneType, type, FunctionType, BuiltinFunctionType)


@final
@dataclass(frozen=True)
class AblateLayers(ArchitectureIntervention):
    """Take layers out of the model, or what they do, and leave all others their weights and random draws.

    The modes:

    - ``"remove"`` takes a layer out and repairs the shapes: the input is passed on; where layers after it
      then do not fit, up to three are rebuilt; where that does not help, the input is brought to the shape
      of the output by averages and repetitions. Parameters that are read without a call become zeros.
    - ``"identity"`` passes the input on and repairs nothing.
    - ``"zero"``, ``"mean"`` (over the batch) and ``"resample"`` (of another sample in the batch) replace the
      output; nothing is learned through it.
    - ``"skip_branch"`` silences the branch of a block beside its shortcut.
    - ``"freeze_init"`` leaves the layer as it is drawn.
    - ``"reinit"`` draws it from another seed.

    Attributes:
        layers: A path, a glob, a class, the index of a child of the model; a tuple of them is one group, and
            an empty one changes nothing.
        mode: One of the above.
        heads: Numbers of the attention heads to silence; ``mode`` is then left as it is.
        with_activation: Whether the activation module that follows each layer goes with it.
        rebuild: ``"draw"``: rebuilt neighbours are drawn anew; ``"slice"``: they keep the weights that fit.
        control_of_rebuild: Whether nothing is removed, and only the neighbours that the removal would rebuild
            are drawn anew: the control for their new weights.
        seed: Of ``"reinit"`` and of ``control_of_rebuild``.

    Example:
        >>> AblateLayers.make_variations(layers=["fc1", ("fc1", "relu1"), "conv*"]).axes["layers"]
        ('fc1', ('fc1', 'relu1'), 'conv*')

    Raises:
        LevelError: A mode is unknown, or heads are no whole numbers.
    """

    layers: Selector = ()
    mode: str = "remove"
    heads: int | tuple[int, ...] = ()
    with_activation: bool = False
    rebuild: str = "draw"
    control_of_rebuild: bool = False
    seed: int = 0
    null: ClassVar[Mapping[str, object]] = {"layers": ()}

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise LevelError(f"AblateLayers: mode={self.mode!r} is no mode {suggest(str(self.mode), MODES)}")
        if self.rebuild not in ("draw", "slice"):
            raise LevelError(f"AblateLayers: rebuild={self.rebuild!r}; expected 'draw' or 'slice'")
        check_count("AblateLayers", "seed", self.seed)
        layers, heads = self.layers, self.heads
        object.__setattr__(self, "layers", tuple(layers) if isinstance(layers, list) else layers)
        object.__setattr__(self, "heads", (heads,) if isinstance(heads, int) else tuple(heads))
        for head in self.heads:  # type: ignore[union-attr]
            check_count("AblateLayers", "heads", head)

    def edit(self, model: nn.Module, probe: Probe) -> nn.Module:
        """Carry out the change on the model given.

        Raises:
            AblationError: There is no such change; the class says why.
        """
        from paribus.interventions.layers.surgery import operate

        if self.layers == ():
            return model
        return operate(model, self.plan(model, probe), probe.seed)

    def describe(self, model: nn.Module, probe: Probe) -> Change:
        """Say what the change does to a model, which is left as it is.

        Raises:
            AblationError: There is no such change; the class says why.
        """
        from paribus.interventions.layers.change import Change, describe

        if self.layers == ():
            return Change("nothing is changed")
        return describe(model, self.plan(model, probe), probe)

    def plan(self, model: nn.Module, probe: Probe) -> Surgery:
        """Find the way: the same for models and batches of the same structure, and kept in the process."""
        from paribus.interventions.layers.planning import Subject

        key = (self, _structure(model), _shapes(probe.batch), probe.loss)
        if key not in _plans:
            _plans[key] = self.planned(Subject(model, probe))
            if len(_plans) > _MOST_KEPT:
                _plans.popitem(last=False)
        return _plans[key]

    def planned(self, subject: Subject) -> Surgery:
        """Find the way for a model of which something is known already."""
        from paribus.interventions.layers.gate import told_of

        with told_of(f"AblateLayers({self.layers!r}, {self.mode!r})"):
            return self._planned(subject)

    def _planned(self, subject: Subject) -> Surgery:
        from paribus.interventions.layers import modes
        from paribus.interventions.layers.planning import removal

        paths = select(subject.model, self.layers, "AblateLayers")
        if (error := subject.seen().error) is not None:
            raise AblationError(
                f"the model itself fails on this batch: {type(error).__name__}: {error}; "
                "give a batch on which it trains"
            ) from error
        if self.with_activation:
            paths += modes.following_activations(subject, paths)
        if self.heads:
            return modes.without_heads(subject, paths, self.heads)  # type: ignore[arg-type]
        match self.mode:
            case "zero" | "mean" | "resample":
                return modes.silenced(subject, paths, self.mode)
            case "freeze_init" | "reinit":
                return modes.kept(subject, paths, self.mode, self.seed)
            case "skip_branch":
                return modes.without_branch(subject, paths)
        repair = self.mode == "remove"
        surgery = removal(subject, paths, repair=repair, sliced=self.rebuild == "slice")
        return self._rebuilds_alone(surgery) if self.control_of_rebuild else surgery

    def _rebuilds_alone(self, surgery: Surgery) -> Surgery:
        if not surgery.rebuilds:
            raise NoEffect(
                "this removal rebuilds no neighbour, so it needs no control_of_rebuild; leave that out"
            )
        redrawn = tuple(how.path for how in surgery.rebuilds)
        way = "nothing removed; the neighbours that a removal rebuilds are drawn anew"
        return dataclasses.replace(
            surgery, way=way, removals=(), zeroed=(), rebuilds=(), redrawn=redrawn, seed=self.seed
        )


_plans: OrderedDict[Any, Surgery] = OrderedDict()


def _structure(model: nn.Module) -> tuple[Any, ...]:
    modules = tuple((path, type(module), _settings(module)) for path, module in model.named_modules())
    return modules, tuple((name, tuple(p.shape), p.requires_grad) for name, p in model.named_parameters())


def _settings(module: nn.Module) -> tuple[Any, ...]:
    """Return the attributes that its code may read: plain ones by value, others by their class."""
    own = [(n, value) for n, value in vars(module).items() if not n.startswith("_") and n != "training"]
    return tuple((n, value if isinstance(value, _PLAIN) else _plain(value)) for n, value in own)


def _plain(value: object) -> object:
    return repr(value) if isinstance(value, list | tuple) else type(value)


def _shapes(batch: Any) -> tuple[Any, ...]:
    from paribus.interventions.layers.nested import layout

    structure, leaves = layout(batch)
    return str(structure), leaves

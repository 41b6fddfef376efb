"""`SetModule`: a constructor argument or an attribute of a submodule replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, final

from paribus.errors import LevelError, suggest
from paribus.interventions.layers.selection import Selector, select
from paribus.interventions.sites import ArchitectureIntervention

if TYPE_CHECKING:
    from torch import nn

    from paribus.interventions.layers.change import Change
    from paribus.interventions.sites import Probe


@final
@dataclass(frozen=True, init=False)
class SetModule(ArchitectureIntervention):
    """Replace arguments or attributes of submodules: a norm's ``eps``, an LSTM's ``bias``, an activation.

    A value that is the constructor's rebuilds the module where all its arguments can be read from it: what
    keeps name and shape keeps its weights, the rest is drawn from the module's own stream. Any other value
    becomes the attribute. A submodule is an attribute of its owner, and may be given as a class, which is
    called without arguments, or as an instance, which is copied and draws its own weights anew.

    Attributes:
        layers: A path (``""``: the model itself), a glob, a class, an index; a tuple of them is one group,
            and an empty one changes nothing.
        values: New values by name.

    Example:
        >>> from torch import nn
        >>> SetModule("fc1", bias=False).values
        {'bias': False}
        >>> SetModule.make_variations(layers="norm*", eps=(1e-4, 1e-3)).axes["eps"]
        (0.0001, 0.001)

    Raises:
        LevelError: Nothing is given.
    """

    layers: Selector = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    null: ClassVar[Mapping[str, object]] = {"layers": ()}

    def __init__(self, layers: Selector = "", **values: Any) -> None:
        if not values:
            raise LevelError("SetModule: no value is given; name one, as in SetModule('norm1', eps=1e-3)")
        object.__setattr__(self, "layers", tuple(layers) if isinstance(layers, list) else layers)
        object.__setattr__(self, "values", dict(sorted(values.items())))

    def edit(self, model: nn.Module, probe: Probe) -> nn.Module:
        """Replace the values in the model given.

        Raises:
            LevelError: A submodule has no such argument or attribute.
            AblationError: It cannot be changed.
        """
        from paribus.interventions.layers.reforming import reformed

        for path in self._paths(model):
            model = reformed(model, path, self.values, probe.seed)
        return model

    def describe(self, model: nn.Module, probe: Probe) -> Change:
        """Say what the change does to a model, which is left as it is."""
        import copy

        from paribus.interventions.layers.change import compared

        after = self.edit(copy.deepcopy(model), probe)
        told = ", ".join(f"{name}={value!r}" for name, value in self.values.items())
        return compared(model, after, probe, way=f"set {told}", replaced=self._paths(model))

    def _paths(self, model: nn.Module) -> tuple[str, ...]:
        if self.layers == "":
            return ("",)
        modules = dict(model.named_modules(remove_duplicate=False))
        paths = tuple(path for path in select(model, self.layers, "SetModule") if path in modules)
        if not paths and self.layers != ():
            raise LevelError(
                f"SetModule: {self.layers!r} is a parameter {suggest(str(self.layers), modules)}"
            )
        return paths

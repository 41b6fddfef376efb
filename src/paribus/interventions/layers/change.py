"""What a change of the architecture did, in numbers and words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from torch import nn

    from paribus.interventions.layers.surgery import Surgery
    from paribus.interventions.sites import Probe


@final
@dataclass(frozen=True)
class Change:
    """What was done to a model.

    Attributes:
        way: How, in words.
        removed: Paths of the submodules that are gone.
        replaced: Paths of the submodules whose output or weights are replaced.
        rebuilt: For each neighbour made anew its path, as it was, as it is.
        parameters_before: Numbers in all parameters.
        parameters_after: The same, after the change.
        parameters_removed: Names of the parameters that are gone.
        parameters_redrawn: Names of those drawn anew.
        parameters_idle: Names of those that the loss gives no gradient, and did before.
        warnings: What the user should know.
    """

    way: str
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    rebuilt: tuple[tuple[str, str, str], ...] = ()
    parameters_before: int = 0
    parameters_after: int = 0
    parameters_removed: tuple[str, ...] = ()
    parameters_redrawn: tuple[str, ...] = ()
    parameters_idle: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [self.way]
        lines += [f"  removed: {path}" for path in self.removed]
        lines += [f"  replaced: {path}" for path in self.replaced]
        lines += [f"  rebuilt: {path}: {old} → {new}" for path, old, new in self.rebuilt]
        lines.append(f"  parameters: {self.parameters_before:,} → {self.parameters_after:,}")
        told = {"removed": self.parameters_removed, "drawn anew": self.parameters_redrawn}
        told["without gradient"] = self.parameters_idle
        lines += [f"    {len(names)} {how}: {_some(names)}" for how, names in told.items() if names]
        return "\n".join([*lines, *(f"  warning: {warning}" for warning in self.warnings)])


def describe(model: nn.Module, surgery: Surgery, probe: Probe) -> Change:
    """Say what a surgery does to a model, which is left as it is."""
    from paribus.interventions.layers.surgery import copied, operate

    after = operate(copied(model), surgery, probe.seed)
    replaced = {path for path, _ in (*surgery.silences, *surgery.before, *surgery.masked)}
    return compared(
        model,
        after,
        probe,
        way=surgery.way,
        removed=tuple(removal.path for removal in surgery.removals) + surgery.zeroed,
        replaced=tuple(sorted(replaced | set(surgery.redrawn))),
        rebuilt=tuple(how.path for how in surgery.rebuilds),
        redrawn=surgery.redrawn,
        warnings=surgery.warnings,
    )


def compared(
    model: nn.Module,
    after: nn.Module,
    probe: Probe,
    *,
    way: str,
    removed: tuple[str, ...] = (),
    replaced: tuple[str, ...] = (),
    rebuilt: tuple[str, ...] = (),
    redrawn: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
) -> Change:
    """Add to what was done what became of the parameters."""
    from paribus.interventions.layers.planning import Subject

    learned, learns = Subject(model, probe).learning(), Subject(after, probe).learning()
    old, new = (dict(one.named_parameters()) for one in (model, after))
    drawn = tuple(f"{path}." for path in (*rebuilt, *redrawn))
    idle = tuple(name for name, was in learned.items() if was and learns.get(name) is False)
    return Change(
        way=way,
        removed=removed,
        replaced=replaced,
        rebuilt=tuple((path, _line(model, path), _line(after, path)) for path in rebuilt),
        parameters_before=sum(parameter.numel() for parameter in old.values()),
        parameters_after=sum(parameter.numel() for parameter in new.values()),
        parameters_removed=tuple(name for name in old if name not in new),
        parameters_redrawn=tuple(name for name in new if name.startswith(drawn)) if drawn else (),
        parameters_idle=idle,
        warnings=warnings,
    )


def _line(model: nn.Module, path: str) -> str:
    return repr(model.get_submodule(path)).partition("\n")[0]


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")

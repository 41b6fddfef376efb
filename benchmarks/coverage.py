"""How many submodules of public architectures can be removed: each is planned, operated on, sent to the gate.

``python -m benchmarks.coverage --library timm --seconds 600 --seed 0`` prints the counts. Where all of them
are too many for the time, they are sampled by structural signature: the path with its numbers left out, and
the class. In each model the signatures that no model of its family has shown come first, then some of the
others; the smallest model of each family comes first, in a drawn order of families. Of what is accepted, a
share is drawn and trained for some steps in a plain loop: a run that fails, gives another shape or equals the
baseline's is a false accept. A refusal as `NoEffect` of what has one is as false.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import re
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from benchmarks.architectures import Case, timm_cases, torchvision_cases, transformers_cases
from paribus.errors import AblationError
from paribus.interventions.layers.ablation import AblateLayers
from paribus.interventions.layers.gate import Evidence, certify, differ, results
from paribus.interventions.layers.nested import layout, mapped, tensors
from paribus.interventions.layers.planning import Subject
from paribus.interventions.layers.surgery import operate, shared
from paribus.interventions.layers.trace import trace
from paribus.interventions.sites import Probe

REASONS = ("OutputProducer", "InputCut", "TiedAlias")
_STEPS = 3
Signature = tuple[str, str, str]


@final
@dataclass
class Survey:
    """What became of the submodules that were tried.

    Attributes:
        outcomes: How many were removed, by way, and how many refused, by class; ``untyped``: other errors.
        misses: Of each live submodule neither removed nor refused for a reason, where and why.
        models: Names of the models that were opened.
        skipped: Names of those that could not be built or run, and why.
        signatures: How many were seen, and how many tried.
        real: Outcomes of the real runs.
        false: Where something contradicts the gate, and how.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    misses: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    signatures: Counter[str] = field(default_factory=Counter)
    real: Counter[str] = field(default_factory=Counter)
    false: list[str] = field(default_factory=list)

    @property
    def live(self) -> int:
        """Submodules that do something."""
        return sum(self.outcomes.values()) - self.outcomes["NoEffect"]

    @property
    def share(self) -> float:
        """Of the live ones, the share that was removed or refused for a reason."""
        return 1 - len(self.misses) / max(1, self.live)


def survey(cases: Sequence[Case], *, seconds: float, seed: int, most: int = 40, real: float = 0.1) -> Survey:
    """Take models apart until the time is over.

    Args:
        cases: The models.
        seconds: Time for all of them.
        seed: Of the order of families, of the sample and of the real runs.
        most: Submodules tried per model.
        real: Share of the accepted ones that is really trained.
    """
    draws, found = random.Random(seed), Survey()
    seen: set[Signature] = set()
    order = _ordered(cases, draws)
    end = time.monotonic() + seconds
    for number, case in enumerate(order):
        remaining = (end - time.monotonic()) / (len(order) - number)
        if remaining <= 0:
            found.skipped[case.name] = "no time left"
        else:
            _Opened(case, found, draws).take_apart(seen, time.monotonic() + 3 * remaining, most, real)
    return found


def _ordered(cases: Sequence[Case], draws: random.Random) -> Iterator[Case] | list[Case]:
    """Return the smallest case of each family, then the next one of each, the families in a drawn order."""
    families: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda case: case.size):
        families.setdefault(case.family or case.name, []).append(case)
    names = sorted(families, key=lambda name: draws.random())
    longest = max((len(family) for family in families.values()), default=0)
    return [families[name][rank] for rank in range(longest) for name in names if rank < len(families[name])]


@final
class _Opened:
    """One model on the table."""

    def __init__(self, case: Case, found: Survey, draws: random.Random) -> None:
        self.case, self.found, self.draws = case, found, draws

    def take_apart(self, seen: set[Signature], end: float, most: int, real: float) -> None:
        """Try a sample of its submodules."""
        try:
            self.model, batch = self.case.make()
            self.probe = Probe(batch, self.case.loss, _sgd, 0)
            self.subject, self.evidence = Subject(self.model, self.probe), Evidence(self.model, self.probe)
            if (error := self.evidence.run(train=True).error) is not None:
                raise error
        except Exception as error:
            self.found.skipped[self.case.name] = f"{type(error).__name__}: {error}"[:200]
            return
        self.found.models.append(self.case.name)
        signed = self._signatures()
        for path in self._sample(signed, seen, most):
            if time.monotonic() > end:
                break
            self.found.signatures["tried"] += signed[path] not in seen
            seen.add(signed[path])
            changed = self._try(path)
            if changed is not None and self.draws.random() < real:
                self._train(path, changed)

    def _signatures(self) -> dict[str, Signature]:
        family = type(self.model).__name__
        named = ((path, module) for path, module in self.model.named_modules() if path)
        return {path: (family, re.sub(r"\d+", "*", path), type(module).__name__) for path, module in named}

    def _sample(self, signed: dict[str, Signature], seen: set[Signature], most: int) -> list[str]:
        order = sorted(signed, key=lambda path: self.draws.random())
        fresh = list({signed[path]: path for path in order if signed[path] not in seen}.values())
        others = [path for path in order if path not in set(fresh)][: most // 10]
        self.found.signatures["seen"] += len(fresh)
        return [*fresh[: most - len(others)], *others]

    def _try(self, path: str) -> nn.Module | None:
        found, where = self.found, self._where(path)
        try:
            surgery = AblateLayers(path).planned(self.subject)
            changed = operate(shared(self.model), surgery, 0)
            certify(self.evidence, changed, self.probe)
        except AblationError as error:
            kind = type(error).__name__
            found.outcomes[kind] += 1
            if kind == "NoEffect" and is_live(self.subject, path):
                found.false.append(f"{where}: refused as NoEffect, and is live")
            if kind not in (*REASONS, "NoEffect"):
                found.misses.append(f"{where}: {kind}: {error}"[:300])
            return None
        except Exception as error:
            found.outcomes["untyped"] += 1
            found.misses.append(f"{where}: untyped {type(error).__name__}: {error}"[:300])
            found.false.append(f"{where}: {traceback.format_exc(limit=-3)}")
            return None
        found.outcomes[surgery.way] += 1
        return changed

    def _train(self, path: str, changed: nn.Module) -> None:
        where = self._where(path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                (losses, outputs), (base_losses, base_outputs) = (
                    steps(model, self.probe) for model in (changed, self.model)
                )
        except Exception as error:
            outcome = f"failed: {type(error).__name__}: {error}"[:300]
        else:
            same = not any(map(differ, tensors(outputs), tensors(base_outputs)))
            if layout(outputs) != layout(base_outputs):
                outcome = "gives another shape"
            else:
                outcome = "equals the baseline" if same and losses == base_losses else "trained"
        self.found.real[outcome.partition(":")[0]] += 1
        if outcome != "trained":
            self.found.false.append(f"{where}: a real run {outcome}")

    def _where(self, path: str) -> str:
        return f"{self.case.name}: {path} ({type(self.model.get_submodule(path)).__name__})"


def is_live(subject: Subject, path: str) -> bool:
    """Tell, apart from the gate, whether a submodule changes what it is given and so the output."""
    for train in (True, False):
        run = subject.seen(train=train)
        if all(_hands_on(call) for call in run.of(path)):
            continue
        trial = copy.deepcopy(subject.model)
        trial.get_submodule(path).register_forward_hook(lambda module, given, output: mapped(_noisy, output))
        changed = trace(trial, subject.probe.loss, subject.probe.batch, train=train, watch=False)
        if any(differ(a, b) for a, b in zip(results(run), results(changed), strict=False)):
            return True
    return False


def _hands_on(call: Any) -> bool:
    """Tell whether a call gives the numbers that it is given, be it in another shape."""
    made = tensors(call.output)
    return bool(made and call.inputs) and not differ(made[0].flatten(), call.inputs[0].flatten())


def _noisy(tensor: torch.Tensor) -> torch.Tensor:
    changes = tensor.is_floating_point() and tensor.ndim
    return tensor + torch.ones_like(tensor).cumsum(-1) if changes else tensor


def steps(model: nn.Module, probe: Probe) -> tuple[list[float], Any]:
    """Train a copy as a user would; return the losses, and the output in evaluation."""
    model = copy.deepcopy(model).train()
    optimizer, losses, outputs = probe.optimizer(model), list[float](), list[Any]()
    for step in range(_STEPS):
        torch.manual_seed(step)
        loss = probe.loss(model, probe.batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    handle = model.register_forward_hook(lambda module, given, output: outputs.append(output))
    with torch.no_grad():
        probe.loss(model.eval(), probe.batch)
    handle.remove()
    return losses, outputs


def _sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3, momentum=0.9)


LIBRARIES: dict[str, tuple[Callable[[], Iterator[Case]], float]] = {
    "torchvision": (torchvision_cases, 0.99),
    "timm": (timm_cases, 0.99),
    "transformers": (transformers_cases, 0.98),
}


def told(library: str, found: Survey) -> str:
    """Say what was found, in lines."""
    tried, signatures = sum(found.outcomes.values()), found.signatures
    lines = [
        f"{library}: {len(found.models)} models, {found.live} live of {tried} submodules tried, "
        f"{signatures['tried']} of {signatures['seen']} signatures",
        f"  removed, or refused for a reason: {found.share:.2%} (target {LIBRARIES[library][1]:.0%})",
        *(f"  {count:6d} {kind}" for kind, count in found.outcomes.most_common()),
        f"  real runs: {dict(found.real)}; false: {len(found.false)}",
        *(f"  false: {line}" for line in found.false),
        *(f"  miss: {line}" for line in found.misses),
        *(f"  skipped: {name}: {why}" for name, why in found.skipped.items()),
    ]
    return "\n".join(lines)


def main() -> None:
    """Survey the libraries asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--library", choices=LIBRARIES, action="append", help="one of them; may be repeated")
    parser.add_argument("--only", default="", help="a regular expression over names of models")
    parser.add_argument("--seconds", type=float, default=600, help="time for each library")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=40, help="submodules tried per model")
    parser.add_argument("--real", type=float, default=0.1, help="share of the accepted that is trained")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts there too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    counts: dict[str, Any] = {}
    for library in given.library or LIBRARIES:
        cases = [case for case in LIBRARIES[library][0]() if re.search(given.only, case.name)]
        found = survey(cases, seconds=given.seconds, seed=given.seed, most=given.most, real=given.real)
        print(told(library, found), flush=True)
        counts[library] = {"outcomes": dict(found.outcomes), "share": found.share, "real": dict(found.real)}
    if given.json:
        given.json.write_text(json.dumps(counts, indent=2) + "\n")


if __name__ == "__main__":
    main()

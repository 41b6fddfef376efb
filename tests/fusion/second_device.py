"""Groups on a device that is not the CPU, in a process of its own: a device cannot be taken back.

``python second_device.py cuda`` tries them on a GPU; ``python second_device.py second FOLDER``, on a device
that has memory of its own and is lent the CPU's operations; it is compiled into the folder.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from fusion_cases import differences, walked
from torch import nn
from torch.utils import cpp_extension

from paribus import Experiment
from paribus.datasets import digits
from paribus.engine.fusion import together
from paribus.engine.fusion.kinds import most
from paribus.engine.training.segment import Run, numerics
from paribus.interventions import InitWeights, PerturbGradients, PerturbInputs, PerturbMomentum, SetOptimizer
from paribus.models import MLP, LeNet5

SEEDS = InitWeights.make_variations(seed=range(3))
WINDOWS = PerturbMomentum.make_variations(momentum=(0.8, 0.5), when=((3, 8),))


class Generator:
    """The device's generator, which draws from the CPU's: others can stand in for it."""

    def __init__(self) -> None:
        self._standing = torch.Generator()

    def graphsafe_get_state(self) -> torch.Generator:
        self._standing.set_state(torch.default_generator.get_state())
        return self._standing

    def graphsafe_set_state(self, generator: torch.Generator) -> None:
        self._standing.set_state(torch.default_generator.get_state())
        self._standing = generator
        torch.default_generator.set_state(generator.get_state())


class Second(ModuleType):
    """What torch asks of a device's module."""

    default_generators = (Generator(),)
    is_available = is_initialized = staticmethod(lambda: True)
    _is_in_bad_fork = staticmethod(lambda: False)
    device_count = staticmethod(lambda: 1)
    current_device = staticmethod(lambda: 0)
    get_rng_state = staticmethod(torch.get_rng_state)
    set_rng_state = staticmethod(torch.set_rng_state)
    manual_seed = manual_seed_all = staticmethod(lambda seed: None)


def add_second(folder: str) -> None:
    """Compile the device, and add it to torch."""
    torch.utils.rename_privateuse1_backend("second")
    torch._register_device_module("second", Second("torch.second"))
    torch.utils.generate_methods_for_privateuse1_backend()
    source = str(Path(__file__).with_suffix(".cpp"))
    cpp_extension.load("second_device", source, ["-O0"], build_directory=folder, is_python_module=False)


def dropping() -> nn.Module:
    """A model that draws, twice."""
    dropped = nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 32), nn.ReLU(), nn.Dropout(0.1)
    return nn.Sequential(nn.Flatten(), *dropped, nn.Linear(32, 10))


def normed() -> nn.Module:
    """A model with buffers."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.GELU(), nn.Linear(32, 10))


SMALL, MODEL = digits(size=8), partial(MLP, 64, (16,))
CASES: dict[str, tuple[Any, Any, Any]] = {
    "an MLP, windows": (MODEL, SMALL, [SEEDS, WINDOWS]),
    "Adam": (
        MODEL,
        SMALL,
        [SEEDS, SetOptimizer.make_variations(optimizer=torch.optim.Adam, lr=(1e-3, 1e-2))],
    ),
    "dropout": (dropping, SMALL, [SEEDS]),
    "batch norm": (normed, SMALL, [SEEDS]),
    "convolutions": (partial(LeNet5, width=1), digits(), [SEEDS]),
    "noise and gradients": (
        MODEL,
        SMALL,
        [
            SEEDS,
            PerturbInputs.make_variations(epsilon=(0.1,)),
            PerturbGradients.make_variations(epsilon=(0.1,)),
        ],
    ),
}


def tried(device: str, model: Any, data: Any, design: Any) -> dict[str, Any]:
    """Train in both forms on a device; tell what differs, and what was done as a group."""
    together.known.clear()
    exp = Experiment(model, data, design, steps=12, batch_size=16, device=device)
    alone = walked(exp, fuse=False)
    found = list(together.known.values())
    assert not found
    differing = differences(alone, walked(exp, fuse=4))
    found = list(together.known.values())
    return {
        "differing": differing,
        "failed": [outcome.error for _, outcome in alone.values() if outcome.error],
        "refused": [each.refused for each in found if each.refused],
        "proven": sum(each.holds for each in found),
    }


def sizes(device: str) -> list[int]:
    """Tell how many learners of small, large and huge models are one group."""
    found = []
    for width in (16, 4096, 1 << 19):
        exp = Experiment(partial(MLP, 64, (width,)), SMALL, [SEEDS], steps=1, device=device)
        (task, *_) = exp.plan().tasks()
        with numerics(task.configuration.numerics):
            found.append(most(Run(task, exp.work, None, {}), "auto"))
    return found


def draws(device: str) -> bool:
    """Tell whether a run leaves the device's generator as it was."""
    module = torch.get_device_module(device)
    before = module.get_rng_state()
    walked(Experiment(MODEL, SMALL, [SEEDS], steps=12, device=device), fuse=4)
    return torch.equal(before, module.get_rng_state())


if __name__ == "__main__":
    device = sys.argv[1]
    if device == "second":
        add_second(sys.argv[2])
    cases = {name: tried(device, *case) for name, case in CASES.items()}
    print(json.dumps({"cases": cases, "sizes": sizes(device), "draws": draws(device)}))

"""A device that is not the CPU, for machines without one: its memory is its own, its operations the CPU's."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import ModuleType

import torch

NAME = "second"


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

    # No functions of ours, or each would be told as code of the user that runs in a step.
    default_generators = (Generator(),)
    is_available = is_initialized = partial(bool, 1)
    _is_in_bad_fork = partial(bool, 0)
    device_count = partial(int, 1)
    current_device = partial(int, 0)
    get_rng_state = staticmethod(torch.get_rng_state)
    set_rng_state = staticmethod(torch.set_rng_state)
    manual_seed = manual_seed_all = partial(int)


def add(folder: str) -> None:
    """Compile the device, where that is not done, and add it to torch: for the rest of the process."""
    from torch.utils import cpp_extension  # it complains where there is no GPU

    torch.utils.rename_privateuse1_backend(NAME)
    torch._register_device_module(NAME, Second(f"torch.{NAME}"))
    torch.utils.generate_methods_for_privateuse1_backend()
    source = str(Path(__file__).with_suffix(".cpp"))
    cpp_extension.load(f"{NAME}_device", source, ["-O0"], build_directory=folder, is_python_module=False)

"""What a device is asked beside its arithmetic: the time, its memory, and to launch many calls as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, final

import torch

Compute = Callable[[], torch.Tensor]

# Calls that are timed in each form before one is taken.
_TIMED = 3


def clock(device: torch.device) -> float:
    """Return a time in seconds: of this process on the CPU; elsewhere, when the device has caught up."""
    if device.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize(device)
    return time.perf_counter()


def room(device: torch.device) -> int:
    """Return how many bytes are free on a GPU, of those that this process may use."""
    free, total = torch.accelerator.get_memory_info(device)
    if device.type == "cuda":
        mine = int(total * torch.cuda.get_per_process_memory_fraction(device.index))
        free = min(free, mine - torch.cuda.memory_reserved(device))
    return free


@final
@dataclass(frozen=True, eq=False)
class Recorded:
    """What was computed once, to be launched again as a whole.

    Attributes:
        compute: What was recorded; it holds the tensors whose places the graph knows.
        graph: Its kernels.
        result: Where its result lies.
    """

    compute: Compute
    graph: torch.cuda.CUDAGraph
    result: torch.Tensor

    def __call__(self) -> torch.Tensor:
        """Compute it again."""
        self.graph.replay()
        return self.result


def quickest(compute: Compute, device: torch.device, generators: Sequence[torch.Generator]) -> Compute:
    """Return what computes the same on a device with fewer launches, where there is such, and it is quicker.

    Args:
        compute: Calls on tensors that stay where they are; it waits for nothing, and its result stays, too.
        device: Where all of them are.
        generators: Those that it draws from, which are seeded before each call.
    """
    recorded = _recorded(compute, generators) if device.type == "cuda" else None
    if recorded is None or _seconds(recorded, device) > _seconds(compute, device):
        return compute
    return recorded


def _recorded(compute: Compute, generators: Sequence[torch.Generator]) -> Recorded | None:
    """Record the kernels of a call as a CUDA graph; ``None`` where one of them cannot be."""
    graph = torch.cuda.CUDAGraph()
    try:
        for generator in generators:
            graph.register_generator_state(generator)
        aside = _aside()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # what is set up at a first call is no part of a graph
            compute()
        torch.cuda.current_stream().wait_stream(aside)
        with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
            result = compute()
    except RuntimeError:  # a call that waits for the device, or that this device cannot record
        return None
    return Recorded(compute, graph, result)


@cache
def _aside() -> torch.cuda.Stream:
    """Return the stream for what is recorded: each one has memory of its own for products."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def _seconds(compute: Compute, device: torch.device) -> float:
    """Return the shortest time that a call took."""
    times = []
    for _ in range(_TIMED):
        began = clock(device)
        compute()
        times.append(clock(device) - began)
    return min(times)


def drawing(device: torch.device) -> Callable[..., Any] | None:
    """Return what calls a function with a generator in its device's place; ``None`` where nothing can."""
    generators = getattr(torch.get_device_module(device), "default_generators", None)
    if device.type == "cpu" or not generators:
        return None
    default: torch.Generator = generators[device.index or 0]

    def call(generator: torch.Generator, function: Any, *arguments: Any, **keywords: Any) -> Any:
        before = default.graphsafe_get_state()
        default.graphsafe_set_state(generator)
        try:
            return function(*arguments, **keywords)
        finally:
            default.graphsafe_set_state(before)

    return call

"""Where segments are trained: one interface, the same bytes everywhere."""

from __future__ import annotations

from collections.abc import Callable

from paribus.engine.running.executors.base import Executor
from paribus.engine.running.executors.joblib import Joblib
from paribus.engine.running.executors.local import Local
from paribus.engine.running.executors.ray import Ray
from paribus.engine.running.executors.serial import Serial
from paribus.engine.training.device import check_here
from paribus.errors import ConfigurationError, suggest

__all__ = ["Executor", "Joblib", "Local", "Ray", "Serial", "check_device", "choose_executor", "prepare"]


def choose_executor(executor: str | Executor, workers: int | None = None) -> Executor:
    """Read ``executor=`` and ``workers=``.

    Raises:
        ConfigurationError: The name is unknown, or workers are given to an executor that has none.
    """
    if isinstance(executor, Executor):
        if workers is not None:
            raise ConfigurationError(
                f"run: workers={workers} beside {executor!r}; give it to the executor itself"
            )
        return executor
    known: dict[str, Callable[[], Executor]] = {
        "serial": Serial,
        "local": lambda: Local(workers),
        "joblib": lambda: Joblib(workers),
        "ray": lambda: Ray(workers=workers),
    }
    if executor not in known:
        raise ConfigurationError(f"run: {executor!r} is no executor {suggest(str(executor), known)}")
    if executor == "serial" and workers not in (None, 1):
        raise ConfigurationError(f"run: executor='serial' has one worker, got workers={workers}; use 'local'")
    return known[executor]()


def check_device(executor: Executor, device: str) -> None:
    """Refuse a device that agents will not have.

    Raises:
        ConfigurationError: It is not on this machine, where they will be; or no GPU is asked for them.
    """
    if not isinstance(executor, Ray):
        check_here(device)
    elif device.startswith("cuda") and not executor.gpus:
        raise ConfigurationError(
            f"Ray: learners train on {device!r}, and its agents have no GPU; ask for a share of one, as in "
            "Ray(gpus=0.25)"
        )


def prepare(executor: Executor) -> None:
    """Begin what takes an executor long to start, and can go on beside the checks before a run."""
    if isinstance(executor, Local):
        executor.prepare()

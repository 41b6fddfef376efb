"""Where segments are trained: one interface, the same bytes everywhere."""

from __future__ import annotations

from collections.abc import Callable

from paribus.engine.running.executors.base import Executor
from paribus.engine.running.executors.joblib import Joblib
from paribus.engine.running.executors.local import Local
from paribus.engine.running.executors.ray import Ray
from paribus.engine.running.executors.serial import Serial
from paribus.errors import ConfigurationError, suggest

__all__ = ["Executor", "Joblib", "Local", "Ray", "Serial", "choose_executor", "prepare"]


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


def prepare(executor: Executor) -> None:
    """Begin what takes an executor long to start, and can go on beside the checks before a run."""
    if isinstance(executor, Local):
        executor.prepare()

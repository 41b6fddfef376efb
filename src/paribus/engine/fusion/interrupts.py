"""An interrupt between two steps: those who go side by side are not lost together."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final


@final
class Interrupted(KeyboardInterrupt):
    """An interrupt that waited for the end of a step: every learner is whole."""


@contextmanager
def interrupts_wait() -> Iterator[Callable[[], None]]:
    """Let an interrupt come only where it is asked for, by calling what is given; a second one comes at once.

    Only in the main thread, where Python handles signals, and where nobody else handles this one.

    Raises:
        Interrupted: It came, and was not asked for before the end.
        KeyboardInterrupt: It came, and then something failed.
    """
    came: list[int] = []

    def note(number: int, _: object) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    def ask() -> None:
        if came:
            raise Interrupted

    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield ask
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield ask
    except Exception as error:
        if came:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    ask()

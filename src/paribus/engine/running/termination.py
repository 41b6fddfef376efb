"""An end in good order where the system asks for one."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def terminated_in_order() -> Iterator[None]:
    """Turn SIGTERM into an exit of Python's own, which ends workers and gives claims back.

    Only in the main thread, where Python handles signals, and where nobody else handles this one.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _leave(number: int, _: object) -> NoReturn:
    print("paribus: terminated; the store keeps what was finished, and the next run goes on", file=sys.stderr)
    raise SystemExit(128 + number)

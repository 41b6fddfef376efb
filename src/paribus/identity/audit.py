"""Which of the user's functions ran: what slips past reading is seen by watching."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

from paribus.identity import library, source
from paribus.identity.fingerprint import Fingerprint

_NO_FUNCTION = ("<module>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


def calls_made(action: Callable[[], object]) -> frozenset[CodeType]:
    """Run an action and collect the code of the user's functions that ran in it.

    >>> def double(x): return 2 * x
    >>> sorted(code.co_name for code in calls_made(lambda: double(3)))  # doctest: +SKIP
    ['<lambda>', 'double']
    """
    ran: set[tuple[CodeType, str]] = set()
    with _watching(lambda frame: ran.add((frame.f_code, str(frame.f_globals.get("__name__"))))):
        action()
    seen = ran.copy()  # threads that were started meanwhile go on, and note what they call
    return frozenset(code for code, module in seen if _is_users(code, module) and _is_written(code))


def _is_users(code: CodeType, module: str) -> bool:
    # Text that is compiled has no file to tell by: libraries compile some too, as for a named tuple.
    compiled = code.co_filename.startswith("<")
    made = module.startswith("namedtuple_") or not library.is_user_module(module)
    return library.is_user_file(code.co_filename) and not (compiled and made)


def _is_written(code: CodeType) -> bool:
    # Comprehensions count with what holds them; the methods that a dataclass makes, with its fields.
    return code.co_name not in _NO_FUNCTION and not code.co_qualname.startswith("__create_fn__")


def outside(ran: Iterable[CodeType], fingerprints: Iterable[Fingerprint]) -> list[str]:
    """Name the functions that ran and that no fingerprint counts, sorted: `helpers.scale (helpers.py:12)`.

    The mend is `depends_on`: it lets a value count what only its running shows.
    """
    known = frozenset[bytes]().union(*(item.covered for item in fingerprints))
    return sorted(
        f"{code.co_qualname} ({code.co_filename.rpartition('/')[2]}:{code.co_firstlineno})"
        for code in set(ran)
        if source.content_digest(code) not in known
    )


@contextmanager
def _watching(note: Callable[[FrameType], object]) -> Iterator[None]:
    if sys.version_info >= (3, 12):
        with _monitoring(note):
            yield
    else:
        with _profiling(note):
            yield


@contextmanager
def _profiling(note: Callable[[FrameType], object]) -> Iterator[None]:
    def watch(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            note(frame)

    before = sys.getprofile()
    if before is not None:  # a profiler of the user's has the one place there is, and keeps it
        yield
        return
    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@contextmanager
def _monitoring(note: Callable[[FrameType], object]) -> Iterator[None]:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    tool = next(number for number in range(6) if monitoring.get_tool(number) is None)
    started = monitoring.events.PY_START

    def watch(code: CodeType, offset: int) -> object:
        note(sys._getframe(1))
        return monitoring.DISABLE  # once for each place is enough

    monitoring.use_tool_id(tool, "paribus")
    monitoring.register_callback(tool, started, watch)
    monitoring.restart_events()
    monitoring.set_events(tool, started)
    try:
        yield
    finally:
        monitoring.set_events(tool, 0)
        monitoring.register_callback(tool, started, None)
        monitoring.free_tool_id(tool)

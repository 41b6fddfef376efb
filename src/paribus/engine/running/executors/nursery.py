"""A process that has all slow imports behind it, and forks an agent for each line that it is sent.

It runs no operation of torch itself: a fork of a process that has threads is not sound.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
from contextlib import suppress


def main() -> None:
    """Fork an agent for each number that comes, until the driver closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children that end leave nothing behind
    address = pickle.loads(bytes.fromhex(sys.argv[1]))
    gc.disable()  # a fifth of what imports take
    _import_all()
    gc.freeze()  # what all agents share is not copied because a collector looked at it
    gc.enable()
    for line in sys.stdin.buffer:
        if os.fork() == 0:
            _be_agent(address, int(line))
    os._exit(0)  # what libraries say at their end is nobody's business


def _import_all() -> None:
    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    import torch._dynamo

    import paribus.engine.running.agent
    import paribus.engine.running.executors.shipping  # noqa: F401


def _be_agent(address: object, number: int) -> None:
    from paribus.engine.running.executors.serving import be_worker, knock, serve

    be_worker()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    with suppress(OSError):
        serve(knock(address, number))  # type: ignore[arg-type]
    os._exit(0)

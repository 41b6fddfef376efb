"""What is recorded beside results, and never part of a key: versions, host, CPU capability."""

from __future__ import annotations

import platform
import socket
from functools import cache

import numpy as np
import torch


@cache
def environment() -> dict[str, str]:
    """Describe the software and the machine that this process runs on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(terse=True),
        "host": socket.gethostname(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "mkl": str(torch.backends.mkl.is_available()),  # type: ignore[no-untyped-call]
    }

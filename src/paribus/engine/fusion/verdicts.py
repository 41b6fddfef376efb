"""Verdicts on groups, remembered in files: a machine pays a probe once for a store, not in each process.

A remembered refusal costs no more than speed. A remembered proof stands only where all that decides bits is
equal, and shortens the next proof, rather than to replace it.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import final

import torch

from paribus.engine.training.environment import environment
from paribus.identity import digest
from paribus.store.filesystem import write_whole

_SWITCHES = ("ATEN_", "DNNL_", "MKL_", "ONEDNN_")


@final
@dataclass(frozen=True)
class Verdict:
    """What was found of a program.

    Attributes:
        refused: Why learners are trained alone; ``None``: it is proven, and quicker where it must be.
    """

    refused: str | None

    @classmethod
    def read(cls, folder: Path | None, about: object) -> Verdict | None:
        """Read what is remembered; a damaged file is none."""
        if folder is None:
            return None
        try:
            found = json.loads(_file(folder, about).read_bytes())["refused"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return cls(found) if found is None or isinstance(found, str) else None

    def write(self, folder: Path | None, about: object) -> None:
        """Remember it, where that can be: whoever writes last is read."""
        if folder is None:
            return
        payload = json.dumps({"refused": self.refused, "about": repr(about), **_surroundings()}, indent=1)
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
            write_whole(_file(folder, about), payload.encode())


def _file(folder: Path, about: object) -> Path:
    return folder / f"{digest((repr(about), _surroundings())).hex()}.json"


def _surroundings() -> dict[str, str]:
    """Describe what decides bits and speed beside the learners."""
    return {**_process(), "accelerators": _accelerators()}


@cache
def _process() -> dict[str, str]:
    """Describe what stays as it is in a process: machine, libraries, switches, this code."""
    code = {file.name: file.read_bytes() for file in Path(__file__).parent.glob("*.py")}
    switches = {name: value for name, value in os.environ.items() if name.startswith(_SWITCHES)}
    return {
        **environment(),
        "processor": _processor(),
        "precision": torch.get_float32_matmul_precision(),
        "switches": repr(sorted(switches.items())),
        "code": digest(code).hex(),
    }


def _accelerators() -> str:
    """Name the GPUs that this process uses; asked before it uses one, CUDA would be lost to its forks."""
    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return "; ".join(map(torch.cuda.get_device_name, range(torch.cuda.device_count()))) if used else ""


def _processor() -> str:
    """Name the processor and what it can do, where the system tells."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        wanted = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU part")
        return "; ".join(sorted({line for line in lines if line.partition(":")[0].strip() in wanted}))
    return ""

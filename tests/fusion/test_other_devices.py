"""Groups on other devices: a GPU where there is one, and one that is lent the CPU's operations."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
BUILT = pytest.mark.skipif(not (shutil.which("c++") and shutil.which("ninja")), reason="there is no compiler")


@pytest.fixture(scope="module", params=[pytest.param("second", marks=BUILT), pytest.param("cuda", marks=GPU)])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process tells that trained on a device, in both forms."""
    command = [
        sys.executable,
        str(HERE / "second_device.py"),
        request.param,
        str(tmp_path_factory.mktemp("built")),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env={**os.environ, "MAX_JOBS": "1"}
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "case", ["an MLP, windows", "Adam", "dropout", "batch norm", "convolutions", "noise and gradients"]
)
def test_a_group_on_another_device_has_the_bits_of_each_alone(told: dict[str, Any], case: str) -> None:
    assert told["cases"][case] == {"differing": [], "failed": [], "refused": [], "proven": 1}


def test_groups_on_another_device_are_as_large_as_its_memory_allows(told: dict[str, Any]) -> None:
    small, large, huge = told["sizes"]
    assert small >= large >= huge
    assert small > huge


def test_the_generator_of_another_device_is_left_alone(told: dict[str, Any]) -> None:
    assert told["draws"]

"""The tests of groups on other devices: a GPU where there is one, and one that is lent operations."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
FILES = [
    "test_fusion.py",
    "test_fusion_runs.py",
    "test_foresight.py",
    "test_evaluation.py",
    "test_inexact.py",
    "test_device.py",
]
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
BUILT = pytest.mark.skipif(not (shutil.which("c++") and shutil.which("ninja")), reason="there is no compiler")


@pytest.mark.slow
@pytest.mark.parametrize("device", [pytest.param("second", marks=BUILT), pytest.param("cuda", marks=GPU)])
def test_groups_hold_on_another_device(device: str, tmp_path: Path) -> None:
    settings = {"PARIBUS_TEST_DEVICE": device, "PARIBUS_TEST_BUILD": str(tmp_path), "MAX_JOBS": "1"}
    lent = "ignore:An output with one or more elements was resized"  # on its way to the CPU and back
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", "-W", lent, *FILES]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=HERE, env={**os.environ, **settings}, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr

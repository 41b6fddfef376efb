"""Promise 5, Identity: each listed edit that changes results changes the key; each cosmetic one does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from identity_cases import PLAIN, Case
from identity_runner import digests
from identity_torch_cases import TORCH

RUNNER = Path(__file__).with_name("identity_runner.py")


def _described(cases: list[Case], which: str, root: Path) -> Path:
    described = [{"name": case.name, "files": getattr(case, which), "torch": case.torch} for case in cases]
    (root / which).mkdir()
    (root / which / "cases.json").write_text(json.dumps(described))
    return root / which


def _fresh(folder: Path, seed: str, *flags: str) -> dict[str, str]:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *flags, str(RUNNER), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    told: dict[str, str] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="module")
def plain_digests(tmp_path_factory):
    """Digest before and after in two fresh processes of different hash seeds, one with -O."""
    root = tmp_path_factory.mktemp("plain")
    before = _fresh(_described(PLAIN, "before", root), "1")
    return before, _fresh(_described(PLAIN, "after", root), "2", "-O")


@pytest.fixture(scope="module")
def torch_digests(tmp_path_factory):
    """Digest before in a fork of this process, which has torch, and after in a fresh one."""
    root = tmp_path_factory.mktemp("torch")
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        before = pool.submit(digests, _described(TORCH, "before", root)).result()
    return before, _fresh(_described(TORCH, "after", root), "2")


def _check(case: Case, found: tuple[dict[str, str], dict[str, str]]) -> None:
    before, after = found[0][case.name], found[1][case.name]
    assert len(before) == len(after) == 32, (before, after)
    assert (before != after) == case.changes


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
def test_identity_of_code(case, plain_digests):
    _check(case, plain_digests)


def test_identity_of_code_needs_no_torch(plain_digests):
    assert plain_digests[0]["torch was imported"] == "False"


@pytest.mark.parametrize("case", TORCH, ids=lambda case: case.name)
def test_identity_of_torch_values(case, torch_digests):
    _check(case, torch_digests)

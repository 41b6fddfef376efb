"""Promise 5, Identity: each listed edit that changes results changes the key; each cosmetic one does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from identity_cases import PLAIN, Case
from identity_torch_cases import TORCH

RUNNER = Path(__file__).with_name("identity_runner.py")


def _start(cases: list[Case], which: str, root: Path, *flags: str) -> subprocess.Popen[str]:
    described = [{"name": case.name, "files": getattr(case, which), "torch": case.torch} for case in cases]
    (root / f"{which}.json").write_text(json.dumps(described))
    (root / which).mkdir()
    seed = {"before": "1", "after": "2"}[which]
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        [sys.executable, *flags, str(RUNNER), str(root / which), str(root / f"{which}.json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def _digests(cases: list[Case], root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Digest every subject before and after, in two processes of different hash seeds, one with -O."""
    running = [_start(cases, "before", root), _start(cases, "after", root, "-O")]
    told = []
    for process in running:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        told.append(json.loads(out))
    return told[0], told[1]


@pytest.fixture(scope="module")
def plain_digests(tmp_path_factory):
    return _digests(PLAIN, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def torch_digests(tmp_path_factory):
    return _digests(TORCH, tmp_path_factory.mktemp("torch"))


def _check(case: Case, digests: tuple[dict[str, str], dict[str, str]]) -> None:
    before, after = digests[0][case.name], digests[1][case.name]
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

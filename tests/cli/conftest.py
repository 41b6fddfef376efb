from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_cases import study

from paribus.store import Store


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the study; only read it."""
    path = tmp_path_factory.mktemp("cli") / "runs"
    exp = study(path)
    exp.run(progress=False)
    exp.store.close()
    return path


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """A copy of the study's store, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))


@pytest.fixture
def store(runs: Path) -> Store:
    return Store.open(runs)

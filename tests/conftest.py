from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

# Tests share two cores with whatever else runs: how long an example takes says nothing.
settings.register_profile(
    "paribus", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("paribus")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store's folder that is not there yet."""
    return tmp_path / "store"


@pytest.fixture(autouse=True)
def _own_store_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a test that names no store from writing into the working directory."""
    monkeypatch.setenv("PARIBUS_STORE", str(tmp_path / "default-store"))

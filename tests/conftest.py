from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

# Tests share two cores with whatever else runs: how long an example takes says nothing.
settings.register_profile(
    "paribus", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("paribus")


class ByFile(LoadFileScheduling):
    """Lets the tests of a file share their fixtures, and those of all files that run on Ray the same Ray.

    Not by marks of xdist_group: xdist 3.8 writes them into what pytest 9.2 does not read any more.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "ray" if re.search(r"/test_ray|[\[-]ray[\]-]", nodeid) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


# What takes longest begins first, so that at the end no process waits for another.
LONGEST = (
    "test_executor_contract.py",
    "test_ray.py",
    "test_trajectories_resume.py",
    "test_notebooks.py",
    "test_promises.py",
    "test_report.py",
    "test_site.py",
    "test_examples.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store's folder that is not there yet."""
    return tmp_path / "store"


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path) -> Iterator[None]:
    """Let no test see what another set, or write into the working directory where it names no store."""
    with patch.dict(os.environ, {"PARIBUS_STORE": str(tmp_path / "default-store")}):
        yield


@pytest.fixture
def shell() -> Iterator[Any]:
    """An IPython that looks like a notebook's kernel."""
    from IPython.core.interactiveshell import InteractiveShell

    found: Any = InteractiveShell.instance()
    found.kernel = object()
    yield found
    InteractiveShell.clear_instance()


@pytest.fixture(scope="session")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What executes notebooks, in one kernel of this interpreter: each start costs seconds of imports."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpecManager
    from nbclient import NotebookClient
    from nbformat.v4 import new_notebook

    home = tmp_path_factory.mktemp("kernel")
    kernel = AsyncKernelManager(
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),  # none that this machine has installed
        connection_file=str(home / "connection.json"),
        transport_encryption="auto",
    )
    client = NotebookClient(new_notebook(), km=kernel, timeout=600, interrupt_on_timeout=True)
    environment = {**os.environ, "IPYTHONDIR": str(home), "OMP_NUM_THREADS": "1"}
    with client.setup_kernel(cleanup_kc=True, env=environment, cwd=str(home)):
        yield client

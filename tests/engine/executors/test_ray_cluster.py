"""Agents on a cluster of several nodes that is there: by its address, with a node that goes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.scale import started
from ray_cases import Halting
from torch.utils.data import TensorDataset

from learning_cases import DRIVER, experiment, run, states
from paribus.engine.running.executors import Ray
from paribus.engine.training.journal import Journal
from paribus.errors import ExecutionError
from paribus.interventions import InitWeights
from paribus.models import MLP
from paribus.store import Store

pytestmark = [
    pytest.mark.slow,  # a cluster of three nodes on one machine
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SEEDS = InitWeights.make_variations(seed=range(6))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head without a core, and two nodes with one each; a node that goes is missed at once.

    The process that joins it had a Ray of its own before, with a token that this cluster does not know.
    """
    os.environ[DRIVER] = str(os.getpid())
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()
    soon = {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 1000,
        "health_check_failure_threshold": 5,
    }
    lean = {"include_dashboard": False, "include_log_monitor": False}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": soon} | lean)
    try:
        for _ in range(2):
            made.add_node(num_cpus=1, **lean)
        run(experiment(tmp_path_factory.mktemp("own")), Ray(workers=1))
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        del os.environ[DRIVER]


def test_a_cluster_is_joined_by_its_address(cluster: Any, folder: Path, tmp_path: Path) -> None:
    import ray

    store = Store.open(folder, objects=f"file://{tmp_path}/objects")
    exp, serial = experiment(store, SEEDS), experiment(tmp_path / "serial", SEEDS)
    run(exp, Ray(address=cluster.address))
    run(serial)
    assert states(exp) == states(serial)
    assert ray.is_initialized()
    assert ray.available_resources()["CPU"] <= 2
    with pytest.raises(ExecutionError, match=r"and the nodes have room for 2 of the 3: they have"):
        run(experiment(folder, steps=7), Ray(address=cluster.address, workers=3))


def test_data_goes_once_to_each_node_and_agents_say_where_they_are(cluster: Any, folder: Path) -> None:
    points = TensorDataset(torch.randn(12_500, 1000), torch.zeros(12_500, dtype=torch.long))
    exp = experiment(folder, dataset=points, model=MLP(1000, (8,), 3), steps=1)
    journal = Journal.open(exp.store, exp.work, exp.plan().tasks(), 60.0)
    with Ray(address=cluster.address, cpus=0.5).connect(exp.work, journal, print) as backend:
        agents, sent = started(backend, 4)
    assert [*agents.values()] == [2, 2]
    assert all(50e6 < sent[node] < 51e6 for node in agents)


def test_a_package_is_sent_to_the_nodes(cluster: Any, folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    package = tmp_path / "source" / "sent_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import os, pathlib\n"
        "import torch\n"
        "def loss(outputs, targets):\n"
        f"    if os.environ.get({DRIVER!r}) != str(os.getpid()):\n"
        f"        pathlib.Path({str(tmp_path / 'where')!r}).write_text(__file__)\n"
        "    return torch.nn.functional.cross_entropy(outputs, targets)\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))
    import sent_package

    exp = experiment(folder, loss=sent_package.loss)
    run(exp, Ray(address=cluster.address, workers=1, py_modules=[package]))
    assert "py_modules" in (tmp_path / "where").read_text()


def test_a_driver_that_died_is_started_again(cluster: Any, folder: Path, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    code = (
        "import os, sys\n"
        f"sys.path[:], os.environ[{DRIVER!r}] = {sys.path!r}, str(os.getpid())\n"
        "from test_ray_cluster import Halting, SEEDS, Ray, experiment, run\n"
        f"exp = experiment({str(folder)!r}, SEEDS, model=Halting({str(flag)!r}))\n"
        f"run(exp, Ray(address={cluster.address!r}))\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", code])
    while not Path(f"{flag}.halted").exists():
        with pytest.raises(subprocess.TimeoutExpired):
            driver.wait(0.1)
    driver.kill()
    driver.wait()
    check_complete(folder, tmp_path, flag, cluster)


def test_a_node_that_goes_costs_what_its_agent_had(cluster: Any, folder: Path, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    removal = threading.Thread(target=remove, args=(cluster, Path(f"{flag}.halted")))
    removal.start()
    check_complete(folder, tmp_path, flag, cluster)
    removal.join()
    assert len(cluster.worker_nodes) == 1


def check_complete(folder: Path, tmp_path: Path, flag: Path, cluster: Any) -> None:
    exp = experiment(folder, SEEDS, model=Halting(str(flag)))
    assert not run(exp, Ray(address=cluster.address)).failed
    assert not flag.exists()
    serial = experiment(tmp_path / "serial", SEEDS, model=Halting(str(flag)))
    run(serial)
    assert states(exp) == states(serial)


def remove(cluster: Any, halted: Path) -> None:
    while not halted.exists():
        threading.Event().wait(0.05)
    (node,) = (node for node in cluster.worker_nodes if node.node_id == halted.read_text())
    cluster.remove_node(node, allow_graceful=False)

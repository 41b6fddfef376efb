"""Agents on a Ray that was started here: warm between runs, killed, and short of what they need."""

from __future__ import annotations

import os
import pickle
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learning_cases import DRIVER, experiment, in_agent, run, states
from paribus.engine.running.executors import Ray, choose_executor, ray_agents
from paribus.engine.running.executors import ray as ray_executor
from paribus.engine.running.executors.ray import reaches
from paribus.engine.running.executors.ray_agents import Slot
from paribus.engine.running.messages import Event, Lease, Lost, Order, Ready
from paribus.engine.training.journal import Journal
from paribus.errors import ConfigurationError, ExecutionError
from paribus.interventions import InitWeights
from paribus.store import Store

pytestmark = [
    # Ray leaves open what ends with the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DRIVER, str(os.getpid()))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_a_lost_object_is_put_again(folder: Path) -> None:
    exp = experiment(folder, InitWeights.make_variations(seed=range(2)))
    run(exp, Ray(workers=2))
    before = states(exp)
    for record in list(exp.store.scan()):
        exp.store.discard(record.key)
    parcels = ray_executor._kept.parcels
    parcels[exp.work] = replace(parcels[exp.work], token="lost", reference=owned_by_the_dead())
    run(exp, Ray(workers=2))
    assert states(exp) == before


def test_an_agent_that_ray_was_still_making_is_no_error_at_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    kill = ray.kill

    def cancelled(actor: Any) -> None:  # as Ray says now and then, when the actor had not been registered
        kill(actor)
        raise ray.exceptions.RaySystemError("Actor creation cancelled.")

    monkeypatch.setattr(ray, "kill", cancelled)
    exp = experiment(folder)
    journal = Journal.open(exp.store, exp.work, exp.plan().tasks(), 60.0)
    with Ray(workers=1).connect(exp.work, journal, lambda message: None) as backend:
        backend.start(0)


@pytest.mark.slow
def test_in_a_long_run_a_spare_takes_the_place_of_one_that_is_lost(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(ray_agents, "_SPARE_SECONDS", 0.0)
    exp = experiment(folder)
    journal = Journal.open(exp.store, exp.work, exp.plan().tasks(), 60.0)
    with Ray(workers=1).connect(exp.work, journal, print) as backend:
        spares = ray_executor._kept.resting(Ray(workers=1))
        spares.clear()
        backend.start(0)
        assert [type(event) for event in until_told(backend)] == [Ready]
        assert not backend.receive(0.0)
        (spare,) = spares
        ray.get(spare.__ray_ready__.remote())
        backend.assign(0, Lease(0, (Order(exp.plan().tasks()[0], None),)))
        ray.kill(backend.actor(0))
        assert [type(event) for event in until_told(backend)] == [Lost]
        backend.start(1)
        assert backend.actor(1) is spare
        assert [type(event) for event in until_told(backend)] == [Ready]


def until_told(backend: Any) -> Sequence[Event]:
    while not (events := backend.receive(1.0)):
        pass
    return events


def owned_by_the_dead() -> Any:
    """Return a reference to an object that went with its owner."""
    import ray

    class Owner:
        def lend(self) -> Any:
            return [ray.remote(num_cpus=0)(lambda: threading.Event().wait()).remote()]  # never there

    owner = ray.remote(num_cpus=0)(Owner).remote()
    (reference,) = ray.get(owner.lend.remote())
    ray.kill(owner)
    return reference


def test_agents_see_the_variables_and_the_folder_of_the_driver(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARIBUS_TEST_SEEN", "this")
    exp = experiment(folder, objective=telling)
    run(exp, Ray(workers=1))
    assert (tmp_path / "seen").read_text() == "this"


def telling(model: nn.Module, batch: Any) -> torch.Tensor:
    if in_agent():
        Path("seen").write_text(os.environ["PARIBUS_TEST_SEEN"])
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


@pytest.mark.parametrize(
    ("executor", "told"),
    [
        pytest.param(Ray(gpus=64), "asks for 1 CPU, 64 GPU, and no node has that: the nodes have", id="gpus"),
        pytest.param(Ray(resources={"tpu": 1}), "asks for 1 CPU, 1 tpu, and no node has that", id="resource"),
        pytest.param(Ray(workers=1, cpus=0.5, gpus=0.5), "no node has that: .* 0 GPU", id="fraction"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="told on a machine without a GPU")
def test_what_no_node_has_is_told_before_anything_starts(folder: Path, executor: Ray, told: str) -> None:
    exp = experiment(folder)
    with pytest.raises(ExecutionError, match=told):
        run(exp, executor)
    assert exp.results()["status"].to_list() == ["missing"]


def test_an_address_where_nobody_answers_is_told_and_takes_the_place_of_none(folder: Path) -> None:
    import ray

    run(experiment(folder), Ray(workers=1))
    assert ray.is_initialized()
    with pytest.raises(ExecutionError, match=r"no cluster can be reached at address='127.0.0.1:1'"):
        run(experiment(folder, steps=7), Ray(address="127.0.0.1:1"))


# --- without any Ray ------------------------------------------------------------------------------------


def test_ray_not_installed_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExecutionError, match=r"Ray: it is not installed; pip install 'paribus\[ray\]'"):
        run(experiment(folder), "ray")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("nonsense", r"address='nonsense'; expected 'host:port', or 'auto'"),
        ("ray://127.0.0.1:10001", "is one of the Ray Client"),
        ("no.such.host.invalid:6379", "no cluster can be reached at address='no.such.host.invalid:6379'"),
    ],
    ids=["form", "client", "host"],
)
def test_an_address_that_cannot_be_reached_is_told(folder: Path, address: str, told: str) -> None:
    with pytest.raises(ExecutionError, match=told):
        run(experiment(folder), Ray(address=address))


def test_who_listens_at_an_address_and_is_no_ray_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray itself would wait for ever for what is silent."""
    monkeypatch.setattr(ray_executor, "_KNOCK_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ExecutionError, match=f"at address='{address}' .who answers there is no Ray"):
            run(experiment(folder), Ray(address=address))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"workers": 0}, "Ray: workers=0; expected at least 1"),
        ({"gpus": 1.5}, "Ray: gpus=1.5; expected a fraction of 1 or a whole number"),
        ({"cpus": -1}, "Ray: cpus=-1; expected"),
        ({"py_modules": ["nowhere"]}, "Ray: py_modules has 'nowhere', which is no folder"),
    ],
    ids=["workers", "gpus", "cpus", "py_modules"],
)
def test_options_that_cannot_be_are_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Ray(**options)


def test_agents_that_share_a_gpu_ask_for_a_part_and_may_use_that_part_of_its_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Ray(gpus=0.25)._need == {"CPU": 1, "GPU": 0.25}
    used: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", used.append)
    for gpus in (0, 0.25, 2):
        Slot(gpus)
    assert used == [0.25]


def test_workers_are_given_by_name_too() -> None:
    assert choose_executor("ray", 3) == Ray(workers=3)


def test_a_node_says_why_it_does_not_reach_the_store(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    probe, travelled = store.objects.put(b"driver"), pickle.dumps(store.objects)
    refused, written = reaches(travelled, probe)
    assert not refused
    assert store.objects.holds(written)
    store.close()
    store.path.rename(tmp_path / "elsewhere")
    where = f"{store.path}/objects/{probe[:2]}/{probe}"
    assert reaches(travelled, probe)[0] == f"object {where} cannot be read: No such file or directory"

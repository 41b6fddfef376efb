"""Many workers: the same 30 trainings everywhere, what Ray adds to each learner, and how far it goes."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed
from torch.utils.data import TensorDataset

from benchmarks.answering import answered, learners, sustained
from benchmarks.simulation import Costs, durations, plan_of, simulate
from paribus import Experiment, Joblib, Local, Ray, Serial
from paribus.bench.by_hand import loop_with_tensors
from paribus.bench.measure import Benchmark, Figure, Prepare, fresh_interpreter, middle, ratio, side_by_side
from paribus.datasets import digits
from paribus.engine.running.executors import Executor
from paribus.engine.running.executors.ray_agents import ActorBackend, Parcel, Surroundings
from paribus.engine.running.messages import Event, Lease, Lost, Order, Ready
from paribus.engine.training.journal import Journal
from paribus.interventions import InitWeights
from paribus.models import MLP

_WORKERS = 2
_EXECUTORS: dict[str, Executor] = {
    "in process": Serial(),
    "local": Local(_WORKERS),
    "joblib": Joblib(_WORKERS),
    "Ray": Ray(workers=_WORKERS),
}
_make = partial(MLP, inputs=64)


def measure(
    trainings: int,
    epochs: int,
    repetitions: int,
    ray: bool,
    tune: Sequence[str],
    simulated: int,
    workers: int,
    messages: int,
) -> list[Figure]:
    """Time the same trainings on every side; then Ray, simulation and driver alone."""
    torch.set_num_threads(1)
    executors = {name: each for name, each in _EXECUTORS.items() if ray or name != "Ray"}
    figures = _side_by_side(trainings, epochs, repetitions, executors, tune)
    figures += [_moving(messages), _killed(0), _killed(20), _data_sent()] if ray else []
    return [*figures, *_simulation(simulated, workers), *_driving(messages)]


def _side_by_side(
    trainings: int, epochs: int, repetitions: int, executors: Mapping[str, Executor], tune: Sequence[str]
) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        sides: dict[str, Prepare] = {
            "plain loop": lambda: lambda: [train(folder, epochs, seed) for seed in range(trainings)],
            "warm loky": lambda: (
                lambda: Parallel(n_jobs=_WORKERS)(
                    delayed(train)(folder, epochs, seed) for seed in range(trainings)
                )
            ),
            "Optuna, n_jobs=2": lambda: lambda: _optuna(folder, trainings, epochs),
        }
        stores = count()

        def run(executor: Executor) -> Callable[[], object]:
            seeds = InitWeights.make_variations(seed=range(trainings))
            exp = Experiment(
                _make(),
                digits(size=8),
                interventions=seeds,
                epochs=epochs,
                store=Path(folder, f"store-{next(stores)}"),
            )
            return partial(exp.run, executor, progress=False)

        sides |= {f"Paribus, {name}": partial(run, executor) for name, executor in executors.items()}
        times = side_by_side(sides, repetitions)
    figures = [Figure(f"{trainings} trainings, {name}", middle(t).wall, "s") for name, t in times.items()]
    local = ratio(times["Paribus, local"], times["warm loky"]).wall
    figures.append(Figure("Paribus, local, over warm loky", local, "×", 1.15))
    what = f"{trainings} trainings, Ray Tune"
    if "reuse" in tune:
        seconds = _tuned(trainings, epochs, reuse=True)
        faster = seconds / middle(times["Paribus, Ray"]).wall
        figures.append(Figure(f"{what}, reuse_actors=True", seconds, "s"))
        figures.append(Figure("Ray Tune with reuse_actors over Paribus on Ray", faster, "×", 10, "more"))
    if "default" in tune:
        figures.append(Figure(f"{what}, default", _tuned(trainings, epochs, reuse=False), "s"))
    return figures


def train(folder: str, epochs: int, seed: int) -> None:
    """Train by hand, in whichever process this is."""
    torch.set_num_threads(1)
    loop_with_tensors(_make, digits(size=8), epochs, seed, Path(folder, f"log-{os.getpid()}"))


def _optuna(folder: str, trainings: int, epochs: int) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))

    def objective(trial: Any) -> float:
        train(folder, epochs, trial.suggest_int("seed", 0, 10**6))
        return 0.0

    study.optimize(objective, n_trials=trainings, n_jobs=_WORKERS)


def _tuned(trainings: int, epochs: int, *, reuse: bool) -> float:
    """Time Ray Tune in an interpreter of its own: here, agents at rest hold the cores of Paribus's Ray."""
    code = f"from benchmarks.scale import tune; print(tune({trainings}, {epochs}, {reuse}))"
    return float(fresh_interpreter(code))


def tune(trainings: int, epochs: int, reuse: bool) -> float:
    """Train with Ray Tune, once to warm up and once for the time."""
    import ray
    from ray import tune

    ray.init(num_cpus=_WORKERS, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:

        class Trainable(tune.Trainable):
            def setup(self, config: dict[str, Any]) -> None:
                self.seed = config["seed"]

            def reset_config(self, config: dict[str, Any]) -> bool:
                self.seed = config["seed"]
                return True

            def step(self) -> dict[str, Any]:
                train(folder, epochs, self.seed)
                return {"done": True}

        def fit(seeds: int) -> None:
            tune.Tuner(
                tune.with_resources(Trainable, {"cpu": 1}),
                param_space={"seed": tune.grid_search(list(range(seeds)))},
                tune_config=tune.TuneConfig(reuse_actors=reuse, max_concurrent_trials=_WORKERS),
                run_config=tune.RunConfig(storage_path=tempfile.mkdtemp(dir=folder), verbose=0),
            ).fit()

        fit(_WORKERS)
        began = time.perf_counter()
        fit(trainings)
        return time.perf_counter() - began


# --- Ray alone ------------------------------------------------------------------------------------------


@contextmanager
def _on_ray() -> Iterator[None]:
    """Have the Ray that Paribus starts running."""
    with tempfile.TemporaryDirectory() as folder:
        learners(1, Path(folder, "store")).run(Ray(workers=_WORKERS), progress=False)
    yield


class Echo:
    """An actor that answers leases without training."""

    def begin(self, number: int, *_: object) -> str:
        self.number = number
        return ""

    def train(self, lease: bytes) -> bytes:
        return pickle.dumps([*answered(self.number, pickle.loads(lease)), None])


def _moving(messages: int) -> Figure:
    """Send leases to an agent that answers at once, the next before the last is answered."""
    with tempfile.TemporaryDirectory() as folder, _on_ray():
        import ray

        exp = learners(messages, Path(folder, "store"))
        orders = [Order(task, None) for task in exp.plan().tasks()]
        parcel, here = Parcel("", ray.put(b"")), Surroundings("", (), {})
        nothing: Any = None
        backend = ActorBackend(
            1, ray.remote(Echo).remote, None, lambda _: parcel, nothing, lambda _: None, [], here
        )
        backend.start(0)
        _until(backend, Ready)
        leases = [Lease(n, tuple(orders[n : n + 8])) for n in range(0, len(orders), 8)]
        wall, cpu = time.perf_counter(), time.process_time()
        backend.assign(0, leases.pop())
        waited = len(orders)
        while waited:
            if leases:
                backend.assign(0, leases.pop())
            waited -= _count(backend, at_least=min(8, waited))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        backend.close(keep=False)
    each = 1e6 / len(orders)
    return Figure("a learner there and back, leases of 8", wall * each, "µs", 100, cpu=cpu * each)


def _killed(after: float) -> Figure:
    """Kill an agent some seconds after the run began, and wait for the one in its place."""
    with tempfile.TemporaryDirectory() as folder, _on_ray():
        import ray

        exp = learners(1, Path(folder, "store"))
        journal = Journal.open(exp.store, exp.work, exp.plan().tasks(), 60.0)
        with Ray(workers=_WORKERS).connect(exp.work, journal, lambda _: None) as backend:
            assert isinstance(backend, ActorBackend)
            for agent in range(_WORKERS):  # so that none is left at rest to take the place of another
                backend.start(agent)
                _until(backend, Ready)
            later = time.perf_counter() + after
            while time.perf_counter() < later:  # a long run has a spare, and time to start it
                backend.receive(1.0)
            process = ray.get(backend.actor(0).__ray_call__.remote(lambda _: os.getpid()))
            backend.assign(0, Lease(0, (Order(exp.plan().tasks()[0], None),)))
            began = time.perf_counter()
            os.kill(process, signal.SIGKILL)
            _until(backend, Lost)
            backend.start(_WORKERS)
            _until(backend, Ready)
            what = f"an agent killed after {after:.0f} s, until another is ready"
            return Figure(what, time.perf_counter() - began, "s", 2.0)


def _data_sent() -> Figure:
    """Start two agents on each of two nodes, and count what the nodes are sent."""
    import ray
    from ray.cluster_utils import Cluster

    lean = {"include_dashboard": False, "include_log_monitor": False}
    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0} | lean)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2, **lean)
        with tempfile.TemporaryDirectory() as folder:
            data = TensorDataset(torch.randn(12_500, 1000), torch.zeros(12_500, dtype=torch.long))
            exp = Experiment(partial(MLP, inputs=1000), data, steps=1, store=Path(folder, "store"))
            journal = Journal.open(exp.store, exp.work, exp.plan().tasks(), 60.0)
            with Ray(cluster.address).connect(exp.work, journal, lambda _: None) as backend:
                agents, sent = started(backend, 4)
    finally:
        ray.shutdown()
        cluster.shutdown()
    size = sum(tensor.nbytes for tensor in data.tensors)
    what = f"sent to a node of {max(agents.values())} agents, over the {size / 1e6:.0f} MB of the data"
    return Figure(what, max(sent[node] for node in agents) / size, "×", 1.01)


def started(backend: ActorBackend, many: int) -> tuple[Counter[str], dict[str, int]]:
    """Start agents; count those of each node, and the bytes that each node was sent meanwhile."""
    before, agents = _received(), Counter[str]()
    for agent in range(many):
        backend.start(agent)
    while agents.total() < many:
        agents.update(event.node for event in backend.receive(1.0) if isinstance(event, Ready))
    return agents, {node: size - before[node] for node, size in _received().items()}


def _received() -> dict[str, int]:
    """Count the bytes that each node of the cluster has taken into its object store."""
    import ray
    from ray._private.internal_api import node_stats

    nodes = [node for node in ray.nodes() if node["Alive"]]
    stats = {n["NodeID"]: node_stats(n["NodeManagerAddress"], n["NodeManagerPort"]) for n in nodes}
    return {node: each.store_stats.cumulative_created_bytes for node, each in stats.items()}


def _until(backend: ActorBackend, kind: type[Event]) -> None:
    while not any(isinstance(event, kind) for event in backend.receive(1.0)):
        pass


def _count(backend: ActorBackend, at_least: int) -> int:
    found = 0
    while found < at_least:
        found += len(backend.receive(1.0))
    return found


# --- many workers ---------------------------------------------------------------------------------------


def _simulation(count: int, workers: int) -> list[Figure]:
    tasks = plan_of(count)
    seconds, costs = durations(tasks, 1.0, 0.5, 0), Costs(lifetime=3600.0)
    gc.disable()  # there are no circles in what it makes
    began, cpu = time.perf_counter(), time.process_time()
    found = simulate(tasks, seconds, workers, 8, costs)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    gc.enable()
    what = f"{count:,} learners of 1 s on {workers:,} workers"
    lost = f"{found.losses} agents lost, {found.seconds:.0f} virtual seconds"
    return [
        Figure(f"simulation of {what}", wall, "s", 60, cpu=cpu),
        Figure("its rate", count / wall, "learners/s", 20_000, "more", count / cpu),
        Figure(f"efficiency, {what}", found.efficiency, "", detail=lost),
        Figure(f"load of the driver, {what}", found.load, ""),
    ]


def _driving(messages: int) -> list[Figure]:
    return [
        Figure(
            f"driver with {agents} agents behind sockets", rate, "learners/s", detail=f"{cpu:.0f} µs CPU each"
        )
        for agents in (2, 64)
        for rate, cpu in [sustained(messages, agents)]
    ]


BENCHMARK = Benchmark(
    "scale",
    "Trainings of an MLP on raw digits of 8 × 8 on 2 workers, everything warm: the same by hand, under "
    "joblib's loky, Optuna's threads and Ray Tune, and by `run()` with each executor, which also records, "
    "stores and keys them. Then what a learner costs to move to a Ray agent and back; the real scheduler in "
    "virtual time; and the real driver with agents that answer without training.",
    {
        "full": {"trainings": 30, "epochs": 5, "repetitions": 3, "ray": True, "tune": ("reuse", "default")}
        | {"simulated": 100_000, "workers": 1000, "messages": 4000},
        "quick": {"trainings": 30, "epochs": 5, "repetitions": 1, "ray": True, "tune": ()}
        | {"simulated": 100_000, "workers": 1000, "messages": 1000},
        "tiny": {"trainings": 2, "epochs": 1, "repetitions": 1, "ray": False, "tune": ()}
        | {"simulated": 200, "workers": 10, "messages": 32},
    },
    measure,
)

"""On a Ray cluster: one that is there, or one of this machine's cores that a run starts."""

from __future__ import annotations

import logging
import math
import os
import pickle
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final
from weakref import WeakKeyDictionary

from paribus.engine.building.work import Work
from paribus.engine.running.executors.base import Backend, Executor
from paribus.engine.running.executors.ray_agents import ActorBackend, Parcel, Slot, Surroundings
from paribus.engine.running.executors.shipping import pack
from paribus.engine.running.executors.sources import are_current, sources
from paribus.engine.running.messages import Tell
from paribus.engine.training.journal import Journal
from paribus.errors import ConfigurationError, ExecutionError, StoreError
from paribus.store.objects import Objects

_KNOCK_SECONDS = 5.0
_PROBE_SECONDS = 120.0
# The client's preface of HTTP/2 with empty settings: length, type, flags, stream.
_SETTINGS = b"\x04"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + _SETTINGS + b"\0" + b"\0\0\0\0"


@final
@dataclass(frozen=True)
class Ray(Executor):
    """Train in actors of a Ray cluster, one for each slot that its nodes have.

    The Ray that you connected this process to is used, and left running; else the one at the address, or that
    ``RAY_ADDRESS`` names; else one is started, which this machine alone can reach, and which stays warm until
    the process ends.

    Attributes:
        address: ``"host:port"`` of a cluster's head, or ``"auto"``: the one that runs on this machine.
        workers: Agents; ``None``: as many as the nodes have room for.
        cpus: Cores of each agent.
        gpus: GPUs of each agent; of a fraction, it may use that fraction of the memory.
        resources: Further resources of each agent, by name, as the cluster has them.
        py_modules: Folders of packages that the nodes do not have, and are sent.

    Example:
        >>> Ray(address="head:6379", gpus=0.25)  # doctest: +SKIP
    """

    address: str | None = None
    workers: int | None = None
    cpus: float = 1
    gpus: float = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    py_modules: Sequence[str | Path] = ()

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigurationError(f"Ray: workers={self.workers!r}; expected at least 1")
        for name, amount in (("cpus", self.cpus), ("gpus", self.gpus), *self.resources.items()):
            if not 0 <= amount < math.inf or (amount > 1 and amount != int(amount)):
                raise ConfigurationError(
                    f"Ray: {name}={amount!r}; expected a fraction of 1 or a whole number"
                )
        for folder in self.py_modules:
            if not Path(folder).is_dir():
                raise ConfigurationError(f"Ray: py_modules has {str(folder)!r}, which is no folder")

    @contextmanager
    def connect(self, work: Work, journal: Journal, tell: Tell) -> Iterator[Backend]:
        """Join the cluster, and see whether agents fit and reach the store, before any is started."""
        ray = _imported()
        packed = pack(work) if work not in _kept.parcels else None
        ours = _join(ray, self)
        room = self._room(ray)
        _probe(ray, journal.store.objects)

        def ship(again: bool) -> Parcel:
            if again or work not in _kept.parcels:
                skeleton, buffers = packed or pack(work)
                shipped = ray.put((skeleton, [buffer.numpy() for buffer in buffers]))
                _kept.parcels[work] = Parcel(secrets.token_hex(8), shipped)
            return _kept.parcels[work]

        backend = ActorBackend(
            self.workers or room,
            self._maker(ray),
            self._sparer(ray) if ours else None,
            ship,
            journal,
            tell,
            _kept.resting(self),
            _surroundings(ours),
        )
        try:
            yield backend
        finally:
            backend.close(keep=ours)

    @property
    def _need(self) -> dict[str, float]:
        asked = {"CPU": self.cpus, "GPU": self.gpus, **self.resources}
        return {name: amount for name, amount in asked.items() if amount}

    def _room(self, ray: Any) -> int:
        """Count the agents that the nodes have room for.

        Raises:
            ExecutionError: They have none, or less than was asked for.
        """
        nodes = [node for node in ray.nodes() if node["Alive"]]
        room = sum(_fitting(node["Resources"], self._need, self.workers) for node in nodes)
        asked = f"an agent asks for {_listed(self._need)}"
        have = "; ".join(_listed({k: node["Resources"].get(k, 0) for k in self._need}) for node in nodes[:8])
        if not room:
            raise ExecutionError(f"Ray: {asked}, and no node has that: the nodes have {have}")
        if self.workers is not None and room < self.workers:
            raise ExecutionError(
                f"Ray: {asked}, and the nodes have room for {room} of the {self.workers}: they have {have}"
            )
        return room

    def _maker(self, ray: Any) -> Callable[[], Any]:
        actor = _slot(ray, num_cpus=self.cpus, num_gpus=self.gpus, resources=dict(self.resources))

        def make() -> Any:
            if not any(_fitting(n["Resources"], self._need, 1) for n in ray.nodes() if n["Alive"]):
                self._room(ray)
            return actor.remote(self.gpus)

        return make

    def _sparer(self, ray: Any) -> Callable[[], Any] | None:
        """Return what makes a spare: on the machine's own Ray an agent needs no core that Ray knows of."""
        return None if self.gpus or self.resources else lambda: _slot(ray, num_cpus=0).remote(0)


def _slot(ray: Any, **options: Any) -> Any:
    # Losses are the scheduler's business: it knows what was lost, and Ray would train it twice.
    slot = ray.remote(max_restarts=0, max_task_retries=0, enable_task_events=False)(Slot)
    return slot.options(**options)


def _fitting(has: Mapping[str, float], need: Mapping[str, float], otherwise: int | None) -> int:
    """Count the agents that fit on a node; where they need nothing, any number does."""
    if not need:
        return otherwise or 1
    return int(min(math.floor(has.get(name, 0) / amount + 1e-9) for name, amount in need.items()))


def _listed(amounts: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in amounts.items()) or "nothing"


# --- the cluster ---------------------------------------------------------------------------------------


@final
class _Kept:
    """What outlives a run, for the connection to Ray that it was made in.

    Attributes:
        driver: Which connection.
        asked: Address and modules that it was made for; ``None``: the user made it.
        cores: Of the Ray that was started here; 0: it is somebody else's.
        parcels: Work that is in the object store.
    """

    def __init__(
        self, driver: str = "", asked: tuple[str | None, tuple[str, ...]] | None = None, cores: int = 0
    ) -> None:
        self.driver, self.asked, self.cores = driver, asked, cores
        self.parcels: WeakKeyDictionary[Work, Parcel] = WeakKeyDictionary()
        self._resting: tuple[str, list[Any]] = "", []
        self._files: dict[str, int] = {}

    def resting(self, executor: Ray) -> list[Any]:
        """Return the actors at rest that are as an executor asks for; none with old code in memory."""
        files, asked = sources(), str(executor._need)
        if asked != self._resting[0] or not are_current(self._files, files):
            self._resting = asked, []  # an actor ends when nobody can call it any more
        self._files = files
        return self._resting[1]


_kept = _Kept()


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ExecutionError("Ray: it is not installed; pip install 'paribus[ray]'") from error
    return ray


def _join(ray: Any, executor: Ray) -> bool:
    """Connect to the cluster that an executor asks for; tell whether it was started here."""
    global _kept
    address = executor.address or os.environ.get("RAY_ADDRESS")
    cores = 0 if address else max(os.cpu_count() or 1, math.ceil((executor.workers or 0) * executor.cpus))
    asked = address, tuple(str(folder) for folder in executor.py_modules)
    connected = ray.is_initialized()
    if connected and (_driver(ray) != _kept.driver or _kept.asked is None):
        _check_present(ray, executor)
        if _driver(ray) != _kept.driver:
            _kept = _Kept(_driver(ray))
    elif not connected or asked != _kept.asked or cores > _kept.cores:
        if address:
            _knock(address)
        ray.shutdown()
        _forget_token(ray)
        options = {"runtime_env": {"py_modules": list(asked[1])}} if asked[1] else {}
        _connect(ray, address, options) if address else _start(ray, cores, options)
        _kept = _Kept(_driver(ray), asked, cores)
    return _kept.cores > 0


def _driver(ray: Any) -> str:
    return str(ray.get_runtime_context().get_worker_id())


def _check_present(ray: Any, executor: Ray) -> None:
    """See whether the connection that the user made is one that an executor can use."""
    present = ray.get_runtime_context().gcs_address
    if executor.address not in (None, "auto", present):
        raise ExecutionError(
            f"Ray: address={executor.address!r}, and the process is connected to {present}; call "
            "ray.shutdown() first"
        )
    if executor.py_modules:
        raise ExecutionError(
            f"Ray: py_modules are sent when the process connects, and it is connected to {present}; give "
            "them to that ray.init(runtime_env=…), or call ray.shutdown() first"
        )


def _knock(address: str) -> None:
    """See whether a Ray may be at an address: Ray itself would try for minutes, or for ever.

    Raises:
        ExecutionError: Nobody answers, or somebody who does not speak as Ray does.
    """
    if "://" in address:
        raise ExecutionError(
            f"Ray: address={address!r} is one of the Ray Client, which streams no events; run on a machine "
            "of the cluster, with address='auto'"
        )
    host, _, port = address.rpartition(":")
    if address != "auto" and (not host or not port.isdigit()):
        raise ExecutionError(f"Ray: address={address!r}; expected 'host:port', or 'auto'")
    try:
        if address != "auto":
            _greet(host.strip("[]"), int(port))
    except OSError as error:
        raise ExecutionError(f"Ray: no cluster can be reached at address={address!r} ({error})") from error


def _greet(host: str, port: int) -> None:
    """Begin HTTP/2 (RFC 9113, 3.4), which Ray's head speaks, and wait for the other side's settings.

    Raises:
        OSError: They do not come.
    """
    with socket.create_connection((host, port), _KNOCK_SECONDS) as knocked:
        if os.environ.get("RAY_USE_TLS", "0") != "0":
            return
        knocked.sendall(_PREFACE)
        with knocked.makefile("rb") as answer, suppress(TimeoutError):
            header = answer.read(9)
            if header[3:4] == _SETTINGS:
                return
    raise OSError("who answers there is no Ray")


def _connect(ray: Any, address: str, options: Mapping[str, Any]) -> None:
    try:
        ray.init(address=address, **options, **_QUIET)
    except Exception as error:  # of many classes: another version, a token that is wrong, nothing there
        raise ExecutionError(
            f"Ray: no cluster can be reached at address={address!r} ({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


_QUIET: Mapping[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}


def _forget_token(ray: Any) -> None:
    """Let Ray look for a token anew: it remembers that of the cluster that it was connected to before."""
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()
    ray._raylet.Config.initialize("")


def _start(ray: Any, cores: int, options: Mapping[str, Any]) -> None:
    """Start a cluster of this machine alone."""
    from ray._private import ray_constants

    surroundings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # What this says is that the cluster is of one machine; then Ray listens on the loopback alone.
        ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",
    }
    if not os.environ.keys() & {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
        # Other users of this machine reach the loopback, too. Ray asks for a token, and would write it down.
        surroundings["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    before, several = dict(os.environ), ray_constants.ENABLE_RAY_CLUSTER
    os.environ |= surroundings
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        ray.init(
            address="local",
            num_cpus=cores,
            include_dashboard=False,
            _system_config={
                "worker_niceness": 0,
                "preload_python_modules": ["torch", "paribus.engine.running.executors.ray_agents"],
            },
            **options,
            **_QUIET,
        )
    except Exception as error:
        raise ExecutionError(f"Ray: it cannot be started on this machine ({_first_line(error)})") from error
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = several
        for name in (*surroundings, "RAY_AUTH_MODE"):  # which Ray sets
            os.environ.pop(name, None)
            os.environ |= {name: before[name]} if name in before else {}


def _surroundings(ours: bool) -> Surroundings:
    """Describe this process to agents; to those of another cluster, only where it imports from."""
    imports = (os.getcwd(), *filter(None, sys.path))
    if not ours:
        return Surroundings("", imports, {})
    kept = ("RAY_", "CUDA_", "OMP_", "PYTHON")
    own = {name: value for name, value in os.environ.items() if not name.startswith(kept)}
    return Surroundings(os.getcwd(), imports, own)


# --- the store -----------------------------------------------------------------------------------------


def _probe(ray: Any, objects: Objects) -> None:
    """See whether every node reads and writes the store's objects.

    Raises:
        ExecutionError: One does not, or has no Paribus.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    nodes = {n["NodeID"]: n["NodeManagerAddress"] for n in ray.nodes() if n["Alive"] and n["NodeID"] != here}
    if not nodes:
        return
    probes = [objects.put(secrets.token_bytes(16))]
    try:
        reached = ray.remote(num_cpus=0, max_retries=0)(reaches)
        asked = {
            reached.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                pickle.dumps(objects), probes[0]
            ): address
            for node, address in nodes.items()
        }
        for answer, address in asked.items():
            probes.append(_written(ray, answer, address, objects))
    finally:
        objects.remove(objects.find(filter(None, probes)), math.inf)


def _written(ray: Any, answer: Any, address: str, objects: Objects) -> str:
    """Return the digest of what a node has put."""
    try:
        refused, written = ray.get(answer, timeout=_PROBE_SECONDS)
    except Exception as error:
        told = str(error).strip().rsplit("\n", 1)[-1]
        raise ExecutionError(f"Ray: the node {address} cannot look for the store ({told})") from error
    if not refused and not objects.holds(written):
        refused = f"what it writes to {objects.place} is not there on this machine"
    if refused:
        raise ExecutionError(
            f"Ray: the node {address} does not reach the store: {refused}; give the experiment a store on a "
            "file system that all nodes share, or with its objects at an address, such as 's3://bucket/runs'"
        )
    return str(written)


def reaches(packed: bytes, probe: str) -> tuple[str, str]:
    """Read what the driver put, and put something; return why that failed, and the digest of what was put."""
    try:
        objects: Objects = pickle.loads(packed)
        objects.get(probe)
        return "", objects.put(secrets.token_bytes(16))
    except StoreError as error:
        return str(error).removeprefix("Store: ").partition(";")[0], ""

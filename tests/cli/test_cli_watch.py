"""Looking on at runs in other processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from paribus.__main__ import main
from paribus.engine.showing.views import notices
from paribus.store import Store

STEPS = 6

# Each look of the metric reads from the pipe: no learner passes its first step before the test closes it.
PROGRAM = f"""
import os, sys
from paribus import Experiment, Logger, register_metric
from paribus.datasets import blobs
from paribus.interventions import InitWeights
from paribus.models import MLP

gate = os.open(sys.argv[2], os.O_RDONLY)
print("ready", flush=True)

class Gated(Logger):
    @register_metric(on="step")
    def gated(self, learner):
        return len(os.read(gate, 1))

Experiment(
    MLP(4, (8,), 3), blobs(n=64, features=4), InitWeights.make_variations(seed=range(2)),
    steps={STEPS}, logger=Gated(), store=sys.argv[1],
).run(progress=False)
"""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process, which does not outlive the test."""
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def looked(store: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["watch", str(store), *options])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_a_run_in_another_process_is_watched_until_it_ends(
    gate: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "runs"
    with started("-c", PROGRAM, str(store), str(gate)) as runner, gate.open("wb") as pipe:
        assert line(runner) == "ready\n"
        while not (store / "ledger.sqlite").exists() or not Store.open(store).claims.live():
            assert runner.poll() is None
        seen = looked(store, capsys, "--once")
        assert "1 segment claimed" in seen
        assert f" {runner.pid}: 0/2 learners · 0/{2 * STEPS} steps" in seen
        with started("-m", "paribus", "watch", str(store), "--every", "0.1") as watcher:
            assert "1 segment claimed" in line(watcher)
            pipe.close()
            assert runner.wait() == 0
            last = watcher.communicate()[0].splitlines()[-1]
            assert watcher.returncode == 0
    assert "2 done records" in last
    assert "0 segments claimed" in last
    assert notices(store) == {}


def test_what_a_killed_run_left_is_not_shown_as_a_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notice = runs / "runs" / "elsewhere 1.json"
    notice.parent.mkdir(exist_ok=True)
    notice.write_text(json.dumps({}))
    seen = looked(runs, capsys)
    assert len(seen.splitlines()) == 1
    assert "6 done records" in seen


def test_a_run_that_said_nothing_is_known_by_its_claims(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in ("a" * 32, "b" * 32):
        store.claims.acquire(key, "host 12 abc", 60.0)
    assert "  host 12: 2 segments claimed" in looked(store.path, capsys, "--once")

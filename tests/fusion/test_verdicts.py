"""Proofs and refusals of groups: what finds an error, and what is remembered for other processes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from fusion_cases import differences, walked

from paribus import Experiment
from paribus.datasets import digits
from paribus.engine.fusion import together, verdicts
from paribus.engine.fusion.rows import RowOptimizer
from paribus.engine.fusion.verdicts import Verdict
from paribus.interventions import InitWeights
from paribus.models import MLP

SLOW = Verdict("it is no quicker")
ABOUT = ("a kind", 3)


@pytest.fixture
def exp(tmp_path: Path) -> Experiment:
    together.known.clear()
    seeds = InitWeights.make_variations(seed=range(8))
    return Experiment(partial(MLP, 64, (16,)), digits(size=8), seeds, steps=5, store=tmp_path / "store")


def test_a_verdict_is_read_as_it_was_written(tmp_path: Path) -> None:
    for verdict in (SLOW, Verdict(None)):
        verdict.write(tmp_path / "verdicts", ABOUT)
        assert Verdict.read(tmp_path / "verdicts", ABOUT) == verdict
    assert Verdict.read(tmp_path / "verdicts", ("a kind", 4)) is None
    assert Verdict.read(None, ABOUT) is None


@pytest.mark.parametrize("damaged", [b"", b"{", b"\xff", b"[]", b"{}", b'{"refused": 1}'])
def test_a_damaged_verdict_is_none(tmp_path: Path, damaged: bytes) -> None:
    SLOW.write(tmp_path, ABOUT)
    (file,) = tmp_path.iterdir()
    file.chmod(0o600)
    file.write_bytes(damaged)
    assert Verdict.read(tmp_path, ABOUT) is None
    SLOW.write(tmp_path, ABOUT)
    assert Verdict.read(tmp_path, ABOUT) == SLOW


def test_a_verdict_of_another_machine_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "_surroundings", lambda: {"host": "another"})
    SLOW.write(tmp_path, ABOUT)
    monkeypatch.undo()
    assert Verdict.read(tmp_path, ABOUT) is None


def test_verdicts_written_at_once_are_whole(tmp_path: Path) -> None:
    folder = tmp_path / "verdicts"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: Verdict(str(number)).write(folder, ABOUT), range(20)))
    found = Verdict.read(folder, ABOUT)
    assert found is not None
    assert found.refused in map(str, range(20))
    assert len(list(folder.iterdir())) == 1


def test_where_nothing_can_be_written_nothing_is_remembered(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    SLOW.write(tmp_path / "file", ABOUT)
    assert Verdict.read(tmp_path / "file", ABOUT) is None


def test_a_remembered_proof_shortens_the_next(exp: Experiment, tmp_path: Path) -> None:
    ends = walked(exp, 8, tmp_path)
    (certificates,) = together.known.values()
    assert certificates.compared == 3
    together.known.clear()
    assert differences(ends, walked(exp, 8, tmp_path)) == []
    (certificates,) = together.known.values()
    assert certificates.compared == 1


def test_a_remembered_refusal_costs_no_probe(exp: Experiment, tmp_path: Path) -> None:
    ends = walked(exp, 8, tmp_path)
    (file,) = tmp_path.glob("*.json")
    file.chmod(0o600)
    file.write_text(json.dumps({"refused": SLOW.refused}))
    together.known.clear()
    assert differences(ends, walked(exp, 8, tmp_path)) == []
    (certificates,) = together.known.values()
    assert (certificates.refused, certificates.compared) == (SLOW.refused, 0)


def plant(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Let groups compute one number wrong, of one learner in one step."""
    honest = RowOptimizer.step

    def planted(self: RowOptimizer, step: int) -> None:
        honest(self, step)
        if step == at:
            self._rows.values[at, 3] += 1e-6

    monkeypatch.setattr(RowOptimizer, "step", planted)


@pytest.mark.parametrize("at", range(3))
def test_a_proof_finds_one_bit(exp: Experiment, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    alone = walked(exp, False)
    plant(monkeypatch, at)
    assert differences(walked(exp, 8), alone) == []
    (certificates,) = together.known.values()
    assert certificates.refused == "its bits differ"


def test_a_remembered_proof_is_not_trusted(
    exp: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = walked(exp, 8, tmp_path)
    together.known.clear()
    plant(monkeypatch, 0)
    assert differences(ends, walked(exp, 8, tmp_path)) == []
    (file,) = tmp_path.glob("*.json")
    assert json.loads(file.read_bytes())["refused"] == "its bits differ"

"""Learners that need not be exact: marked, quicker operations, the same numbers but for their rounding."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fusion_cases import DEVICE, walked
from torch import nn

from paribus import Experiment
from paribus.datasets import digits
from paribus.engine.fusion import together
from paribus.engine.fusion.group import Group
from paribus.interventions import InitWeights

RAW = digits(size=8)
SMALL = {name: torch.utils.data.Subset(split, range(72)) for name, split in RAW.items()}  # 32, 32, 8


def normed() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 30), nn.LayerNorm(30), nn.GELU(), nn.Linear(30, 3), nn.Linear(3, 10)
    )


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Each test proves its groups anew, and sees their programs."""
    together.known.clear()
    written: list[Any] = []
    write = Group.write

    def noted(self: Group) -> None:
        write(self)
        written.append(self.programs[self.shape])

    monkeypatch.setattr(Group, "write", noted)
    yield written
    together.known.clear()


def learners(folder: Path, kind: type[torch.optim.Optimizer], *, exact: bool) -> Experiment:
    return Experiment(
        normed, SMALL, InitWeights.make_variations(seed=range(3)), optimizer=partial(kind, lr=0.01), steps=8,
        store=folder, exact=exact, device=DEVICE,
    )  # fmt: skip


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_what_need_not_be_exact_is_close(
    tmp_path: Path, kind: type[torch.optim.Optimizer], programs: list[Any]
) -> None:
    fast, exact = (learners(tmp_path / str(exact), kind, exact=exact) for exact in (False, True))
    fused, alone = walked(fast, 8), walked(exact, False)
    assert [record.refused for record in together.known.values()] == [None]
    assert not any(program.looped for program in programs)
    keys = zip([learner.key for learner in fast], [learner.key for learner in exact], strict=True)
    for marked, key in keys:
        assert marked != key
        one, two = fused[marked][0], alone[key][0]
        assert one is not None
        assert two is not None
        torch.testing.assert_close(dict(one.tensors), dict(two.tensors), rtol=1e-3, atol=1e-4)


def test_what_must_be_exact_loops_where_bits_differ(tmp_path: Path, programs: list[Any]) -> None:
    walked(learners(tmp_path, torch.optim.SGD, exact=True), 8)
    assert all("aten::native_layer_norm" in program.looped for program in programs)


def test_a_run_says_that_it_need_not_be_exact(tmp_path: Path) -> None:
    exp = learners(tmp_path, torch.optim.SGD, exact=False)
    assert exp.run(progress=False, fuse=8).steps_trained == 24
    assert learners(tmp_path, torch.optim.SGD, exact=False).run(progress=False).cached == 3
    assert learners(tmp_path, torch.optim.SGD, exact=True).plan().steps_to_train == 24

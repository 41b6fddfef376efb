"""A store from a stranger can be opened: nothing in it is ever unpickled."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from learning_cases import experiment, run


def test_nothing_is_unpickled_from_a_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(experiment(folder))

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    again = experiment(folder)
    assert again.plan().cached == len(again)
    assert again.frame().height > 0
    assert again[0].checkpoint().step == again[0].configuration.total
    assert again.explain(0).nearest == again[0].key

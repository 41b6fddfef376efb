"""The page on interventions: its table is whole, its examples are those that run."""

from __future__ import annotations

import inspect
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import paribus.interventions
from paribus.interventions import Intervention

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "interventions.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
EXAMPLE = "own_intervention.py"


def run(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    (folder / "page.py").write_text(text, encoding="utf-8")
    return runpy.run_path(str(folder / "page.py"), run_name="__main__")


def test_the_table_has_every_intervention_with_parameters_that_it_has() -> None:
    rows = dict(re.findall(r"^\| \w+ \| \[?`(\w+)`(?:\]\(\w+\.md\))? \|(.*)$", PAGE, re.MULTILINE))
    members = {name: getattr(paribus.interventions, name) for name in paribus.interventions.__all__}
    public = {
        kind.__name__: kind
        for kind in members.values()
        if inspect.isclass(kind) and issubclass(kind, Intervention) and not inspect.isabstract(kind)
    }
    assert set(public) - set(rows) == set()
    for name, rest in rows.items():
        if name in public:
            parameters = rest.split("|")[1]
            assert set(re.findall(r"`(\w+)`", parameters)) <= set(public[name].__dataclass_fields__), name


def test_the_first_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exp = run(BLOCKS[0], tmp_path, monkeypatch)["exp"]
    exp.run(progress=False)
    assert len(exp) == 12
    assert set(exp.results()["status"]) == {"done"}


def test_the_examples_of_ones_own_are_those_of_the_script_and_short() -> None:
    script = (ROOT / "examples" / EXAMPLE).read_text(encoding="utf-8")
    own = BLOCKS[1:]
    assert len(own) == script.count("Intervention):") == 10
    for block in own:
        assert block in script
        assert len([line for line in block.splitlines() if line.strip()]) <= 10


def test_interventions_of_ones_own_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "examples" / EXAMPLE).read_text(encoding="utf-8")
    for old, new in {"steps=60": "steps=6", "step=20": "step=2", "(0, 20)": "(0, 2)"}.items():
        assert old in text
        text = text.replace(old, new)
    exp = run(text, tmp_path, monkeypatch)["exp"]
    results = exp.results()
    assert set(results["status"]) == {"done"}
    assert results["test/loss"].n_unique() == len(exp) == 24, "each changes something"
    assert "24 learners: 0 cached, 24 to run" in capsys.readouterr().out

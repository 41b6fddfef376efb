"""Code blocks that are no whole script: a page's are run in their order, on the names that it assumes."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DOCS = TESTS.parent / "docs"
STUDY = """
import polars as pl

from learning_cases import POINTS, experiment, run
from paribus.interventions import InitWeights, PerturbWeights, SetOptimizer

noise = PerturbWeights.make_variations(epsilon=0.5)
control = PerturbWeights.make_variations(epsilon=0.0, control=True)
rates = SetOptimizer.make_variations(lr=(0.1, 0.3))
splits = POINTS | {"validation": POINTS["test"]}
exp = experiment("runs", [InitWeights.make_variations(seed=range(3)), rates, noise, control], dataset=splits)
run(exp)
digits = letters = exp
"""
CLUSTER = """
from pathlib import Path
from types import SimpleNamespace

from paribus import Ray

Path("my_package").mkdir()
exp = SimpleNamespace(run=lambda executor: executor)  # there is no cluster here
"""
ASSUMED = {
    "cli.md": "",
    "evidence.md": STUDY,
    "identity.md": "from paribus.models import MLP\nmodel = MLP()",
    "layers.md": "from torch import nn\nmodel = nn.ModuleDict({'blocks': nn.Sequential(nn.ReLU())})",
    "scale.md": CLUSTER,
    "store.md": "key, keys, manifest, environment = '0' * 32, ['0' * 32], '{}', {}",
    "trajectories.md": "from paribus.interventions import InitWeights, InterpolateWeights, PruneRounds",
}


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_every_page_with_code_is_run_by_some_test() -> None:
    others = "".join(test.read_text(encoding="utf-8") for test in TESTS.rglob("test_*.py"))
    coded = [page.name for page in DOCS.glob("*.md") if blocks(page)]
    assert [name for name in coded if name not in ASSUMED and name not in others] == []


@pytest.mark.parametrize("page", sorted(ASSUMED))
def test_the_blocks_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "\n".join([ASSUMED[page], *blocks(DOCS / page)])
    text = text.replace('"report.html", ', '"report.html", metrics=["test/accuracy"], ')  # fewer figures
    text = text.replace("100_000", "100").replace("workers=1000", "workers=10")
    (tmp_path / "page.py").write_text(text, encoding="utf-8")
    runpy.run_path(str(tmp_path / "page.py"))

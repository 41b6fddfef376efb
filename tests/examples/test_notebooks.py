"""Every notebook runs from top to bottom on a real kernel, in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "notebooks"
TOLD = {  # what a reader must have seen, beside what the notebook asserts itself
    "ablation_table": r"\toprule",
    "batch_growth": "equivalent",
    "early_perturbations": "worsens",
    "first_hour": "everything was cached, nothing was trained",
    "optimizer_tuning": "best of 4",
    "residual_blocks": "worsens",
    "seed_variance": "init × order × dropout",
}


@pytest.mark.parametrize("name", TOLD)
def test_a_notebook_runs(name: str, notebooks: Any, tmp_path: Path) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    notebook.cells.insert(0, new_code_cell(f"%reset -f\n%cd -q {tmp_path}"))
    notebooks.nb = notebook
    notebooks.execute(cleanup_kc=False)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    assert TOLD[name] in "".join(map(shown, outputs))
    assert any("image/png" in output.get("data", ()) for output in outputs), "a figure is drawn"
    assert (tmp_path / "runs").is_dir()


def shown(output: Any) -> str:
    return output.get("text", "") + output.get("data", {}).get("text/html", "")


def test_notebooks_are_listed_and_hold_no_outputs() -> None:
    page = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(TOLD)
    for name in TOLD:
        assert f"../examples/notebooks/{name}.ipynb" in page
        notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        nbformat.validate(notebook)
        for cell in notebook.cells:
            assert not cell.get("outputs")
            assert cell.get("execution_count") is None

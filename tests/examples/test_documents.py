from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from paribus import Executor, Experiment, Logger
from paribus.datasets import digits
from paribus.interventions import InitWeights, WeightsIntervention
from paribus.models import MLP

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", *(f"docs/{page.name}" for page in sorted(ROOT.glob("docs/*.md"))))


@pytest.fixture
def names(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the Python blocks of a page as one script in an empty folder."""
    monkeypatch.chdir(tmp_path)
    text = "\n".join(blocks((ROOT / request.param).read_text(encoding="utf-8")))
    text = text.replace('"joblib"', '"serial"').replace('.save("figures/")', '.save("figures/", ("png",))')
    text = text.replace('"report.html", ', '"report.html", metrics=["test/accuracy"], ')  # fewer figures
    if request.param != "docs/tutorial.md":  # which shows what it prints
        text = re.sub("epochs=5|steps=300", "steps=3", text).replace("step=100)", "step=2)")
    (tmp_path / "page.py").write_text(text, encoding="utf-8")
    return runpy.run_path(str(tmp_path / "page.py"))


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_the_tests_that_the_architecture_names_exist() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)(…?)`", page))
    assert [name for name, more in named if f"def {name}" + ("" if more else "(") not in text] == []


@pytest.mark.parametrize("names", ["README.md"], indirect=True)
def test_the_readmes_study_runs(names: dict[str, Any], tmp_path: Path) -> None:
    assert set(names["exp"].results()["status"]) == {"done"}
    assert (tmp_path / "figures" / "curves-test-loss.png").exists()
    assert (tmp_path / "loss.csv").exists()


@pytest.mark.parametrize("names", ["CONTRIBUTING.md"], indirect=True)
def test_what_contributing_shows_how_to_add_works(names: dict[str, Any], tmp_path: Path) -> None:
    scale: type[WeightsIntervention] = names["ScaleWeights"]
    logger: Logger = names["Norms"]()
    executor: Executor = names["InThread"]()

    def experiment(store: str) -> Experiment:
        variations = scale.make_variations(factor=(1.0, 0.5), step=(0, 2))
        interventions = [InitWeights.make_variations(seed=range(2)), variations]
        return Experiment(
            MLP(inputs=64), digits(size=8), interventions, steps=4, logger=logger, store=tmp_path / store
        )

    exp, reference = experiment("own"), experiment("reference")
    assert len(exp) == 2 * 3
    assert exp.run(executor=executor, progress=False).steps_trained == 2 * (4 + 4 + 2)
    reference.run(progress=False)
    assert exp.frame().equals(reference.frame())
    assert exp.frame()["weight_norm/fc1.weight"].null_count() == 0
    assert exp.frame()["test/confidence"].is_between(0.1, 1.0).all()


@pytest.mark.parametrize("names", ["docs/logging.md"], indirect=True)
def test_what_the_page_on_logging_shows_works(names: dict[str, Any], tmp_path: Path) -> None:
    frame = names["exp"].frame()
    recorded = ("norms/fc1.weight", "weights/counts", "train/confidence", "test/errors", "arrived")
    assert all(frame[name].count() > 0 for name in recorded)
    assert (tmp_path / "out" / "csv" / "metrics.csv").exists()
    assert list((tmp_path / "out" / "tensorboard").glob("*/*tfevents*"))


@pytest.mark.parametrize("names", ["docs/features.md"], indirect=True)
def test_what_the_page_on_features_shows_works(names: dict[str, Any], tmp_path: Path) -> None:
    assert set(names["exp"].results()["status"]) == {"done"}
    kept = names["KeepEvery"].make_variations(stride=(1, 3))
    exp = Experiment(MLP(inputs=64), digits(size=8), kept, steps=1, store=tmp_path / "kept")
    assert [learner.configuration.samples for learner in exp] == [1437, 479]
    assert not exp.run(progress=False).failed


@pytest.mark.parametrize("names", ["docs/index.md"], indirect=True)
def test_the_first_page_of_the_site_runs(names: dict[str, Any]) -> None:
    assert set(names["exp"].results()["status"]) == {"done"}


@pytest.mark.parametrize("names", ["docs/tutorial.md"], indirect=True)
def test_the_tutorial_runs_and_finds_what_it_tells(names: dict[str, Any], tmp_path: Path) -> None:
    at_zero, at_most = names["few"].frame["verdict"]
    assert at_zero == "worsens"
    assert at_most.startswith("inconclusive")
    assert names["many"].frame["verdict"].to_list() == ["worsens", "worsens", "improves"]
    assert names["second"].steps_trained == names["late"].steps_trained == 0
    page = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    assert str(names["longer"]) in page
    assert str(names["second"]).splitlines()[0] in page
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("names", ["docs/own_training.md"], indirect=True)
def test_what_the_page_on_own_training_shows_works(names: dict[str, Any]) -> None:
    assert set(names["exp"].results()["status"]) == {"done"}
    assert names["exp"].frame()["batch_loss"].count() == 6 * 3

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

# As they stand in "Experiments on Training", without blanks at the ends of lines.
PERTURBATION = """
    model=Lenet5(),
    dataset=dataset,
    interventions=[
        PerturbWeights.make_variations(
            epsilon=0,
            seed=0,
            control=True
        ),
        PerturbWeights.make_variations(
            epsilon=(0.001, 0.01, 0.1),
            seed=range(10)
        )
    ]
)
"""
OPTIMIZERS = """
exp = Experiment(
    model=Lenet5(),
    dataset=dataset,
    interventions=[
        InitWeightsIntervention.make_variations(
            seed=range(10)
        ),
        OptimizerIntervention.make_variations(
            optimizers=(torch.optim.SGD, torch.optim.Adam),
            lr=(0.001, 0.01, 0.1),
        )
    ],
)
"""
WINDOWS = """
exp = Experiment(
    model=Lenet5(),
    dataset=dataset,
    interventions=[
        InitWeightsIntervention.make_variations(
            seed=range(10)
        ),
        OptimizerIntervention.make_variations(
            momentum=(0.9, 0.99, 0.999),
        ),
        PerturbMomentumIntervention.make_variations(
            momentum=lambda m: (m * (1 + epsilon) for epsilon in (0.001, -0.001, 0.01, -0.01, 0.1, -0.1)),
            when=((0, 100), (1000, 1100), (5000, 5100)),
        )
    ],
)
"""
LOGGER = """
class CustomLogger(Logger):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)

    @register_metric
    def weight_norm(self, learner):
        return torch.norm(learner.model.fc1.weight)

    @register_metric
    def weight_space_distance(self, learner):
        return torch.dist(learner.model.fc1.weight, learner.model.fc2.weight)
"""

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run an example as a script in an empty folder, with options, and with parts of its text replaced."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)

    def script(name: str, *options: str, replacing: dict[str, str] | None = None) -> dict[str, Any]:
        text = (EXAMPLES / name).read_text(encoding="utf-8")
        for old, new in (replacing or {}).items():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / name).write_text(text, encoding="utf-8")
        monkeypatch.setattr("sys.argv", [name, *options])
        return runpy.run_path(str(tmp_path / name))

    return script


SMALL_MODEL = {"LeNet5 as Lenet5": "MLP as Lenet5"}
EARLY_WINDOWS = {"(0, 100), (1000, 1100), (5000, 5100)": "(0, 1), (2, 3), (5, 6)"}


@pytest.mark.parametrize(
    ("name", "snippet"),
    [
        ("weight_perturbation.py", PERTURBATION),
        ("optimizers.py", OPTIMIZERS),
        ("momentum_windows.py", WINDOWS),
        ("custom_logger.py", LOGGER),
    ],
)
def test_the_origins_snippets_stand_unchanged(name: str, snippet: str) -> None:
    assert snippet in (EXAMPLES / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("weight_perturbation.py", ["30 learners and 1 control: 0 cached"]),
        ("optimizers.py", ["60 learners: 0 cached"]),
        ("momentum_windows.py", ["540 learners: 0 cached", "54 learners: 0 cached"]),
    ],
)
def test_the_origins_snippets_count_exactly(
    name: str, counts: list[str], run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(name, "--plan")
    assert re.findall(r"^\d+ learners.*cached", capsys.readouterr().out, re.MULTILINE) == counts


def test_weight_perturbation_trains_and_compares(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    results = run("weight_perturbation.py", "--steps", "2", replacing=SMALL_MODEL)["exp"].results()
    assert results["status"].to_list() == ["done"] * 31
    assert "Paired effects on test/accuracy" in capsys.readouterr().out


def test_optimizers_train(run: Run) -> None:
    results = run("optimizers.py", "--steps", "2", replacing=SMALL_MODEL)["exp"].results()
    assert results["status"].to_list() == ["done"] * 60
    assert results["SetOptimizer.optimizer"].unique().sort().to_list() == ["Adam", "SGD"]


def test_momentum_windows_put_back_finds_54_of_540_cached(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    names = run(
        "momentum_windows.py",
        "--steps=7",
        "--executor=serial",
        replacing=SMALL_MODEL | EARLY_WINDOWS,
    )
    assert "540 learners: 54 cached, 486 to run" in capsys.readouterr().out
    results = names["fewer"].results()
    fast = results.filter(results["PerturbMomentum.momentum"] >= 1)
    assert (results.height, fast.height) == (54, 9)
    assert set(fast["status"]) <= {"done", "diverged"}


def test_custom_metrics_are_read_back(run: Run) -> None:
    frame = run("custom_logger.py")["exp"].frame()
    assert (frame["weight_norm"] > 0).all()
    assert (frame["weight_space_distance"] > 0).all()


def test_regression_is_compared_by_its_loss(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("regression.py", replacing={"epochs=100": "epochs=2"})
    assert "Paired effects on test/loss" in capsys.readouterr().out


def test_an_objective_of_ones_own_is_minimised(run: Run) -> None:
    frame = run("own_objective.py")["exp"].frame()
    ends = frame.group_by("learner", maintain_order=True).agg(
        first=frame["test/loss"].first(), last=frame["test/loss"].last()
    )
    assert (ends["last"] < ends["first"]).all()


def test_quickstart_trains_once_and_draws(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shorter = {"steps=300": "steps=30", "(0, 100, 200, 280)": "(0, 10, 20, 28)"}
    run("quickstart.py", replacing=shorter)
    assert "32 learners and 8 controls: 0 cached, 40 to run" in capsys.readouterr().out
    run("quickstart.py", replacing=shorter)
    told = capsys.readouterr().out
    assert "everything was cached" in told
    for name in ("quickstart-curves", "quickstart-effects"):
        assert f"figures/{name}.png" in told
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 0
        assert (tmp_path / "figures" / f"{name}.csv").stat().st_size > 0


def test_loco_finds_what_was_planted(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    names = run("loco.py", "--seeds=2", "--epochs=3")
    told = capsys.readouterr().out
    assert "28 learners: 0 cached, 28 to run" in told
    effects = names["exp"].compare("test/loss").frame
    worst = effects.sort("difference", descending=True).row(0, named=True)
    assert worst["AblateFeatures.features"] == "sex"
    used = names["used"].group_by("feature").agg(loss=names["pl"].col("loss_increase").mean())
    assert used.sort("loss", descending=True)["feature"][0] == "sex"
    assert told.count("in_features=6, out_features=64") == 3, "the base and the two printed models"
    assert "(4): Linear(in_features=64, out_features=32" in told
    assert "(6): Linear(in_features=64, out_features=2" in told


def test_own_training_is_compared(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    text = {'if __name__ == "__main__":': "if True:", "range(5)": "range(2)", "epochs=4": "steps=20"}
    exp = run("own_training.py", replacing=text)["exp"]
    assert exp.frame()["batch_loss"].count() == 4 * 2
    assert "Paired effects on test/accuracy" in capsys.readouterr().out


def test_lightning_trains_a_study(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    text = {'if __name__ == "__main__":': "if True:", "range(3)": "range(2)", "epochs=3": "steps=50"}
    frame = run("lightning_module.py", replacing=text)["exp"].frame()
    assert set(frame["status"]) == {"done"}
    assert frame["batch_loss"].count() == 4 * 50, "in two epochs, the second not whole"
    assert "Paired effects on test/loss" in capsys.readouterr().out
    run("lightning_module.py", replacing=text)
    assert "everything was cached" in capsys.readouterr().out

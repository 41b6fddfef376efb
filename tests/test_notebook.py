"""What notebooks show: a small page for each public object, and figures that stay in their places."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from IPython.utils.capture import capture_output
from torch import nn

from learning_cases import experiment, forked, run
from paribus import Logger, register_metric
from paribus.engine.building.work import Outcome
from paribus.engine.planning.explain import Explanation
from paribus.engine.running.run import Summary
from paribus.errors import AnalysisError
from paribus.interventions import InitWeights, PerturbMomentum
from paribus.loggers import first_when
from paribus.plotting import drawing
from paribus.plotting.drawing import InPlace, choose_drawing

EVIL = "<script>alert('&')</script>"
VOID = {"img", "br"}
LARGEST = 6000  # characters, pictures apart


class Reader(HTMLParser):
    """Checks that elements are closed in order, and gathers their text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(thing: Any) -> str:
    """The text of what a notebook shows of a thing, checked."""
    page = thing._repr_html_()
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open
    assert "script" not in reader.seen
    if "img" not in reader.seen:
        assert len(page) < LARGEST
        assert "color" not in page, "the notebook's own colours, light or dark"
        assert "background" not in page
    return reader.text


class Many(Logger):
    @register_metric(stream="test", on="end")
    def streamed(self, learner: Any, batches: Any) -> int:
        return sum(1 for _ in batches)

    @register_metric(schedule=first_when(lambda learner: learner.step > 2))
    def late(self, learner: Any) -> int:
        return learner.step

    @register_metric(pair="control")
    def compared(self, learner: Any, other: Any) -> float:
        return 0.0


class Evil(nn.Module):
    """Fails with what must not reach a page as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(EVIL)


def test_every_public_object_has_a_small_page(folder: Path) -> None:
    exp = experiment(folder, forked())
    summary = run(exp)
    assert "12 learners" in shown(exp) or f"{len(exp)} learners" in shown(exp)
    assert "cached" in shown(exp.plan())
    assert "trained" in shown(summary)
    assert exp[1].key in shown(exp[1])
    assert "PerturbMomentum.momentum" in shown(exp[1])
    assert "MLP" in shown(exp[1].checkpoint())
    assert "SGD" in shown(exp[1].checkpoint(3))
    assert "stored" in shown(exp.explain(0))
    assert "mean" in shown(exp.compare("test/loss"))
    assert "img" in exp.plot("test/loss")._repr_html_()
    assert shown(exp.plot("test/loss"))


def test_designs_and_loggers_are_told() -> None:
    one = PerturbMomentum(0.5, when=(0, 2))
    many = InitWeights.make_variations(seed=range(3))
    assert shown(one) == "PerturbMomentummomentum0.5when(0, 2)"
    assert "0, 1, 2" in shown(many)
    assert "Variations of InitWeights" in shown(many)
    assert "PerturbMomentum" in shown(one + many)
    assert "PerturbMomentum" in shown(one * many)
    assert "<lambda>" in shown(PerturbMomentum.make_variations(momentum=lambda m: [m], when=(0, 2)))
    told = shown(Many())
    for word in ("Many", "accuracy", "each split", "the batches of test", "FirstWhen", "its control"):
        assert word in told


def test_what_users_write_is_escaped(folder: Path) -> None:
    exp = experiment(folder, model=Evil())
    summary = run(exp)
    assert EVIL in shown(summary)
    assert EVIL in shown(exp[0])
    assert EVIL in shown(Explanation("a" * 32, "b" * 32, (EVIL,)))
    assert EVIL in shown(Summary(1, 0, 0, (), 0, 0, 0, 0, 1.0, broken=(("metric", EVIL),)))


def test_in_a_notebook_figures_are_redrawn_in_place_and_no_file_is_written(
    shell: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(drawing, "_SHARE", 1e9)
    exp = experiment(folder, InitWeights.make_variations(seed=range(2)))
    with capture_output() as captured:
        summary = exp.run(plot=True, progress=False, figures=tmp_path / "figures")
    ids = [output.transient["display_id"] for output in captured.outputs]
    assert len(ids) > len(set(ids)) > 0
    assert [bool(output.update) for output in captured.outputs] == [
        ids.index(i) < at for at, i in enumerate(ids)
    ]
    assert all("image/png" in output.data for output in captured.outputs)
    assert summary.files == ()
    assert not (tmp_path / "figures").exists()


LIVE = """
from unittest.mock import patch

from paribus import Experiment, Logger, register_metric
from paribus.datasets import digits
from paribus.interventions import InitWeights
from paribus.models import MLP
from paribus.plotting import drawing


class Norm(Logger):
    @register_metric
    def norm(self, learner):
        return learner.model.fc1.weight.norm()


seeds = InitWeights.make_variations(seed=range(2))
exp = Experiment(MLP(64, (4,)), digits(size=8), seeds, steps=2, logger=Norm(defaults=False), store="live")
with patch.multiple(drawing, _LEAST_SECONDS=0.0, _SHARE=1e9):
    summary = exp.run(plot=True)
summary
"""


def test_in_a_real_kernel_line_and_figures_are_updated_in_place(notebooks: Any, tmp_path: Path) -> None:
    sent: list[Any] = []
    kernel = notebooks.km.blocking_client()
    kernel.start_channels()
    try:
        kernel.wait_for_ready(timeout=300)
        cell = f"%cd -q {tmp_path}\n{LIVE}"
        reply = kernel.execute_interactive(cell, output_hook=sent.append, timeout=600)
        again: list[Any] = []
        kernel.execute_interactive("summary", output_hook=again.append, timeout=600)
    finally:
        kernel.stop_channels()
    assert reply["content"]["status"] == "ok"
    assert not [message for message in sent if message["msg_type"] in ("stream", "execute_result")]
    places: dict[str, list[Any]] = {}
    told = []
    for message in sent:
        if message["msg_type"] in ("display_data", "update_display_data"):
            place = message["content"]["transient"].get("display_id")
            (told if place is None else places.setdefault(place, [])).append(message)
    texts = [message["content"]["data"]["text/plain"] for message in told]
    assert len(texts) == 1, "the summary is told by the run, and not again as the cell's last expression"
    assert "2 learners: 0 cached, 2 trained" in texts[0]
    assert [m["content"]["data"]["text/plain"] for m in again if m["msg_type"] == "display_data"] == texts
    for messages in places.values():
        kinds = [message["msg_type"] for message in messages]
        assert kinds == ["display_data"] + ["update_display_data"] * (len(kinds) - 1)
        assert len(kinds) > 1
    line, *figures = ([message["content"]["data"] for message in messages] for messages in places.values())
    assert "0/2 learners" in line[0]["text/html"]
    assert "2/2 learners" in line[-1]["text/html"]
    assert all("<progress" in data["text/html"] for data in line)
    assert figures
    assert all("image/png" in data for figure in figures for data in figure)
    assert not (tmp_path / "figures").exists()


def test_outside_a_notebook_figures_are_files(folder: Path, tmp_path: Path) -> None:
    exp = experiment(folder)
    summary = run(exp, plot=True, figures=tmp_path / "figures")
    assert summary.files
    assert all(Path(file).exists() for file in summary.files)


def test_drawing_takes_its_share_of_the_time_and_waits_for_what_can_be_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, calls = 0.0, []

    def draw() -> list[Any]:
        nonlocal now
        calls.append(now)
        now += 3.0
        raise AnalysisError("nothing was recorded")

    monkeypatch.setattr("time.monotonic", lambda: now)
    live = InPlace(draw)
    for moment in (1.0, 2.0, 6.0, 34.0, 35.0, 36.0):
        now = max(now, moment)
        live.settled(Outcome("a" * 32, "done", 1, {}))
    assert calls == [2.0, 35.0], "three seconds of drawing, thirty without"
    with pytest.raises(AnalysisError):
        live.finish()


def test_a_place_to_draw_is_chosen(tmp_path: Path) -> None:
    assert not isinstance(choose_drawing(list, tmp_path), InPlace)

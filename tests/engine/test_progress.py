"""How far a run is: what is counted, where it is shown, and that workers tell it too."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from IPython.utils.capture import capture_output
from rich.console import Console

from learning_cases import FailsFrom, Stochastic, experiment, forked, run
from paribus.engine.building.work import Outcome
from paribus.engine.showing import notebook, progress, views
from paribus.engine.showing.notebook import Place, in_notebook
from paribus.engine.showing.progress import Meter, metered
from paribus.engine.showing.standing import Standing, Tally
from paribus.engine.showing.views import Log, Notebook, Notice, Terminal, View, notices
from paribus.interventions import InitWeights, PerturbWeights

STANDING = Standing(12, 3, 4, 1, 500, 2000, 8000, 10.0, 50.0, 30.0, 7, 0.25)
LINE = (
    "3/8 learners · 4 cached · 1 failed · 500/2,000 steps · 8,000 saved · 50 steps/s · 30 s left · "
    "learner 7: loss 0.25"
)


@dataclass
class Recorded(View):
    """A view that keeps what it was shown."""

    shown: list[Standing] = field(default_factory=list)
    interval = 0.0

    def show(self, standing: Standing) -> None:
        self.shown.append(standing)

    def close(self, standing: Standing) -> None:
        self.shown.append(standing)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """What a run shows."""
    view = Recorded()
    monkeypatch.setattr(progress, "_view", lambda: view)
    return view


def test_one_line_tells_it_all() -> None:
    assert str(STANDING) == LINE
    assert str(Standing(2, 0, 0, 0, 0, 10, 0, 0.0)) == "0/2 learners · 0/10 steps"


@pytest.mark.parametrize("executor", ["serial", "local"])
def test_a_run_is_counted_from_nothing_to_everything(executor: str, folder: Path, watched: Recorded) -> None:
    exp = experiment(folder, forked())
    plan = exp.plan()
    exp.run(executor, **({"workers": 1} if executor == "local" else {}))
    first, last = watched.shown[0], watched.shown[-1]
    assert (first.learners, first.done, first.steps, first.cached) == (len(exp), 0, 0, 0)
    assert (last.done, last.steps, last.total) == (len(exp), plan.steps_to_train, plan.steps_to_train)
    assert last.saved == plan.steps_asked - plan.steps_to_train > 0
    assert last.left == 0
    steps = [standing.steps for standing in watched.shown]
    assert steps == sorted(steps)


def test_cached_and_extended_learners_are_counted(folder: Path, watched: Recorded) -> None:
    run(experiment(folder, InitWeights.make_variations(seed=range(2))))
    experiment(folder, InitWeights.make_variations(seed=range(3))).run()
    assert (watched.shown[-1].cached, watched.shown[-1].done) == (2, 1)


def test_what_fails_is_counted_and_what_it_blocks(folder: Path, watched: Recorded) -> None:
    levels = [InitWeights.make_variations(seed=range(8)), PerturbWeights.make_variations(epsilon=0.1, step=3)]
    exp = experiment(folder, levels, model=FailsFrom())
    summary = exp.run()
    last = watched.shown[-1]
    assert last.failed == len(summary.failed) > 0
    assert last.failed + last.done == len(exp)
    assert last.steps == last.total


def test_a_task_that_goes_back_is_not_counted_twice(folder: Path) -> None:
    plan = experiment(folder).plan()
    tally, key = Tally(plan), plan.tasks()[0].key
    for step in (4, 2, 5):
        tally.reached(key, step, 0.5)
        assert tally.standing(1.0).steps == step
    assert (tally.standing(2.0).learner, tally.standing(2.0).loss, tally.standing(2.0).rate) == (0, 0.5, 2.5)
    assert tally.standing(5.0).left == 1.0
    tally.settled(Outcome(key, "done", 6, {}))
    tally.reached(key, 3, 0.5)
    tally.settled(Outcome(key, "done", 6, {}))
    tally.reached("unknown", 3, 0.5)
    assert (tally.standing(1.0).steps, tally.standing(1.0).done) == (6, 1)


def test_a_worker_tells_of_the_learner_in_training(
    folder: Path, watched: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress.Meter, "settled", lambda self, outcome: None)
    # Long enough for a first word, which comes a tenth of a second after the beginning.
    experiment(folder, InitWeights.make_variations(seed=(4,)), model=Stochastic(), steps=600).run(
        "local", workers=1
    )
    told = [standing for standing in watched.shown if standing.learner is not None]
    assert any(0 < standing.steps < 600 for standing in told)
    assert all(standing.loss is not None and standing.loss > 0 for standing in told)


def test_views_are_shown_as_often_as_they_ask_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Recorded):
        interval = 10.0
        at_once = False

    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    quick, slow = Recorded(), Slow()
    meter = Meter(experiment(folder).plan(), [quick, slow])
    for now in (101.0, 109.0, 110.0, 111.0, 121.0):  # noqa: B007  # read by the clock
        meter.reached("", 1, 0.5)
    assert len(quick.shown) == 6
    assert [standing.seconds for standing in slow.shown] == [10.0, 21.0]


def test_a_log_has_a_line_of_its_own_and_no_last_one() -> None:
    stream = io.StringIO()
    log = Log(stream)
    log.show(STANDING)
    log.close(STANDING)
    assert stream.getvalue() == LINE + "\n"
    assert (Log.interval, Log.at_once) == (10.0, False)


def test_a_terminal_has_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=200)
    monkeypatch.setattr(views, "Console", lambda **_: console)
    terminal = Terminal()
    terminal.show(replace(STANDING, failed=0))
    terminal.close(STANDING)
    assert LINE in stream.getvalue()
    assert "[" in stream.getvalue().replace(LINE, ""), "drawn over, by escape sequences"


def test_a_notebooks_line_is_updated_in_place(shell: Any) -> None:
    assert in_notebook()
    with capture_output() as captured:
        view = Notebook()
        view.show(replace(STANDING, steps=0))
        view.close(STANDING)
    first, second = captured.outputs
    assert "<progress" in first.data["text/html"]
    assert LINE in second.data["text/html"]
    assert second.data["text/plain"] == LINE
    assert second.update
    assert first.transient == second.transient


def test_what_is_shown_in_a_place_replaces_what_was(shell: Any) -> None:
    with capture_output() as captured:
        places = Place(), Place()
        for thing in ("one", "two"):
            for place in places:
                place.show(thing)
    ids = [output.transient["display_id"] for output in captured.outputs]
    assert ids[:2] == ids[2:]
    assert ids[0] != ids[1]


def test_without_ipython_there_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not in_notebook()
    monkeypatch.setattr(notebook.sys, "modules", {})
    assert not in_notebook()


def test_a_run_tells_others_how_far_it_is_and_takes_the_notice_away(folder: Path) -> None:
    exp = experiment(folder)
    with metered(exp.plan(), folder, shown=False) as meter:
        (standing,) = notices(folder).values()
        assert (standing.learners, standing.steps) == (1, 0)
        assert meter
    assert notices(folder) == {}


def test_notices_that_cannot_be_read_or_written_matter_to_nobody(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a.json").write_text("{")
    (tmp_path / "runs" / "b.json").write_text(json.dumps({"another": "version"}))
    assert notices(tmp_path) == {}
    (tmp_path / "file").write_text("")
    notice = Notice(tmp_path / "file")
    notice.show(STANDING)
    notice.close(STANDING)


def test_an_interrupt_is_told_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exp = experiment(folder)
    with pytest.raises(KeyboardInterrupt), metered(exp.plan(), folder, shown=True):
        raise KeyboardInterrupt
    assert "interrupted: what was finished is stored" in capsys.readouterr().err

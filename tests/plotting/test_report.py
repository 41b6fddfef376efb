"""The report: one file with everything in it, equal when made again, and readable in a browser."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from learning_cases import POINTS, QUIET, FailsFrom, experiment, run
from paribus import Experiment, Logger, leave_one_out, pairs, register_metric
from paribus.errors import AnalysisError
from paribus.interventions import InitWeights, PerturbMomentum, PerturbWeights, SetOptimizer
from paribus.loggers import distance

HOSTILE = "<script>alert('&amp;')</script>\"onload='x"
SEEDS = InitWeights.make_variations(seed=range(4))
NOISE = PerturbWeights.make_variations(epsilon=1.5)
CONTROL = PerturbWeights.make_variations(epsilon=0.0, control=True)
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """What a page holds: elements with their attributes, and its text; each element must be closed."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str, of: str = "") -> list[str]:
        return [attrs[name] for tag, attrs in self.elements if name in attrs and of in ("", tag)]

    def file(self, name: str) -> str:
        data = next(attrs["href"] for _, attrs in self.elements if attrs.get("download") == name)
        return base64.b64decode(data.partition(",")[2]).decode()


def lossy(store: Path) -> Experiment:
    rates = SetOptimizer.make_variations(lr=(0.1, 0.3, 1e30))
    return experiment(store, [SEEDS, rates, NOISE, CONTROL], model=FailsFrom())


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Some learners fail, some diverge."""
    exp = lossy(tmp_path_factory.mktemp("report"))
    run(exp)
    assert {"done", "diverged", "failed"} == set(exp.results()["status"])
    return exp


@pytest.fixture(scope="module")
def file(study: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study.report(tmp_path_factory.mktemp("page") / "report.html", question="Does noise hurt?")


@pytest.fixture(scope="module")
def page(file: Path) -> Page:
    return Page(file)


def test_made_again_it_has_the_same_bytes(study: Experiment, file: Path, tmp_path: Path) -> None:
    again = lossy(study.store.path).report(tmp_path, question="Does noise hurt?")
    assert again == tmp_path / "report.html"
    assert again.read_bytes() == file.read_bytes()


def test_it_names_no_outside_address(page: Page, file: Path) -> None:
    for _, attributes in page.elements:
        for name in ("href", "src", "srcset", "action", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    written = re.sub(r"base64,[\w+/=]+", "", file.read_text(encoding="utf-8"))
    assert not re.search(r"https?:|url\(|@import|[\"'(]//", written)
    assert "default-src 'none'" in page.values("content", "meta")[0]


def test_ids_are_unique_and_each_link_leads_to_one(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    inside = [address[1:] for address in page.values("href", "a") if address.startswith("#")]
    assert {*inside, *page.values("aria-labelledby")} <= set(ids)


def test_each_verdict_is_linked_to_its_row(study: Experiment, page: Page, file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    links = re.findall(r'<li class="\w+"><a href="#([\w-]+)">', text)
    verdicts = study.compare("test/accuracy").frame["verdict"].to_list()
    assert len(links) == len(verdicts)
    for link, verdict in zip(links, verdicts, strict=True):
        row = re.search(f'<tr id="{link}">(.*?)</tr>', text)
        assert row is not None
        assert verdict in row[1]


def test_failed_and_diverged_learners_are_listed(study: Experiment, page: Page) -> None:
    lost = study.results().filter(pl.col("status") != "done")
    rows = [name for name in page.values("id") if re.fullmatch(r"failed-\d+", name)]
    assert len(rows) == lost.height
    assert all(page.text.count(key) >= 2 for key in lost["key"]), "in the failures and in the data"
    assert "RuntimeError: this one cannot be trained" in page.text
    assert "Traceback (most recent call last)" in page.text


def test_it_tells_where_the_numbers_come_from(study: Experiment, page: Page) -> None:
    configuration = study[0].configuration
    for found in configuration.fingerprints().values():
        assert found.digest.hex() in page.text
    plan = study.plan()
    assert f"{plan.steps_asked:,} steps asked, {plan.steps_distinct:,} distinct" in page.text
    assert "init: 4 values" in page.text
    assert "torch" in page.text


def test_steps_saved_by_sharing_are_told(folder: Path, tmp_path: Path) -> None:
    exp = experiment(folder, [SEEDS, CONTROL, PerturbWeights(epsilon=0.5, step=3)])
    run(exp)
    assert "48 steps asked, 36 distinct: 12 saved by sharing" in Page(exp.report(tmp_path)).text


def test_the_data_is_in_it(study: Experiment, page: Page) -> None:
    assert page.file("results.csv") == study.results().write_csv()
    rows = json.loads(page.file("results.json"))
    assert [row["key"] for row in rows] == study.results()["key"].to_list()
    assert page.file("compare-test-accuracy.csv") == study.compare("test/accuracy").frame.write_csv()


def test_figures_have_their_captions_as_text_for_those_who_do_not_see(study: Experiment, page: Page) -> None:
    captions = page.values("alt", "img")
    assert study.plot("test/accuracy", "effects").caption in captions
    assert study.plot("train/loss").caption in captions
    assert all(captions)


def test_what_the_user_wrote_is_escaped(study: Experiment, tmp_path: Path) -> None:
    labels = {"SetOptimizer.lr": HOSTILE, "test/loss": HOSTILE}
    found = study.report(tmp_path, question=HOSTILE, labels=labels, metrics=["test/loss"])
    page = Page(found)
    assert page.text.count(HOSTILE) > 5
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_metrics_and_options_reach_the_tables(study: Experiment, tmp_path: Path) -> None:
    page = Page(study.report(tmp_path, metrics=["test/loss", "train/loss"], margin=0.5))
    assert page.text.count("Equivalent: within ±0.5 by two one-sided tests.") == 4, "tables and figures"
    assert len(page.values("id")) == len(set(page.values("id")))
    with pytest.raises(AnalysisError, match="did you mean 'test/loss'"):
        study.report(tmp_path, metrics=["test/los"])


def test_one_learner_without_control(folder: Path, tmp_path: Path) -> None:
    exp = experiment(folder)
    run(exp)
    page = Page(exp.report(tmp_path))
    assert "so there is no verdict" in page.text
    assert "Nothing was varied" in page.text
    assert "Every learner ended well." in page.text


def test_no_declared_control(folder: Path, tmp_path: Path) -> None:
    exp = experiment(folder, [SEEDS, SetOptimizer.make_variations(lr=(0.1, 0.2))])
    run(exp)
    assert "No control declared for SetOptimizer" in Page(exp.report(tmp_path)).text


class Distances(Logger):
    @register_metric(on="end", pair="InitWeights")
    def apart(self, learner, other):
        return distance(learner, other)


@pytest.fixture(scope="module")
def ablation(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """All parts, and all but one; a tuned learning rate; distances between seeds."""
    parts = leave_one_out(PerturbMomentum(momentum=0.3, when=(0, 4)), PerturbWeights(epsilon=0.5, step=2))
    rates = SetOptimizer.make_variations(lr=(0.1, 0.3))
    splits = POINTS | {"validation": POINTS["test"]}
    store = tmp_path_factory.mktemp("ablation")
    exp = experiment(store, [SEEDS, rates, parts], dataset=splits, logger=Distances())
    run(exp)
    return exp


@pytest.fixture(scope="module")
def ablation_file(ablation: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ablation.report(
        tmp_path_factory.mktemp("page"), tuned_over=["SetOptimizer.lr"], pairs_removed=True
    )


def test_parts_tuning_and_pairs_have_their_tables(ablation: Experiment, ablation_file: Path) -> None:
    page = Page(ablation_file)
    left_out = ablation.leave_one_out("test/accuracy")
    assert page.file("leave_one_out-test-accuracy.csv") == left_out.frame.write_csv()
    tuned = ablation.tuned("test/accuracy", over=["SetOptimizer.lr"], by="validation/accuracy")
    assert page.file("tuned-test-accuracy.csv") == tuned.frame.write_csv()
    removed = ablation.leave_one_out("test/accuracy", pairs=True)
    assert page.file("pairs_removed-test-accuracy.csv") == removed.frame.write_csv()
    apart = ablation.plot("apart", "pairs")
    assert page.file("pairs-apart.csv") == apart.table.write_csv()
    assert apart.caption in page.values("alt", "img")
    assert len([name for name in page.values("id") if name.startswith("metric-0-pairs-")]) == 6
    assert "InitWeights.seed of the other" in page.text
    assert all(text in page.text for text in ("Leave-one-out:", "After tuning:", "Metrics of two learners:"))


def test_a_design_of_pairs_has_the_table_of_two_parts_changed(tmp_path: Path) -> None:
    entries = [SetOptimizer(lr=0.3), PerturbWeights(epsilon=0.5, step=2), PerturbMomentum(0.3, when=(0, 4))]
    exp = experiment(tmp_path / "store", pairs(*entries))
    run(exp)
    page = Page(exp.report(tmp_path, metrics=["test/accuracy"]))
    removed = exp.leave_one_out("test/accuracy", pairs=True)
    assert removed.frame.height == 3
    assert page.file("pairs_removed-test-accuracy.csv") == removed.frame.write_csv()
    assert "Two parts changed at once:" in page.text


def test_with_these_tables_too_it_has_the_same_bytes(
    ablation: Experiment, ablation_file: Path, tmp_path: Path
) -> None:
    asked = {"tuned_over": ["SetOptimizer.lr"], "tuned_by": "validation/accuracy", "pairs_removed": True}
    again = ablation.report(tmp_path, **asked)
    assert again.read_bytes() == ablation_file.read_bytes()


def test_what_the_design_lacks_has_no_table(page: Page) -> None:
    assert not any("leave_one_out" in name or "pairs" in name for name in page.values("id"))


def test_tuning_that_cannot_be_told_is_an_error(study: Experiment, tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="validation/accuracy"):
        study.report(tmp_path, tuned_over=["SetOptimizer.lr"])


def fails(model: Any, batch: Any) -> Any:
    raise RuntimeError("never")


def test_no_learner_ended_well(folder: Path, tmp_path: Path) -> None:
    exp = experiment(folder, [SEEDS, NOISE, CONTROL], objective=fails, logger=QUIET)
    run(exp)
    page = Page(exp.report(tmp_path))
    assert "8 learners: 8 failed." in page.text
    assert "No metric was recorded" in page.text
    assert "Traceback of 8 learners: 0, 1, 2, 3, 4, 5, 6, 7" in page.text


def test_nothing_trained_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="no learner was trained; run the experiment first"):
        experiment(folder, SEEDS).report(tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium, where there is one."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    quiet = ("quic", "background-networking", "component-update", "sync", "gpu")
    flags = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=program, args=flags)
        yield chromium
        chromium.close()


WINDOWS = [(1280, 900, "light"), (1280, 900, "dark"), (375, 800, "light"), (375, 800, "dark")]
in_one_window = pytest.mark.parametrize("seen", WINDOWS[:1], indirect=True)  # it does not depend on it


@pytest.fixture(params=WINDOWS)
def seen(browser: Any, file: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    with opened(browser, file, *request.param) as tab:
        yield tab


@contextmanager
def opened(browser: Any, file: Path, width: int, height: int, scheme: str) -> Iterator[Any]:
    """Open a report in a window; it must ask for nothing outside, and complain of nothing."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or complaints.append(asked.url))
    tab.goto(file.as_uri())
    yield tab
    context.close()
    assert complaints == []


def test_in_a_browser_it_fits_and_reads(seen: Any) -> None:
    assert seen.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert seen.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    colour = "(element) => getComputedStyle(element).{}.match(/\\d+/g).slice(0, 3).map(Number)"
    paper = sum(seen.eval_on_selector("body", colour.format("backgroundColor")))
    ink = sum(seen.eval_on_selector("body", colour.format("color")))
    dark = seen.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (paper < 150 and ink > 600) if dark else (paper > 700 and ink < 200)
    assert seen.eval_on_selector(".paper", colour.format("backgroundColor")) == [255, 255, 255]


@pytest.mark.parametrize("window", WINDOWS)
def test_in_a_browser_the_tables_of_parts_and_pairs_fit(
    browser: Any, ablation_file: Path, window: tuple[int, int, str]
) -> None:
    with opened(browser, ablation_file, *window) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for name in ("metric-0-leave_one_out", "metric-0-tuned", "metric-0-pairs"):
            assert tab.locator(f"table[aria-labelledby={name}]").is_visible()


@in_one_window
def test_in_a_browser_a_click_sorts(seen: Any) -> None:
    column = seen.locator("table[aria-labelledby=results] thead th").all_inner_texts()
    place = next(i for i, text in enumerate(column) if text.startswith("test/loss"))
    head = seen.locator("table[aria-labelledby=results] thead th").nth(place)
    cells = f"table[aria-labelledby=results] tbody tr > :nth-child({place + 1})"

    def shown() -> list[float]:
        return [float(text) for text in seen.locator(cells).all_inner_texts() if text[:1].isdigit()]

    before = shown()
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert shown() == sorted(before)
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert shown() == sorted(before, reverse=True)
    assert not seen.locator(cells).last.inner_text()[:1].isdigit(), "what has no value stays last"


def test_in_a_browser_a_verdict_leads_to_its_row(seen: Any) -> None:
    link = seen.locator("#verdicts a").last
    link.click()
    assert seen.locator("tr:target").get_attribute("id") == link.get_attribute("href")[1:]
    top = seen.locator("tr:target").bounding_box()["y"]
    assert 0 < top < seen.viewport_size["height"]


@in_one_window
def test_in_a_browser_the_data_is_saved(seen: Any, study: Experiment) -> None:
    with seen.expect_download() as saved:
        seen.get_by_role("link", name="results.csv").click()
    assert Path(saved.value.path()).read_text(encoding="utf-8") == study.results().write_csv()

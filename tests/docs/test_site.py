"""The site: it is built without a warning, has all its pages and all public names, and needs no network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import paribus
import paribus.interventions

ROOT = Path(__file__).parents[2]
REFERENCE = (
    "paribus",
    "interventions",
    "layers-and-features",
    "designs-and-seeds",
    "loggers",
    "analysis",
    "plotting",
    "store",
    "errors",
    "models-and-data",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as built where warnings are errors."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_of_the_folder_is_in_the_site_and_in_its_menu(site: Path) -> None:
    pages = {str(path.relative_to(ROOT / "docs").with_suffix("")) for path in (ROOT / "docs").rglob("*.md")}
    menu = re.findall(r"[\w/-]+(?=\.md$)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert pages | {"contributing"} == set(menu)
    assert [page for page in menu if not (site / f"{page}.html").exists()] == []


@pytest.mark.parametrize("room", [paribus, paribus.interventions], ids=["paribus", "interventions"])
def test_every_public_name_is_in_the_reference(site: Path, room: Any) -> None:
    pages = "".join((site / f"reference/{page}.html").read_text(encoding="utf-8") for page in REFERENCE)
    described = set(re.findall(rf'id="{re.escape(room.__name__)}\.(\w+)"', pages))
    second = set(re.findall(r"<code>(\w+)</code> is <code>", pages))
    assert set(room.__all__) - described - second == set()


def test_examples_in_docstrings_are_shown_as_code(site: Path) -> None:
    pages = [(site / f"reference/{page}.html").read_text(encoding="utf-8") for page in REFERENCE]
    assert not any(re.search(r"<blockquote>\s*<blockquote>", page) for page in pages)
    assert sum(page.count("&gt;&gt;&gt;") for page in pages) > 50


def test_no_page_names_a_script_style_or_picture_of_another_address(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|link|iframe|source)\b[^>]*?\b(?:src|href)=\"?([^\"\s>]+)", text)
        assert [address for address in loaded if re.match(r"(https?:)?//", address)] == [], page


def test_no_style_fetches_anything_from_another_address(site: Path) -> None:
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style


@contextmanager
def opened(page: Path, width: int, scheme: str) -> Iterator[Any]:
    """Open a page from the folder in a real Chromium; it must ask for nothing outside, and not complain."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    flags = ["--no-sandbox", "--no-first-run", "--disable-gpu", "--disable-background-networking"]
    complaints: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=flags)
        tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        inside = ("file:", "data:", "blob:", "about:")
        tab.on("request", lambda asked: asked.url.startswith(inside) or complaints.append(asked.url))
        tab.goto(page.as_uri())
        yield tab
        browser.close()
    assert complaints == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
def test_in_a_browser_pages_fit_and_follow_the_readers_colours(site: Path, width: int, scheme: str) -> None:
    with opened(site / "comparison.html", width, scheme) as tab:
        for page in ("index", "tutorial", "reference/paribus", "interventions"):
            tab.goto((site / f"{page}.html").as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), page
        expected = "slate" if scheme == "dark" else "default"
        assert tab.locator("body").get_attribute("data-md-color-scheme") == expected


def test_in_a_browser_the_search_works_from_a_folder(site: Path) -> None:
    with opened(site / "reference" / "paribus.html", 1280, "light") as tab:
        tab.locator(".md-search__input").click()
        tab.keyboard.type("PerturbWeights")
        found = tab.locator(".md-search-result__item")
        found.first.wait_for()
        assert "PerturbWeights" in found.first.inner_text()

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from analysis_cases import (
    ACCURACY,
    EPSILON,
    INIT,
    INITS,
    MOMENTUM,
    OPTIMIZER,
    PLAIN_PERTURB,
    learners,
    paired,
)
from rich.console import Console

from paribus.analysis import Table, compare
from paribus.analysis.wording import interval_text, level_text, number, p_text, short_names, spread_text


@pytest.fixture
def effects() -> Table:
    return compare(paired([-0.05, 0.0], 8, np.random.default_rng(0)), ACCURACY, [INITS, PLAIN_PERTURB])


@pytest.fixture
def two_factors() -> Table:
    cells = [(m, e, s) for m in (0.9, 0.99) for e in (0.0, 0.1) for s in range(3)]
    results = learners({MOMENTUM: m, EPSILON: e, INIT: s, ACCURACY: m - e * s} for m, e, s in cells)
    return compare(results, ACCURACY, [OPTIMIZER, PLAIN_PERTURB, INITS])


def test_the_terminal_shows_what_matters_in_118_columns(effects: Table) -> None:
    text = str(effects)
    assert max(map(len, text.splitlines())) <= 118
    for words in ("epsilon", "mean ± sd", "difference [95%]", "worsens", "inconclusive (", "Holm"):
        assert words in text
    assert re.search(r"-0\.05\d+ \[-0\.\d+, -0\.\d+\]", text)


def test_factors_stand_under_headings(two_factors: Table) -> None:
    lines = str(two_factors).splitlines()
    assert "SetOptimizer against momentum = 0.9" in lines
    assert "PerturbWeights against epsilon = 0" in lines
    assert r"\emph{PerturbWeights against epsilon = 0}" in two_factors.to_latex()
    assert 'scope="rowgroup">PerturbWeights against epsilon = 0<' in two_factors.to_html()


def test_a_rich_console_prints_the_same(effects: Table) -> None:
    page = io.StringIO()
    Console(file=page, width=118, color_system=None).print(effects)
    assert [line.rstrip() for line in page.getvalue().splitlines()] == str(effects).splitlines()


def test_a_plain_console_shows_the_same(effects: Table) -> None:
    assert repr(effects) == str(effects)


def test_markdown_has_as_many_cells_in_each_row(effects: Table) -> None:
    rows = [line for line in effects.to_markdown().splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert len({row.count("|") for row in rows}) == 1


def test_latex_uses_booktabs_a_caption_and_a_label(effects: Table) -> None:
    text = effects.to_latex(label="tab:weights")
    for command in (
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
        r"\label{tab:weights}",
        r"95\% t interval",
        r"$\pm$",
    ):
        assert command in text
    assert text.count("{") == text.count("}")
    assert not re.search(r"(?<!\\)[%_#]", text.replace(r"\label{tab:weights}", ""))


def test_html_is_well_formed_and_needs_nothing_from_outside(effects: Table) -> None:
    opened: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    text = effects.to_html()
    Reader().feed(text)
    assert opened == []
    assert "http" not in text
    assert text == effects._repr_html_()


def test_html_escapes_levels() -> None:
    frame = pl.DataFrame({"<script>": ["a & b"]})
    assert "<script>" not in Table(frame, "caption").to_html()


def test_labels_replace_names_for_print() -> None:
    results = paired([-0.05], 4, np.random.default_rng(0))
    table = compare(results, ACCURACY, [INITS, PLAIN_PERTURB], labels={EPSILON: "ε"})
    assert "ε" in str(table)
    assert EPSILON in table.frame.columns


def test_a_plain_frame_prints_itself() -> None:
    table = Table(pl.DataFrame({"name": ["a", "b"], "share": [0.123456, None]}), "Shares.")
    assert str(table).splitlines()[-2:] == ["a     0.123", "b         –"]


def test_an_empty_table_prints_its_head() -> None:
    assert "name" in str(Table(pl.DataFrame({"name": []}), "Nothing."))


def test_rounding_follows_the_spread() -> None:
    assert spread_text(0.912345, 0.00456) == "0.9123 ± 0.0046"
    assert spread_text(123.456, 20.0) == "123 ± 20"
    assert spread_text(0.5, None) == "0.5000"
    assert interval_text(-0.0123, -0.0223, -0.0023) == "-0.012 [-0.022, -0.002]"
    assert interval_text(0.0, None, None) == "+0.0000"
    assert number(-1e-9, 3, sign=True) == "+0.000"
    assert number(1e12) == "1e+12"
    assert (p_text(1e-9), p_text(0.0123), p_text(0.5), p_text(0.9999)) == ("< 0.001", "0.012", "0.50", "1.00")
    assert level_text(0.1 + 0.2) == "0.3"


def test_short_names_are_short_and_different() -> None:
    names = short_names(["A.lr", "B.momentum", "C.momentum"], {"A.lr": "learning rate"})
    assert names == {"A.lr": "learning rate", "B.momentum": "B momentum", "C.momentum": "C momentum"}

"""From what is told to one page that needs nothing else."""

from __future__ import annotations

import base64
from hashlib import sha256
from html import escape
from importlib.resources import files

from paribus.plotting.report import sections
from paribus.plotting.report.contents import Report

_SECTIONS = {
    "verdicts": sections.verdicts,
    "design": sections.design,
    "tables": sections.tables,
    "figures": sections.figures,
    "failures": sections.failures,
    "methods": sections.methods,
    "provenance": sections.provenance,
    "data": sections.data,
}


def render(report: Report) -> str:
    """Write a report as one HTML document: no outside address, no clock; equal reports give equal texts.

    Its policy lets a browser load nothing, and run no script but its own.
    """
    style, script = _read("page.css"), _read("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = escape(report.question or "What the learners show")
    links = "".join(f'<li><a href="#{name}">{name.capitalize()}</a></li>\n' for name in _SECTIONS)
    body = "".join(write(report) for write in _SECTIONS.values())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#verdicts">Skip to the verdicts</a>
<header>
<h1>{title}</h1>
<p class="lead">{escape(_lead(report))}</p>
<nav aria-label="Sections"><ul>
{links}</ul></nav>
</header>
<main>
{body}</main>
<footer><p>Made with Paribus {escape(report.provenance.version)}. All data is in this file.</p></footer>
<script>{script}</script>
</body>
</html>
"""


def _lead(report: Report) -> str:
    factors = " × ".join(factor.name for factor in report.factors) or "no interventions"
    return f"{factors}. {sections.counts(report)}"


def _read(name: str) -> str:
    return files("paribus.plotting.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}"

"""The sections of a report, each a piece of HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from paribus.analysis import Factor, Table, sentences
from paribus.analysis.wording import NONE, condition_text, level_text
from paribus.plotting.figure import Figure, file_name
from paribus.plotting.report.contents import Part, Report
from paribus.plotting.report.elements import (
    Grid,
    bullets,
    csv,
    download,
    folded,
    grid,
    heading,
    paragraph,
    picture,
    section,
)

_EFFECTS = "compare"
_ROWS = 1000  # rows of learners that a page shows; the files in it have all
_LEVELS = 8
_METHODS = {
    "compare": (
        "Each learner is paired with its control: the learner that differs in one factor alone, all seeds "
        "equal. Intervals are t intervals of the mean paired difference over blocks of seeds; differences "
        "that share a control are averaged first. p values are those of the paired t test, adjusted over the "
        "table (Holm). A verdict is inconclusive where the data does not carry one, and says how many blocks "
        "it would take for a power of 0.8."
    ),
    "leave_one_out": (
        "Leave-one-out: the pairs of the effects, restricted to learners that differ from the complete "
        "condition in one intervention alone; the most harmful change stands first."
    ),
    "pairs_removed": (
        "Two parts changed at once: the joint difference less the two single ones, within blocks of equal "
        "seeds; p values are those of the paired t test, adjusted over the table (Holm)."
    ),
    "anova": (
        "Analysis of variance: on a full grid the exact functional decomposition, each effect tested against "
        "its interaction with the blocks; else sums of squares of type II, which the notes say."
    ),
    "variance": (
        "Variance of the seeds: components by the method of moments, over conditions whose seeds are crossed."
    ),
    "tuned": (
        "After tuning: each condition is reported at the levels that the validation metric chose. The best "
        "of k is what k levels, drawn from the grid without replacement, would give on average, chosen in "
        "the same way."
    ),
}
_PAIRS = "Metrics of two learners: each cell is the mean over all pairs of learners that have these levels."
_ALWAYS = (
    "Values are those of each learner's last step, unless a note names another rule. Diverged and failed "
    "learners are counted, and rank worst where learners are ranked; none is dropped in silence."
)


def verdicts(report: Report) -> str:
    """Say what was found, each sentence with a link to its row."""
    judged = [(place, part) for place, part in enumerate(report.parts) if _EFFECTS in part.tables]
    body = "".join(_verdicts_of(place, part, report) for place, part in judged)
    if not judged:
        body = paragraph(
            "No treatment is compared with a control, so there is no verdict; the tables say why."
        )
    return section("verdicts", "Verdicts", body)


def _verdicts_of(place: int, part: Part, report: Report) -> str:
    table = part.tables[_EFFECTS]
    said = sentences(table, report.labels)
    items = (
        f'<li class="{verdict.partition(" ")[0].rstrip(";")}">'
        f'<a href="#{_name(place, _EFFECTS)}-{row}">{escape(sentence)}</a></li>\n'
        for row, (sentence, verdict) in enumerate(zip(said, table.frame["verdict"], strict=True))
    )
    head = heading(report.labels.get(part.metric, part.metric)) if len(report.parts) > 1 else ""
    return f'{head}<ul class="verdicts">\n{"".join(items)}</ul>\n'


def design(report: Report) -> str:
    """Say what was varied, and how the learners ended."""
    rows = [row for factor in report.factors for row in _levels_of(factor, report)]
    heads = ["factor", "column", "role", "levels", "control"]
    body = grid("factors", "What was varied.", Grid(heads, rows)) if rows else ""
    if not rows:
        body = paragraph("Nothing was varied: there is one learner.")
    return section("design", "Design and counts", body + paragraph(counts(report)))


def counts(report: Report) -> str:
    """Count the learners by how they ended."""
    found = Counter(history.status for history in report.histories)
    ended = ", ".join(
        f"{found[status]} {status}" for status in ("done", "diverged", "failed", "missing") if found[status]
    )
    return f"{_number(len(report.histories), 'learner')}: {ended}."


def _levels_of(factor: Factor, report: Report) -> Iterable[list[str]]:
    controls = factor.control or {}
    for column in factor.columns:
        values = report.results[column].unique(maintain_order=True).to_list()
        role = "treatment" if column in factor.treatments else "replicate (seed)"
        more = f", … ({len(values)} levels)" if len(values) > _LEVELS else ""
        control = level_text(controls[column]) if column in controls else NONE
        levels = ", ".join(level_text(value) for value in values[:_LEVELS]) + more
        yield [factor.name, report.labels.get(column, column), role, levels, control]


def tables(report: Report) -> str:
    """Show the tables of each metric, and say which ones the design does not allow."""
    body = ""
    for place, part in enumerate(report.parts):
        body += heading(report.labels.get(part.metric, part.metric))
        for name, table in part.tables.items():
            below = "".join(paragraph(note, "note") for note in table.notes)
            below += csv(file_name(name, part.metric), table.frame)
            body += grid(_name(place, name), table.caption, Grid.of(table), below)
        if part.refused:
            body += paragraph("What this design does not allow:") + bullets(part.refused)
    body += heading("Pairs of learners") if report.pairs else ""
    body += "".join(_pair_table(place, figure, report) for place, figure in enumerate(report.pairs))
    return section("tables", "Tables", body or paragraph("No metric was recorded."))


def _pair_table(place: int, figure: Figure, report: Report) -> str:
    """Show the numbers behind a matrix: levels of the learner, then of the other."""
    columns = [column.removesuffix("_other") for column in figure.table.columns]
    words = [report.labels.get(column, column) for column in columns]
    heads = [
        f"{word} of the other" if column.endswith("_other") else word
        for word, column in zip(words, figure.table.columns, strict=True)
    ]
    cells = Grid.of(Table(figure.table.head(_ROWS), figure.caption))
    caption = f"{figure.caption} {_first(figure.table.height)}".strip()
    return grid(_name(place, "pairs"), caption, Grid(heads, cells.rows))


def figures(report: Report) -> str:
    """Show what is drawn."""
    drawn = [*(figure for part in report.parts for figure in part.figures), *report.pairs, *report.curves]
    body = "".join(picture(f"figure-{place}", figure) for place, figure in enumerate(drawn))
    return section("figures", "Figures", body or paragraph("There is nothing to draw."))


def failures(report: Report) -> str:
    """List the learners that have no finite result, with what went wrong."""
    lost = [each for each in enumerate(report.histories) if each[1].status != "done"]
    if not lost:
        return section("failures", "Failures", paragraph("Every learner ended well."))
    rows = [
        [str(place), history.key, _condition(place, report), history.status, history.error or NONE]
        for place, history in lost[:_ROWS]
    ]
    caption = f"{_number(len(lost), 'learner')} without a finite result. {_first(len(lost))}".strip()
    heads = ["learner", "key", "levels", "status", "error"]
    written = grid("failed", caption, Grid(heads, rows))
    return section("failures", "Failures", written + "".join(_tracebacks(report)))


def _tracebacks(report: Report) -> Iterable[str]:
    """Write each traceback once, with the learners that it stopped."""
    stopped: dict[str, list[int]] = {}
    for place, history in enumerate(report.histories):
        if history.traceback:
            stopped.setdefault(history.traceback, []).append(place)
    for text, places in stopped.items():
        learners = ", ".join(map(str, places[:_LEVELS])) + (", …" if len(places) > _LEVELS else "")
        yield folded(f"Traceback of {_number(len(places), 'learner')}: {learners}", text)


def _condition(place: int, report: Report) -> str:
    columns = [column for factor in report.factors for column in factor.columns]
    row = report.results.row(place, named=True)
    levels = {column: row[column] for column in columns if row[column] is not None}
    return condition_text(levels, {column: report.labels.get(column, column) for column in columns}) or NONE


def methods(report: Report) -> str:
    """Say how the tables were made."""
    made = dict.fromkeys(name for part in report.parts for name in part.tables)
    pairs = [_PAIRS] if report.pairs else []
    body = "".join(paragraph(text) for text in (*(_METHODS[name] for name in made), *pairs, _ALWAYS))
    return section("methods", "Methods", body)


def provenance(report: Report) -> str:
    """Say what decided the bits, what software ran, and how many steps were saved."""
    told = report.provenance
    saved = told.steps_asked - told.steps_distinct
    body = paragraph(
        f"{told.steps_asked:,} steps asked, {told.steps_distinct:,} distinct: {saved:,} saved by sharing. "
        f"The store holds {told.steps_stored:,} of the distinct steps, which no later run trains again: "
        "saved by caching."
    )
    rows = [[part.name, part.value, _digests(part.digests)] for part in told.components]
    caption = "What decides the bits of each learner; a fingerprint covers code and data by content."
    body += grid("components", caption, Grid(["component", "value", "fingerprint"], rows))
    body += paragraph("Segments were trained with:")
    body += bullets(f"{text} ({_number(count, 'segment')})" for text, count in told.software)
    return section("provenance", "Provenance", body)


def _digests(digests: Sequence[str]) -> str:
    if len(digests) > 1:
        return f"{len(digests)} fingerprints, in the learners' keys"
    return digests[0] if digests else NONE


def data(report: Report) -> str:
    """Show the results, and hold them as files."""
    results = report.results
    files = (
        download("results.csv", results.write_csv()),
        download("results.json", results.write_json(), "application/json"),
    )
    links = f'<p class="download">All of it: {", ".join(files)} (JSON has null for NaN and infinity).</p>\n'
    heads = [report.labels.get(column, column) for column in results.columns]
    rows = [[level_text(value) for value in row] for row in results.head(_ROWS).iter_rows()]
    caption = f"One row per learner, metrics at its last step. {_first(results.height)}".strip()
    return section("data", "Data", links + grid("results", caption, Grid(heads, rows)))


def _name(place: int, kind: str) -> str:
    return f"metric-{place}-{kind}"


def _first(count: int) -> str:
    return f"The first {_ROWS:,} of {count:,} are shown." if count > _ROWS else ""


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s'[: count != 1]}"

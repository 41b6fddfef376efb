"""ls, show, why and stats, and how records are named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_cases import LEARNERS, STEPS, WINDOW, study
from typer.testing import CliRunner

from paribus import Logger, register_metric
from paribus.__main__ import app
from paribus.engine.learners.keys import earlier_key
from paribus.store import Store, pack


def asked(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def rows(runs: Path, *options: str) -> list[dict[str, Any]]:
    return json.loads(asked("ls", "--store", runs, "--json", *options))  # type: ignore[no-any-return]


def the_end(runs: Path, timeline: str = "") -> dict[str, Any]:
    (row,) = [row for row in rows(runs) if row["part"] == "end" and timeline_of(row) == timeline]
    return row


def timeline_of(row: dict[str, Any]) -> str:
    return "".join(part for part in ("0.45", "0.3") if part in row["timeline"])


def failed(store: Store, key: str) -> None:
    """Commit a failure beside what the study has stored."""
    record = next(record for record in store.scan() if record.status == "done")
    body: Any = record.body
    told = {"step": body["start"], "error": "ValueError: bad", "traceback": "Traceback\nValueError: bad"}
    columns = pack({"0" * 32: {"name": "m", "steps": [6], "values": {"m": [float("nan")]}}})
    failure = replace(record, key=key, status="failed", body={**body, **told}, columns=columns, created=0.0)
    store.commit(failure)


class TestLs:
    def test_lists_every_record_the_youngest_first(self, trained: Path) -> None:
        found = rows(trained)
        assert {row["key"] for row in found} == {record.key for record in Store.open(trained).scan()}
        assert [row["index"] for row in found] == list(range(len(found)))[::-1]
        assert [row["created"] for row in found] == sorted((row["created"] for row in found), reverse=True)

    def test_tells_ends_from_the_trunks_that_they_grew_from(self, trained: Path) -> None:
        ends = {row["key"] for row in rows(trained) if row["part"] == "end"}
        assert ends == {learner.key for learner in study(trained)}
        assert sorted(row["step"] for row in rows(trained) if row["part"] == "trunk") == [2, 4, 4]

    def test_prints_configurations_in_words(self, trained: Path) -> None:
        header, *lines = asked("ls", "--store", trained).splitlines()
        assert header.split()[:4] == ["index", "key", "status", "part"]
        assert len(lines) == len(rows(trained))
        assert sum("PerturbMomentum(momentum=0.45) at 2–4" in line for line in lines) == 2
        assert all("SGD(lr=0.01, momentum=0.9)" in line for line in lines)

    def test_limits_say_what_they_leave_out(self, trained: Path) -> None:
        assert len(rows(trained, "--limit", "2")) == 2
        assert asked("ls", "--store", trained, "--limit", "2").splitlines()[-1] == "… and 4 older"

    def test_filters_by_status(self, runs: Path, store: Store) -> None:
        failed(store, "f" * 32)
        assert [row["key"] for row in rows(runs, "--status", "failed")] == ["f" * 32]
        assert "f" * 32 not in [row["key"] for row in rows(runs, "--status", "done")]


class TestNames:
    def test_an_index_and_the_beginning_of_a_key_name_the_same_record(self, trained: Path) -> None:
        for row in rows(trained):
            by_index, by_prefix, by_key = (
                asked("show", name, "--store", trained) for name in (row["index"], row["key"][:8], row["key"])
            )
            assert by_index == by_prefix == by_key

    def test_what_begins_several_keys_names_them(
        self, runs: Path, store: Store, capsys: pytest.CaptureFixture[str]
    ) -> None:
        failed(store, "f" * 31 + "0")
        failed(store, "f" * 31 + "1")
        result = CliRunner().invoke(app, ["show", "f" * 12, "--store", str(runs)])
        assert str(result.exception) == f"{'f' * 12!r} begins 2 keys (ffffffff, ffffffff); give more digits"

    def test_an_unknown_key_names_the_near_ones(self, trained: Path) -> None:
        key = rows(trained)[0]["key"]
        wrong = key[:7] + ("0" if key[7] != "0" else "1")
        result = CliRunner().invoke(app, ["why", wrong, "--store", str(trained)])
        assert f"near it are {key[:8]}" in str(result.exception)


class TestShow:
    def test_gathers_the_metrics_of_the_whole_path(self, trained: Path) -> None:
        key = the_end(trained, "0.45")["key"]
        shown = json.loads(asked("show", key, "--store", trained, "--json"))
        frame = next(learner.frame() for learner in study(trained) if learner.key == key)
        assert shown["metrics"]["test/loss"] == {
            "steps": frame.height,
            "last_step": STEPS,
            "last": frame.filter(step=STEPS)["test/loss"].item(),
        }

    def test_says_what_there_is_to_say(self, trained: Path) -> None:
        text = asked("show", the_end(trained, "0.45")["key"], "--store", trained)
        for told in (
            "model      MLP",
            "momentum=0.9",
            "1,437 training samples",
            "at 2–4",
            "test/accuracy",
            "torch",
        ):
            assert told in text

    def test_a_failure_shows_its_traceback(self, runs: Path, store: Store) -> None:
        failed(store, "f" * 32)
        assert asked("show", "f" * 32, "--store", runs).endswith("traceback\nTraceback\nValueError: bad\n")

    def test_numbers_that_are_not_finite_are_strings_in_json(self, runs: Path, store: Store) -> None:
        failed(store, "f" * 32)
        assert json.loads(asked("show", "f" * 32, "--store", runs, "--json"))["metrics"]["m"]["last"] == "nan"


class TestWhy:
    def test_names_the_nearest_learner_and_the_difference(self, trained: Path) -> None:
        control, perturbed = the_end(trained), the_end(trained, "0.45")
        told = json.loads(asked("why", perturbed["key"], "--store", trained, "--json"))
        assert told["nearest"] == control["key"]
        assert told["differences"] == ["timeline: with PerturbMomentum(momentum=0.45, when=[2, 4])"]
        text = asked("why", perturbed["index"], "--store", trained)
        assert f"the nearest other is {control['key'][:8]}" in text

    def test_tells_changed_code(self, runs: Path) -> None:
        other = study(runs, hidden=5, learners=1)
        other.run(progress=False)
        text = asked("why", other[0].key, "--store", runs)
        assert "  code: model" in text
        assert "5" in text

    def test_past_and_future_of_a_state_are_not_other_ones(self, runs: Path, store: Store) -> None:
        control = the_end(runs)
        for row in rows(runs):
            if row["key"] != control["key"] and row["step"] != WINDOW[0]:
                store.discard(row["key"])
        assert asked("why", control["key"], "--store", runs).endswith(": no other trajectory is stored\n")


class TestStats:
    def test_counts_the_steps_that_sharing_saved(self, trained: Path) -> None:
        told = json.loads(asked("stats", "--store", trained, "--json"))
        start = WINDOW[0]
        assert told["trained"] == STEPS + (LEARNERS - 1) * (STEPS - start)
        assert told["alone"] == LEARNERS * STEPS
        assert told["saved"] == (LEARNERS - 1) * start
        assert told["records"] == {"done": 2 * LEARNERS}

    def test_says_what_the_number_means(self, trained: Path) -> None:
        assert "14 stored; 18 if each of the 3 ends had been trained alone: 4 saved" in " ".join(
            asked("stats", "--store", trained).split()
        )

    def test_a_late_metric_changes_no_count_and_no_index(self, runs: Path) -> None:
        before, listed = json.loads(asked("stats", "--store", runs, "--json")), rows(runs)
        summary = study(runs, logger=Depths()).run(progress=False)
        assert summary.steps_trained == 0
        after = json.loads(asked("stats", "--store", runs, "--json"))
        assert [row["key"] for row in rows(runs)] == [row["key"] for row in listed]
        assert [after[name] for name in ("trained", "alone")] == [
            before[name] for name in ("trained", "alone")
        ]


class Depths(Logger):
    @register_metric(on="end")
    def layers(self, learner: Any) -> int:
        return len(list(learner.model.children()))


def test_a_manifest_alone_gives_the_keys_of_its_past(trained: Path) -> None:
    for learner in study(trained):
        configuration = learner.configuration
        document = json.loads(configuration.manifest(STEPS))
        assert [earlier_key(document, step) for step in range(STEPS + 1)] == [
            configuration.key(step) for step in range(STEPS + 1)
        ]

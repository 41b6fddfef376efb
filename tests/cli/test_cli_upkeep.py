"""verify, gc, pin, unpin, compact, export and import."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_cases import Apart, Start, study
from typer.testing import CliRunner

from paribus.__main__ import app
from paribus.commands.catalogue import Catalogue
from paribus.engine.running.reexecution import reexecute
from paribus.store import Record, Store, verify

CASES = str(Path(__file__).with_name("cli_cases.py"))
EVERYTHING = ("--budget", "0B", "--grace", "0s")


def asked(*arguments: object, exit_code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == exit_code, (result.output, result.exception)
    return result.output


def ends(store: Store) -> list[Record]:
    catalogue = Catalogue.read(store)
    return [entry.record for entry in catalogue.entries if catalogue.is_end(entry)]


def past(store: Store, key: str) -> set[str]:
    catalogue = Catalogue.read(store)
    return {entry.key for entry in catalogue.path(catalogue.find(key))}


def keys(store: Store) -> set[str]:
    return {record.key for record in store.scan()}


def forged(store: Store) -> str:
    """Give a learner another one's final state, with everything else in order; return its key."""
    mine, other = ends(store)[:2]
    store.commit(replace(mine, references={**mine.references, "state": other.references["state"]}))
    return mine.key


class TestVerify:
    def test_a_sound_store_passes(self, trained: Path) -> None:
        assert asked("verify", "--store", trained).endswith(": sound\n")

    def test_a_flipped_bit_is_named(self, runs: Path, store: Store) -> None:
        path = store.path_of(ends(store)[0].references["state"])
        payload = bytearray(path.read_bytes())
        payload[-1] ^= 1
        path.write_bytes(payload)
        assert f"object {path.name} was altered" in asked("verify", "--store", runs, exit_code=1)

    def test_a_dangling_reference_is_named(self, runs: Path, store: Store) -> None:
        record = ends(store)[0]
        store.path_of(record.references["state"]).unlink()
        told = json.loads(asked("verify", "--store", runs, "--json", exit_code=1))
        assert told["dangling"] == [[record.key, "state", record.references["state"]]]

    def test_cached_learners_come_out_the_same_again(self, runs: Path, store: Store) -> None:
        before = {record.key: record for record in store.scan()}
        again = ("--reexecute", 9, "--experiment", f"{CASES}:study")
        assert "3 learners trained again: 3 equal to the bit" in asked("verify", "--store", runs, *again)
        assert {record.key: record for record in store.scan()} == before

    def test_a_state_that_is_not_what_training_gives_is_named(self, runs: Path, store: Store) -> None:
        key = forged(store)
        assert verify(store).sound
        again = ("--reexecute", 3, "--experiment", f"{CASES}:study")
        text = asked("verify", "--store", runs, *again, exit_code=1)
        assert "3 learners trained again: 2 equal to the bit" in text
        assert f"  {key}: differs (on equal software and hardware)" in text

    def test_the_choice_is_seeded(self, runs: Path) -> None:
        exp = study(runs)
        configurations = [learner.configuration for learner in exp]
        records = exp.store.records(learner.key for learner in exp)
        chosen = [[e.key for e in reexecute(configurations, records, exp.work, 1, seed)] for seed in range(4)]
        assert chosen == [
            [e.key for e in reexecute(configurations, records, exp.work, 1, seed)] for seed in range(4)
        ]
        assert len({key for (key,) in chosen}) > 1


class TestGc:
    def test_a_dry_run_says_what_goes_and_takes_nothing(self, runs: Path, store: Store) -> None:
        before = keys(store)
        text = asked("gc", "--store", runs, *EVERYTHING, "--dry-run")
        assert "would be freed" in text
        assert all(key in text for key in before)
        assert keys(store) == before

    def test_the_young_stay(self, runs: Path, store: Store) -> None:
        before = keys(store)
        asked("gc", "--store", runs, "--budget", "0B", "--unused-for", "0s")
        assert keys(store) == before

    def test_pins_stay_with_their_past(self, runs: Path, store: Store) -> None:
        record = ends(store)[1]
        kept = past(store, record.key)
        asked("pin", record.key[:8], "--store", runs)
        asked("gc", "--store", runs, *EVERYTHING)
        assert keys(store) == kept
        assert verify(store).sound

    def test_a_live_lease_stays_with_its_past(self, runs: Path, store: Store) -> None:
        record = ends(store)[0]
        kept = past(store, record.key)
        store.claims.acquire(record.key, "somebody 1 x", lease_seconds=60)
        asked("gc", "--store", runs, *EVERYTHING)
        assert keys(store) == kept

    def test_an_end_in_use_keeps_the_trunk_that_it_grew_from(self, runs: Path, store: Store) -> None:
        """Its state at step 0 too, at which a metric was evaluated late."""
        exp = study(runs, logger=Start())
        exp.run(progress=False)
        kept = exp[1].frame()
        used = exp[1].key
        store.ledger.write("UPDATE records SET used = 0 WHERE key <> ?", (used,))
        asked("gc", "--store", runs, "--unused-for", "1h", "--grace", "0s")
        assert keys(store) == past(store, used)
        assert exp[1].configuration.key(0) in keys(store)
        again = study(runs, logger=Start())
        assert again.plan().learners[1].decision == "cached"
        assert again[1].frame().equals(kept)
        assert verify(store).sound

    def test_unpinning_spares_the_past_of_what_is_still_pinned(self, runs: Path, store: Store) -> None:
        first, second = (record.key for record in ends(store)[:2])
        asked("pin", first, second, "--store", runs)
        asked("unpin", first, "--store", runs)
        assert store.pins.all() == past(store, second)
        asked("unpin", second, "--store", runs)
        assert store.pins.all() == frozenset()

    def test_recently_used_ones_stay(self, runs: Path, store: Store) -> None:
        before = keys(store)
        asked("gc", "--store", runs, "--unused-for", "30d", "--grace", "0s")
        assert keys(store) == before


class TestExchange:
    def test_an_export_takes_the_past_along(self, runs: Path, store: Store, tmp_path: Path) -> None:
        key = ends(store)[1].key
        asked("export", tmp_path / "file", key[:8], "--store", runs)
        text = asked("import", tmp_path / "file", "--store", tmp_path / "elsewhere")
        elsewhere = Store.open(tmp_path / "elsewhere")
        assert keys(elsewhere) == past(store, key)
        assert text == f"{len(past(store, key))} records added, 0 were there\n"
        assert verify(elsewhere).sound

    def test_everything_makes_the_experiment_cached_elsewhere(self, runs: Path, tmp_path: Path) -> None:
        asked("export", tmp_path / "file", "--all", "--store", runs)
        asked("import", tmp_path / "file", "--store", tmp_path / "elsewhere")
        assert study(tmp_path / "elsewhere").run(progress=False).steps_trained == 0


def test_values_of_two_learners_are_no_segments(runs: Path, tmp_path: Path) -> None:
    """Nobody trains them, they grow from nothing, and they travel with everything."""
    exp = study(runs, logger=Apart(defaults=False))
    assert exp.run(progress=False).pairs > 0
    segments = json.loads(asked("ls", "--store", runs, "--json"))
    assert {row["key"] for row in segments} < keys(exp.store)
    for command in (
        "stats",
        "verify",
        ("show", exp[0].key),
        ("why", exp[0].key),
        ("gc", *EVERYTHING, "--dry-run"),
    ):
        asked(*([command] if isinstance(command, str) else command), "--store", runs)
    assert exp.explain(0).nearest is not None
    asked("export", tmp_path / "file", "--all", "--store", runs)
    asked("import", tmp_path / "file", "--store", tmp_path / "elsewhere")
    assert study(tmp_path / "elsewhere", logger=Apart(defaults=False)).plan().pairs == 0


def test_compact_keeps_every_record(runs: Path, store: Store) -> None:
    before = keys(store)
    assert asked("compact", "--store", runs).startswith("ledger: ")
    assert keys(store) == before


@pytest.mark.parametrize("name", ["pin", "unpin"])
def test_a_wrong_key_among_several_changes_nothing(name: str, runs: Path, store: Store) -> None:
    result: Any = CliRunner().invoke(app, [name, "0", "nothing", "--store", str(runs)])
    assert result.exit_code == 1
    assert store.pins.all() == frozenset()

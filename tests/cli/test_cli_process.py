"""The program as it is started: errors, warnings, and what it imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paribus.__main__ import main
from paribus.commands.printing import print_table
from paribus.commands.units import duration, parse_duration, parse_size, size
from paribus.errors import ConfigurationError
from paribus.store import Store

CASES = str(Path(__file__).with_name("cli_cases.py"))


def test_it_answers_as_a_process(trained: Path) -> None:
    command = [sys.executable, "-m", "paribus", "stats", "--json", "--store", str(trained)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout)["records"] == {"done": 6}
    assert found.stderr == ""


def test_looking_imports_neither_torch_nor_polars(trained: Path) -> None:
    program = """
import sys
from paribus.__main__ import main
for command in ("ls", "show 0", "why 0", "stats", "verify", "gc --dry-run", "--help"):
    try:
        main(command.split())
    except SystemExit as end:
        assert not end.code, (command, end.code)
    imported = [name for name in ("torch", "polars", "matplotlib") if name in sys.modules]
    assert not imported, (command, imported)
"""
    environment = os.environ | {"PARIBUS_STORE": str(trained)}
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            "ls --store nowhere",
            "nowhere holds no store; name a store's folder with --store or $PARIBUS_STORE",
        ),
        ("show xyz", "'xyz' is neither an index nor the beginning of a key of the 6 records; "),
        ("gc --budget 10XB", "'10XB' is not a size; write a number and B, kB, "),
        ("gc --unused-for soon", "'soon' is not a duration; write a number and s, min, h, d, w: 30d"),
        ("export file", "export: name the keys to export, or give --all; exactly one of the two"),
        ("import nowhere", "nowhere"),
        ("verify --reexecute 2", "verify: --reexecute trains learners again; give --experiment FILE.py:NAME"),
        ("verify --reexecute 2 --experiment study", "experiment: 'study' names none; write FILE.py:NAME"),
        ("verify --reexecute 2 --experiment CASES:stuby", "did you mean"),
        ("verify --reexecute 2 --experiment CASES:NOT_A_STUDY", "is a int; name an Experiment"),
        (
            "verify --reexecute 2 --experiment no.py:x",
            "experiment: no.py:x could not be loaded (FileNotFound",
        ),
    ],
)
def test_an_error_is_one_sentence_and_exit_code_1(
    command: str,
    sentence: str,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARIBUS_STORE", str(trained))
    with pytest.raises(SystemExit, match="1"):
        main(command.replace("CASES", CASES).split())
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) in ([], ["default-store"])


def test_looking_makes_no_store(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="1"):
        main(["stats", "--store", str(tmp_path / "empty")])
    assert list((tmp_path / "empty").iterdir()) == []


def test_an_altered_record_is_a_line_on_stderr(runs: Path) -> None:
    ledger = Store.open(runs).ledger
    ledger.write("UPDATE records SET status = 'fine' WHERE id = 1")
    command = [sys.executable, "-m", "paribus", "ls", "--store", str(runs)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stderr.endswith("was altered on disk; it counts as missing\n")
    assert found.stderr.count("\n") == 1


def test_a_terminal_gets_a_table_whose_texts_are_no_markup(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(["when"], [["[0, 100]"], ["[red]"]])
    text = capsys.readouterr().out
    assert "[0, 100]" in text
    assert "[red]" in text
    assert "─" in text


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2_592_000.0), ("1.5 h", 5400.0), ("10min", 600.0), ("0s", 0.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(("text", "count"), [("10GB", 10**10), ("2 MiB", 2**21), ("5kb", 5000), ("7B", 7)])
def test_sizes(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1", "1e9B"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a size"):
        parse_size(text)


def test_quantities_are_written_as_they_are_read() -> None:
    assert [size(0), size(999), size(53_624), size(10**10), size(None)] == [
        "0 B",
        "999 B",
        "53.6 kB",
        "10.0 GB",
        "",
    ]
    assert [duration(-3), duration(59), duration(7300), duration(86_400)] == ["0 s", "59 s", "2 h", "1 d"]

"""Each path that is no good store ends in one clear sentence."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from store_cases import a_record, key_of, overwrite, read_only

from paribus.errors import StoreError
from paribus.store import Retention, Store, gc, stats, verify
from paribus.store.filesystem import is_network_filesystem
from paribus.store.layout import open_ledger
from paribus.store.schema import STEPS, create_tables, version_of


def test_a_new_store_is_whole(tmp_path: Path) -> None:
    Store.open(tmp_path / "a" / "b").close()
    assert json.loads((tmp_path / "a" / "b" / "format.json").read_text())["version"] == len(STEPS)
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {
        "format.json",
        "ledger.sqlite",
        "objects",
    }


def test_a_relative_path_is_kept_across_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store.open("runs")
    monkeypatch.chdir("/")
    store.commit(a_record())
    assert store.path == tmp_path / "runs"
    store.close()


@pytest.mark.parametrize("below", ["", "deeper", "deeper/still"])
def test_a_file_is_no_store(tmp_path: Path, below: str) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(StoreError, match=r"/runs is a file; expected a folder"):
        Store.open(tmp_path / "runs" / below)


def test_a_folder_of_others_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(
        StoreError, match=r"is no store, and holds 'thesis\.tex'; give store= a new or empty folder"
    ):
        Store.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_newer_format_is_refused_and_left_alone(store: Store) -> None:
    text = '{"format": "paribus-store", "version": 99}'
    overwrite(store.path / "format.json", text.encode())
    with pytest.raises(
        StoreError, match=f"has format 99, and this Paribus knows formats up to {len(STEPS)}; upgrade Paribus"
    ):
        Store.open(store.path)
    assert (store.path / "format.json").read_text() == text


def test_a_newer_ledger_whose_format_file_is_lost_is_refused(store: Store) -> None:
    store.ledger.write("PRAGMA user_version = 99")
    (store.path / "format.json").unlink()
    with pytest.raises(StoreError, match="has format 99"):
        Store.open(store.path)


@pytest.mark.parametrize("text", ["", "{}", "[]", "{", '{"version": null}'])
def test_a_garbled_format_is_told(store: Store, text: str) -> None:
    overwrite(store.path / "format.json", text.encode())
    with pytest.raises(StoreError, match=r"format\.json holds .*; expected .* restore that file"):
        Store.open(store.path)


def test_a_lost_ledger_is_told(store: Store) -> None:
    store.close()
    (store.path / "ledger.sqlite").unlink()
    with pytest.raises(StoreError, match=r"has lost its ledger\.sqlite; restore it, or remove format\.json"):
        Store.open(store.path)


def test_a_ledger_that_is_no_database_is_told(store: Store) -> None:
    store.close()
    (store.path / "ledger.sqlite").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="the file is no ledger; move the store away"):
        Store.open(store.path).statuses([key_of(1)])


@pytest.mark.parametrize("still_open", [False, True])
def test_a_read_only_store_reads_and_says_before_training_that_it_does_not_write(
    store: Store, still_open: bool
) -> None:
    digest = store.put(b"state")
    store.commit(a_record(references={"state": digest}))
    if not still_open:
        store.close()
    with read_only(store.path):
        reader = Store.open(store.path)
        assert not reader.writable
        assert reader.statuses([key_of(1)]) == {key_of(1): "done"}
        assert reader.get(digest) == b"state"
        assert verify(reader).sound
        assert stats(reader).records == {"done": 1}
        assert gc(reader, Retention(budget=0, grace=0), dry_run=True).records == (key_of(1),)
        for attempt in (reader.require_writable, lambda: reader.put(b""), lambda: reader.commit(a_record())):
            with pytest.raises(
                StoreError, match="is read-only; make it writable, or give store= a copy of it"
            ):
                attempt()
        with pytest.raises(StoreError, match="is read-only"):
            reader.claims.acquire(key_of(1), "me", 10)
        reader.close()
    assert store.writable
    store.require_writable()


def test_a_crashed_store_in_a_read_only_folder_says_to_copy_it(store: Store) -> None:
    store.commit(a_record())
    crashed = store.path.with_name("crashed")
    shutil.copytree(store.path, crashed)
    (crashed / "ledger.sqlite-shm").unlink()
    with read_only(crashed):
        reader = Store.open(crashed)
        with pytest.raises(StoreError, match="copy the store to a writable one and open the copy"):
            reader.statuses([key_of(1)])
    writer = Store.open(crashed)
    assert writer.statuses([key_of(1)]) == {key_of(1): "done"}
    writer.close()


def test_a_store_cannot_be_made_in_a_read_only_folder(tmp_path: Path) -> None:
    with read_only(tmp_path), pytest.raises(StoreError, match=r"cannot be made: .*; give store= a folder"):
        Store.open(tmp_path / "runs")


def test_a_store_whose_making_was_killed_is_made_at_the_next_opening(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    sqlite3.connect(tmp_path / "ledger.sqlite").close()
    (tmp_path / ".format.json.1234").write_text("")
    store = Store.open(tmp_path)
    store.commit(a_record())
    store.close()


def make_version_0(path: Path) -> None:
    path.mkdir()
    (path / "objects").mkdir()
    (path / "format.json").write_text('{"format": "paribus-store", "version": 0}')
    with sqlite3.connect(path / "ledger.sqlite") as old:
        old.execute("CREATE TABLE old_results (key TEXT)")
        old.execute("INSERT INTO old_results VALUES ('k')")
    old.close()


def test_an_older_store_takes_each_missing_step_once(tmp_path: Path) -> None:
    make_version_0(tmp_path / "s")
    taken: list[str] = []

    def carry_over(connection: sqlite3.Connection) -> None:
        taken.append("carry over")
        connection.execute("INSERT INTO pins SELECT key FROM old_results")

    steps = (create_tables, carry_over)
    for _ in range(2):
        ledger = open_ledger(tmp_path / "s", steps)
        assert ledger.read("SELECT key FROM pins") == [("k",)]
        ledger.close()
    assert taken == ["carry over"]
    assert json.loads((tmp_path / "s" / "format.json").read_text())["version"] == 2


def test_a_step_that_fails_leaves_the_older_store_as_it_was(tmp_path: Path) -> None:
    make_version_0(tmp_path / "s")

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO no_such_table VALUES (1)")

    with pytest.raises(StoreError, match="no such table"):
        open_ledger(tmp_path / "s", (create_tables, fail))
    with sqlite3.connect(tmp_path / "s" / "ledger.sqlite") as old:
        assert version_of(old) == 0
        assert old.execute("SELECT name FROM sqlite_master").fetchall() == [("old_results",)]
    old.close()
    assert json.loads((tmp_path / "s" / "format.json").read_text())["version"] == 0
    Store.open(tmp_path / "s").close()


MOUNTS = r"""/dev/vda / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/vdb /home/me/local xfs rw 0 0
//nas/x /mnt/my\040disk cifs rw 0 0
me@host: /mnt/ssh fuse.sshfs rw 0 0
old:/x /over nfs rw 0 0
tmpfs /over tmpfs rw 0 0
garbage
"""


@pytest.mark.parametrize(
    ("path", "network"),
    [
        ("/", False),
        ("/srv/runs", False),
        ("/home/me/runs", True),
        ("/homes/me/runs", False),
        ("/home/me/local/runs", False),
        ("/mnt/my disk/runs", True),
        ("/mnt/ssh", True),
        ("/over/runs", False),
    ],
)
def test_the_deepest_and_latest_mount_decides(path: str, network: bool) -> None:
    assert is_network_filesystem(MOUNTS, path) is network
    assert is_network_filesystem("", path) is False


def test_a_store_on_a_network_file_system_has_no_log_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s"
    before = Store.open(path)
    before.commit(a_record())
    before.close()
    monkeypatch.setattr("paribus.store.layout.mounts_text", lambda: "host:/x / nfs4 rw 0 0")
    with pytest.warns(UserWarning, match="lies on a network file system"):
        store = Store.open(path)
    store.commit(a_record(2))
    assert store.ledger.read("PRAGMA journal_mode") == [("delete",)]
    assert store.statuses([key_of(1), key_of(2)]).keys() == {key_of(1), key_of(2)}
    assert not list(path.glob("ledger.sqlite-*"))
    store.close()

"""An export carries all of a selection, and an import believes none of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import pytest
from store_cases import a_record, commit_with_state, finish, flip_bit, key_of, some_columns, start

from paribus.errors import CorruptObjectError, StoreError
from paribus.store import Store, export, import_, stats, unpack, verify


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "other")
    yield opened
    opened.close()


def test_another_store_opens_what_one_exports(store: Store, other: Store, tmp_path: Path) -> None:
    digests = [commit_with_state(store, number, b"%d" % (number % 2)) for number in range(4)]
    size = export(store, [key_of(0), key_of(1), key_of(2)], tmp_path / "some.zip")
    assert size == (tmp_path / "some.zip").stat().st_size
    done = import_(other, tmp_path / "some.zip")
    assert (set(done.added), done.present, done.objects) == ({key_of(0), key_of(1), key_of(2)}, (), 2)
    keys = [key_of(number) for number in range(3)]
    assert other.records(keys) == store.records(keys)
    assert [other.get(digest) for digest in digests[:3]] == [b"0", b"1", b"0"]
    assert verify(other).sound


def test_columns_travel_to_the_bit(store: Store, other: Store, tmp_path: Path) -> None:
    store.commit(a_record(columns=some_columns()))
    export(store, [key_of(1)], tmp_path / "e")
    import_(other, tmp_path / "e")
    assert other.records([key_of(1)]) == store.records([key_of(1)])
    assert other.records([key_of(1)])[key_of(1)].columns == some_columns()


def test_an_export_of_the_first_format_is_read(store: Store, other: Store, tmp_path: Path) -> None:
    def older(members: dict[str, bytes]) -> None:
        members["format.json"] = b'{"format": "paribus-export", "version": 1}'
        body = {"stop": 9, "metrics": unpack(some_columns()), "passed": {key_of(7): 0}}
        members["records.jsonl"] = json.dumps({**LINE, "body": body}).encode()

    import_(other, rewritten(exported(store, tmp_path / "e"), older))
    record = other.records([key_of(1)])[key_of(1)]
    assert record.body == {"stop": 9}
    assert repr(unpack(record.columns)) == repr(unpack(some_columns()))


def test_equal_selections_give_equal_bytes(store: Store, tmp_path: Path) -> None:
    for number in range(3):
        commit_with_state(store, number, b"%d" % number)
    export(store, [key_of(0), key_of(2)], tmp_path / "a")
    export(store, iter([key_of(2), key_of(0), key_of(2)]), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_an_import_keeps_what_is_there_and_replaces_failures(
    store: Store, other: Store, tmp_path: Path
) -> None:
    for number in range(2):
        store.commit(a_record(number, body="theirs"))
    other.commit(a_record(0, body="ours"))
    other.commit(a_record(1, body="ours", status="failed"))
    export(store, [key_of(0), key_of(1)], tmp_path / "e")
    done = import_(other, tmp_path / "e")
    assert (done.added, done.present) == ((key_of(1),), (key_of(0),))
    assert {r.body for r in other.records([key_of(0), key_of(1)]).values()} == {"ours", "theirs"}


def test_a_key_without_a_record_cannot_be_exported(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"1 of 1 keys have no record, such as 0+7; run them"):
        export(store, [key_of(7)], tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_an_altered_object_is_not_exported(store: Store, tmp_path: Path) -> None:
    flip_bit(store.path_of(commit_with_state(store, 1, b"state")))
    with pytest.raises(CorruptObjectError):
        export(store, [key_of(1)], tmp_path / "e")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_an_export_that_cannot_be_written_is_told(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file" / "e", tmp_path / "absent" / "e", store.path):
        with pytest.raises(StoreError, match=r"cannot be written: .*; choose another file"):
            export(store, [], target)


def rewritten(file: Path, change: Callable[[dict[str, bytes]], None], compression: int = ZIP_STORED) -> Path:
    with ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with ZipFile(file, "w", compression) as archive:
        for name, payload in members.items():
            archive.writestr(name, payload)
    return file


def exported(store: Store, file: Path) -> Path:
    commit_with_state(store, 1, b"state")
    export(store, [key_of(1)], file)
    return file


STRANGERS = [
    "../../evil",
    "/etc/evil",
    "objects/ab/../../evil",
    f"objects/aa/{'b' * 32}",
    "x.pickle",
    "objects/",
]


@pytest.mark.parametrize("name", STRANGERS)
def test_a_member_that_no_export_has_is_refused(
    store: Store, other: Store, tmp_path: Path, name: str
) -> None:
    file = rewritten(exported(store, tmp_path / "e"), lambda members: members.update({name: b"x"}))
    with pytest.raises(StoreError, match="which no export does; nothing was imported"):
        import_(other, file)
    assert stats(other).records == {}
    assert stats(other).objects == 0


def test_a_compressed_member_is_refused(store: Store, other: Store, tmp_path: Path) -> None:
    file = rewritten(exported(store, tmp_path / "e"), lambda members: None, ZIP_DEFLATED)
    with pytest.raises(StoreError, match="nothing was imported"):
        import_(other, file)


def test_an_object_under_another_digest_is_refused(store: Store, other: Store, tmp_path: Path) -> None:
    def swap(members: dict[str, bytes]) -> None:
        name = next(name for name in members if name.startswith("objects/"))
        members[name] = b"evil"

    with pytest.raises(StoreError, match="was altered; export it again"):
        import_(other, rewritten(exported(store, tmp_path / "e"), swap))
    assert stats(other).records == {}


# A line of the first format, which had no columns.
LINE = {name: value for name, value in vars(a_record()).items() if name != "columns"}


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b"not json",
        b'{"key": 1}',
        json.dumps({**LINE, "key": "../x"}).encode(),
        json.dumps({**LINE, "status": 1}).encode(),
        json.dumps({**LINE, "references": {"state": 5}}).encode(),
        json.dumps({**LINE, "references": {"state": "0" * 32}}).encode(),
        json.dumps({**LINE, "references": []}).encode(),
        json.dumps({**LINE, "created": "now"}).encode(),
        json.dumps({**LINE, "columns": {"layout": "[]"}}).encode(),
        json.dumps({**LINE, "columns": {"layout": "[]", "numbers": "AAAAAAAA8D8="}}).encode(),
        json.dumps({**LINE, "columns": {"layout": "[1]", "numbers": ""}}).encode(),
        json.dumps({**LINE, "body": {"metrics": {"0": 5}}}).encode(),
        b"[" * 100_000,
    ],
    ids=range(15),
)
def test_a_line_that_is_no_record_is_refused(store: Store, other: Store, tmp_path: Path, line: bytes) -> None:
    file = rewritten(exported(store, tmp_path / "e"), lambda m: m.update({"records.jsonl": line}))
    with pytest.raises(StoreError):
        import_(other, file)
    assert stats(other).records == {}


@pytest.mark.parametrize("format_text", [b"", b"[]", b'{"version": 99}'])
def test_an_export_of_another_format_is_refused(
    store: Store, other: Store, tmp_path: Path, format_text: bytes
) -> None:
    file = rewritten(exported(store, tmp_path / "e"), lambda m: m.update({"format.json": format_text}))
    with pytest.raises(StoreError, match=r"has format .*, and this Paribus knows formats up to 2"):
        import_(other, file)


def test_what_is_no_export_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with ZipFile(tmp_path / "empty", "w"):
        pass
    for name, words in {
        "text": "no sound export",
        "empty": "is no export of Paribus",
        "absent": "cannot be read",
    }.items():
        with pytest.raises(StoreError, match=words):
            import_(store, tmp_path / name)


@pytest.mark.parametrize("at", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_flipped_bit_in_an_export_is_found_or_harmless(
    store: Store, other: Store, tmp_path: Path, at: float
) -> None:
    file = exported(store, tmp_path / "e")
    payload = bytearray(file.read_bytes())
    payload[int(at * len(payload))] ^= 4
    file.write_bytes(payload)
    try:
        import_(other, file)
    except StoreError:
        assert stats(other).records == {}
    else:
        assert other.records([key_of(1)]) == store.records([key_of(1)])
    assert verify(other).sound


def test_another_process_imports_while_this_one_commits(store: Store, other: Store, tmp_path: Path) -> None:
    for number in range(50):
        commit_with_state(store, number, b"%d" % number)
    export(store, [key_of(number) for number in range(50)], tmp_path / "e")
    process = start("print(len(import_(Store.open(args[0]), args[1]).added))", other.path, tmp_path / "e")
    for number in range(100, 150):
        commit_with_state(other, number, b"%d" % number)
    assert finish(process).strip() == "50"
    assert verify(other).sound
    assert stats(other).records == {"done": 100}

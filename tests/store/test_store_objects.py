"""What objects promise, in a store's own folder and at every kind of address."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from store_cases import a_record, commit_with_state, key_of

from paribus.errors import CorruptObjectError, StoreError
from paribus.store import Retention, Store, compact, export, gc, import_, stats, sweep, verify
from paribus.store.remote import address_of

FUTURE = 4e9  # Unix seconds, when all that the tests write is old


class Faulty(MemoryFileSystem):
    """A network's file system that renames, answers several at once, and fails where it is told to."""

    protocol = "faulty"
    async_impl = True
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    failing: ClassVar[dict[str, Exception]] = {}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.replace("faulty://", "memory://"))

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        super().pipe_file(path, value[:1] if "half" in self.failing else value, **options)
        self._may_fail("half", "write")

    def cat_file(self, path: str, **options: Any) -> bytes:
        self._may_fail("read")
        return bytes(super().cat_file(path, **options))

    def mv(self, path1: str, path2: str, **options: Any) -> None:
        self._may_fail("move")
        super().mv(path1, path2, **options)

    def info(self, path: str, **options: Any) -> Any:
        self._may_fail("look")
        return super().info(path, **options)

    def _may_fail(self, *operations: str) -> None:
        for operation in operations:
            if operation in self.failing:
                raise self.failing[operation]


fsspec.register_implementation("faulty", Faulty, clobber=True)


@pytest.fixture(autouse=True)
def emptied() -> Iterator[None]:
    yield
    for kind in (MemoryFileSystem, Faulty):
        kind.store.clear()
        kind.pseudo_dirs[:] = [""]
    Faulty.failing.clear()


PLACES: dict[str, Callable[[Path], Store]] = {
    "its own folder": lambda path: Store.open(path / "store"),
    "another folder": lambda path: Store.open(path / "store", objects=path / "objects here"),
    "a file address": lambda path: Store.open(path / "store", objects=f"file://{path}/objects"),
    "an object store": lambda path: Store.open(path / "store", objects="memory://bucket/runs"),
    "a network's file system": lambda path: Store.open(path / "store", objects="faulty://host/runs"),
}


@pytest.fixture(params=PLACES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = PLACES[request.param](tmp_path)
    yield opened
    Faulty.failing.clear()
    assert verify(opened).altered_objects == ()
    opened.close()


@pytest.mark.parametrize("payload", [b"", b"x", bytes(1 << 20), bytearray(b"abc"), memoryview(b"abcd")[::1]])
def test_an_object_comes_back_equal(store: Store, payload: bytes) -> None:
    digest = store.put(payload)
    assert store.get(digest) == payload
    assert store.sizes([digest, "0" * 32]) == {digest: len(payload)}


def test_equal_objects_are_one(store: Store) -> None:
    assert store.put(b"state") == store.put(bytearray(b"state"))
    assert [file.digest for file in store.objects.files()] == [store.put(b"state")]


def test_an_absent_object_is_a_corrupt_one(store: Store) -> None:
    with pytest.raises(CorruptObjectError, match="cannot be read: No such file"):
        store.get("0" * 32)


def test_an_altered_object_is_found_and_mended_by_putting_it_again(store: Store) -> None:
    digest = store.put(b"state")
    store.objects.remove(store.objects.find([digest]), FUTURE)
    store.objects.place.write(f"{digest[:2]}/{digest}", memoryview(b"altered"))
    with pytest.raises(CorruptObjectError, match=r"was altered \(7 bytes\)"):
        store.get(digest)
    assert verify(store).altered_objects == (digest,)
    assert store.put(b"state") == digest
    assert store.get(digest) == b"state"


def test_a_record_never_refers_to_an_absent_object(store: Store) -> None:
    with pytest.raises(StoreError, match="is not stored; put it first"):
        store.commit(a_record(references={"state": "0" * 32}))


def test_gc_takes_old_objects_without_a_record_and_what_killed_writers_left(store: Store) -> None:
    kept, lost = commit_with_state(store, 1, b"kept"), store.put(b"without a record")
    store.objects.place.write("ab/.abc.123", memoryview(b"half"))
    assert gc(store).objects == ()
    said = gc(store, dry_run=True, now=FUTURE)
    assert gc(store, now=FUTURE) == said
    assert (said.objects, said.leftovers, said.kept) == ((lost,), 1, 4)
    assert [file.digest for file in store.objects.files()] == [kept]
    assert gc(store, Retention(unused_for=1.0), now=FUTURE).objects == (kept,)
    assert stats(store).objects == 0


def test_an_object_that_is_put_again_is_young(store: Store) -> None:
    (first,) = store.objects.find([store.put(b"state")])
    while (again := store.objects.find([store.put(b"state")])[0]).modified == first.modified:
        pass
    assert store.objects.remove([first], again.modified) == []
    assert store.objects.remove([first], again.modified + 1) == [first]


def test_objects_of_one_writer_are_swept_at_once(store: Store) -> None:
    kept, lost = commit_with_state(store, 1, b"kept"), store.put(b"lost")
    assert sweep(store, [kept, lost, "0" * 32]) == 4
    assert store.sizes([kept, lost]) == {kept: 4}


def test_a_store_is_found_again_where_it_is(store: Store, tmp_path: Path) -> None:
    digest = commit_with_state(store, 1, b"state")
    for opened in (Store.open(store.path), pickle.loads(pickle.dumps(store))):
        assert opened.get(digest) == b"state"
        assert str(opened.objects.place) == str(store.objects.place)
        opened.close()
    export(store, [key_of(1)], tmp_path / "export")
    compact(store)
    other = Store.open(tmp_path / "other")
    import_(other, tmp_path / "export")
    assert other.get(digest) == b"state"
    assert verify(store).sound
    other.close()


# --- at an address ----------------------------------------------------------------------------------------


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Store]:
    opened = PLACES["a network's file system"](tmp_path)
    yield opened
    opened.close()


def test_a_machine_without_the_ledger_puts_and_reads_objects(remote: Store, tmp_path: Path) -> None:
    travelled = pickle.dumps(remote)
    kept = remote.put(b"kept")
    remote.close()
    shutil.move(remote.path, tmp_path / "elsewhere")
    agents = pickle.loads(travelled)
    assert (agents.get(kept), agents.get(agents.put(b"new"))) == (b"kept", b"new")
    with pytest.raises(StoreError, match="could not be read"):
        agents.records([key_of(1)])
    assert not remote.path.exists()


def test_a_process_that_sees_other_objects_is_told(remote: Store) -> None:
    remote.put(b"state")
    travelled = pickle.dumps(remote)
    Faulty.store.clear()
    with pytest.raises(StoreError, match="faulty://host/runs is not the same here"):
        pickle.loads(travelled)


def test_two_ledgers_do_not_share_objects(remote: Store, tmp_path: Path) -> None:
    remote.put(b"state")
    with pytest.raises(StoreError, match="are the objects of another store; give objects= an address of its"):
        Store.open(tmp_path / "other", objects="faulty://host/runs/")
    assert not (tmp_path / "other").exists()
    Faulty().rm_file("/host/runs/format.json")
    with pytest.raises(StoreError, match="are the objects of another store"):
        gc(Store.open(remote.path))
    with pytest.raises(StoreError, match="and objects='memory://b'; leave it out"):
        Store.open(remote.path, objects="memory://b")
    Store.open(remote.path, objects="faulty://host/runs").close()


def test_an_address_is_a_store_with_its_ledger_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = Store.open("memory://bucket/my runs")
    assert made.path == tmp_path / ".paribus-memory-bucket-my-runs"
    digest = commit_with_state(made, 1, b"state")
    made.close()
    again = Store.open(Path("memory://bucket/my runs/"))
    assert (again.get(digest), [*again.statuses([key_of(1)])]) == (b"state", [key_of(1)])
    assert MemoryFileSystem().cat_file(f"/bucket/my runs/objects/{digest[:2]}/{digest}") == b"state"
    again.close()


@pytest.mark.parametrize(
    ("operation", "error", "told"),
    [
        ("half", OSError(28, "No space left on device"), "No space left on device"),
        ("write", PermissionError("Access Denied"), "Access Denied"),
        ("move", TimeoutError(), "TimeoutError"),
    ],
)
def test_a_put_that_fails_leaves_nothing(remote: Store, operation: str, error: Exception, told: str) -> None:
    remote.put(b"sound")
    Faulty.failing[operation] = error
    with pytest.raises(StoreError, match=f"faulty://host/runs could not be written: .*{told}"):
        remote.put(b"state")
    Faulty.failing.clear()
    found = verify(remote)
    assert (found.sound, found.objects, found.leftovers) == (True, 1, 0)


def test_what_cannot_be_reached_is_neither_absent_nor_corrupt(remote: Store) -> None:
    digest = remote.put(b"state")
    Faulty.failing |= {"read": RuntimeError("503 Slow Down"), "look": ConnectionError("reset")}
    with pytest.raises(StoreError, match="could not be read: 503 Slow Down") as caught:
        remote.get(digest)
    assert not isinstance(caught.value, CorruptObjectError)
    with pytest.raises(StoreError, match="could not be read: reset"):
        remote.commit(a_record(references={"state": digest}))


def test_several_addresses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is several addresses; expected one"):
        Store.open(tmp_path / "store", objects="simplecache::memory://bucket")
    assert not (tmp_path / "store").exists()


def test_where_nothing_can_be_written_no_store_is_made(tmp_path: Path) -> None:
    Faulty.failing["write"] = PermissionError("Access Denied")
    with pytest.raises(StoreError, match="could not be used: Access Denied; see whether"):
        Store.open(tmp_path / "store", objects="faulty://host/runs")
    assert not (tmp_path / "store").exists()


def test_a_lost_permission_is_told_before_training(remote: Store) -> None:
    again = Store.open(remote.path)
    Faulty.failing["write"] = PermissionError("Access Denied")
    with pytest.raises(StoreError, match="Access Denied"):
        again.require_writable()
    again.close()


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("runs", None),
        (Path("/home/me/runs"), None),
        ("C:/runs", None),
        ("s3://bucket/runs/", "s3://bucket/runs"),
        (Path("s3://bucket/runs"), "s3://bucket/runs"),
        (Path("file:///home/me"), "file:///home/me"),
        ("memory://", "memory://"),
        ("simplecache::s3://bucket", "simplecache::s3://bucket"),
    ],
)
def test_an_address_is_known_from_a_path(written: str | Path, address: str | None) -> None:
    assert address_of(written) == address

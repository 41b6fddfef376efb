"""The store against a model of it: two dictionaries."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from store_cases import a_record, key_of

from paribus.errors import StoreError
from paribus.store import Json, Record, Retention, Store, export, gc, import_, pack, unpack, verify
from paribus.store.record import COLUMNS, decode, encode

numbers = st.integers(0, 5)
payloads = st.binary(max_size=20)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
plain: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
hexes = st.text("0123456789abcdef", min_size=32, max_size=32)
values = st.none() | st.floats() | st.lists(st.floats(), max_size=3)


@st.composite
def recordings(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """What some metrics recorded."""
    found = {}
    for digest in draw(st.lists(hexes, max_size=2, unique=True)):
        steps = sorted(draw(st.sets(st.integers(0, 9), max_size=4)))
        column = st.lists(values, min_size=len(steps), max_size=len(steps))
        named = draw(st.dictionaries(texts, column, max_size=3))
        found[digest] = {"name": draw(texts), "steps": steps, "values": named}
    return found


records = st.builds(
    Record,
    hexes,
    texts,
    texts,
    texts,
    plain,
    st.dictionaries(texts, hexes, max_size=3),
    plain,
    st.floats(1, 1e10),
    texts,
    recordings().map(pack),
)


@given(recordings())
def test_what_is_packed_is_unpacked_to_the_bit(recorded: dict[str, dict[str, Any]]) -> None:
    again = unpack(pack(recorded))
    assert repr(again) == repr(recorded)
    assert pack(again) == pack(recorded)


@given(records)
@settings(deadline=None)
def test_a_row_is_read_as_it_was_written(record: Record) -> None:
    assert decode([encode(record)]) == [record]


@given(records, st.integers(0, 10), st.data())
@settings(deadline=None)
def test_any_altered_column_is_found(record: Record, column: int, data: st.DataObject) -> None:
    row = list(encode(record))
    before = row[column]
    drawn = {"created": st.floats(1, 1e10), "numbers": payloads}.get(COLUMNS[column], texts)
    row[column] = data.draw(drawn)
    if row[column] != before:
        assert decode([tuple(row)]) == [None]


@given(st.binary(max_size=5000))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_get_returns_what_was_put(store: Store, payload: bytes) -> None:
    assert store.get(store.put(payload)) == payload


class StoreMachine(RuleBasedStateMachine):
    """Puts, commits, discards, collections, and exports in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(Path(self.folder.name) / "store")
        self.rows: dict[str, Record] = {}
        self.objects: dict[str, bytes] = {}
        self.pins: set[str] = set()

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(payload=payloads)
    def put(self, payload: bytes) -> None:
        self.objects[self.store.put(payload)] = payload

    @rule(
        number=numbers, payload=payloads, status=st.sampled_from(["done", "diverged", "failed"]), body=plain
    )
    def commit(self, number: int, payload: bytes, status: str, body: Json) -> None:
        self.put(payload)
        digest = self.store.put(payload)
        record = a_record(number, status=status, body=body, references={"state": digest})
        self.store.commit(record)
        self.rows[record.key] = record

    @rule(number=numbers)
    def commit_without_object(self, number: int) -> None:
        with pytest.raises(StoreError, match="put it first"):
            self.store.commit(a_record(number, references={"state": "f" * 32}))

    @rule(number=numbers)
    def discard(self, number: int) -> None:
        self.store.discard(key_of(number))
        self.rows.pop(key_of(number), None)

    @rule(number=numbers)
    def pin(self, number: int) -> None:
        self.store.pins.add([key_of(number)])
        self.pins.add(key_of(number))

    @rule(budget=st.none() | st.integers(0, 40))
    def collect(self, budget: int | None) -> None:
        retention = Retention(budget=budget, grace=0)
        said = gc(self.store, retention, dry_run=True, now=4e9)
        assert gc(self.store, retention, now=4e9) == said
        assert not self.pins & set(said.records)
        self.rows = {key: record for key, record in self.rows.items() if key not in said.records}
        named = {digest for record in self.rows.values() for digest in record.references.values()}
        assert set(said.objects) == self.objects.keys() - named
        self.objects = {digest: self.objects[digest] for digest in named}

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(self.store.path)

    @rule()
    def move_to_another_store_by_an_export(self) -> None:
        file = Path(self.folder.name) / "export"
        export(self.store, self.rows, file)
        self.store.close()
        self.store = Store.open(tempfile.mkdtemp(dir=self.folder.name))
        assert set(import_(self.store, file).added) == self.rows.keys()
        self.store.pins.add(self.pins)
        named = {digest for record in self.rows.values() for digest in record.references.values()}
        self.objects = {digest: self.objects[digest] for digest in named}

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        keys = [key_of(number) for number in range(6)]
        assert self.store.records(keys) == self.rows
        assert self.store.statuses(keys) == {key: record.status for key, record in self.rows.items()}
        assert {digest: self.store.get(digest) for digest in self.objects} == self.objects
        assert verify(self.store).sound


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)

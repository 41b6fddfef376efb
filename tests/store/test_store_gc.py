"""gc takes what nobody needs, and nothing else."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_cases import a_record, commit_with_state, key_of

from paribus.errors import StoreError
from paribus.store import Retention, Store, compact, gc, verify
from paribus.store.collection import Use, expired

FUTURE = 4e9  # Unix seconds, when all that the tests write is old


def test_without_limits_gc_takes_only_objects_without_a_record(store: Store) -> None:
    kept = commit_with_state(store, 1, b"kept")
    lost = store.put(b"without a record")
    sweep = gc(store, now=FUTURE)
    assert sweep.objects == (lost,)
    assert (sweep.records, sweep.freed, sweep.kept) == ((), 16, 4)
    assert store.get(kept) == b"kept"
    assert verify(store).sound


def test_a_young_object_stays_for_its_record_to_come(store: Store) -> None:
    digest = store.put(b"state")
    assert gc(store).objects == ()
    store.commit(a_record(references={"state": digest}))


def test_an_old_object_that_is_put_again_is_young(store: Store) -> None:
    digest = store.put(b"state")
    os.utime(store.path_of(digest), (0, 0))
    store.put(b"state")
    assert gc(store).objects == ()


def test_a_dry_run_says_what_gc_then_does(store: Store) -> None:
    for number in range(6):
        commit_with_state(store, number, bytes([number]) * 100)
    store.put(b"without a record")
    retention = Retention(budget=250)
    said = gc(store, retention, dry_run=True, now=FUTURE)
    assert verify(store).records == 6
    assert gc(store, retention, now=FUTURE) == said
    assert len(said.records) == 4
    assert gc(store, retention, now=FUTURE).freed == 0


def test_records_unused_for_long_go_and_touched_ones_stay(store: Store) -> None:
    for number in range(3):
        commit_with_state(store, number, bytes([number]))
    store.ledger.write("UPDATE records SET used = 0")
    store.touch([key_of(1)])
    sweep = gc(store, Retention(unused_for=3600), dry_run=True)
    assert set(sweep.records) == {key_of(0), key_of(2)}


def test_pinned_and_claimed_keys_stay(store: Store) -> None:
    for number in range(4):
        commit_with_state(store, number, bytes([number]))
    store.pins.add([key_of(1), key_of(77)])
    store.claims.acquire(key_of(2), "a", 60, now=FUTURE)
    assert set(gc(store, Retention(budget=0), now=FUTURE).records) == {key_of(0), key_of(3)}
    store.pins.remove([key_of(1), key_of(99)])
    assert store.pins.all() == {key_of(77)}
    assert gc(store, Retention(budget=0), now=FUTURE + 61).records == (key_of(2), key_of(1))


@pytest.mark.parametrize(
    ("budget", "kept"),
    [(0, []), (19, [0]), (29, [0, 1]), (30, [0, 1, 2]), (39, [0, 1, 2]), (40, [0, 1, 2, 3])],
)
def test_a_budget_takes_ends_before_the_trunks_that_they_grew_from(
    budget: int, kept: list[int], store: Store
) -> None:
    """The last one of a path was used last; it is kept with all of its past, or not at all."""
    trunks = {key_of(1): [key_of(0)], key_of(2): [key_of(1)], key_of(3): [key_of(1)]}
    for number, used in enumerate([1, 2, 9, 4]):
        commit_with_state(store, number, bytes([number]) * 10)
        store.ledger.write("UPDATE records SET used = ? WHERE key = ?", (used, key_of(number)))
    gc(store, Retention(budget=budget), past_of=lambda record: trunks.get(record.key, ()), now=FUTURE)
    assert sorted(record.key for record in store.scan()) == [key_of(number) for number in kept]
    assert verify(store).sound


def test_the_past_of_what_is_pinned_or_claimed_stays(store: Store) -> None:
    for number in range(6):
        commit_with_state(store, number, bytes([number]))
    store.pins.add([key_of(1)])
    store.claims.acquire(key_of(4), "a", 60, now=FUTURE)
    trunks = {key_of(1): [key_of(0)], key_of(4): [key_of(3)], key_of(5): [key_of(4)]}
    swept = gc(store, Retention(budget=0), past_of=lambda record: trunks.get(record.key, ()), now=FUTURE)
    assert set(swept.records) == {key_of(2), key_of(5)}


def test_what_a_pinned_record_reads_of_others_stays_with_their_past(store: Store) -> None:
    for number in range(6):
        commit_with_state(store, number, bytes([number]))
    store.pins.add([key_of(5)])
    pasts = {key_of(5): [key_of(4), key_of(2)], key_of(2): [key_of(1)], key_of(4): [key_of(1)]}
    swept = gc(store, Retention(budget=0), past_of=lambda record: pasts.get(record.key, ()), now=FUTURE)
    assert set(swept.records) == {key_of(0), key_of(3)}


def test_temporaries_of_killed_writers_go_and_strangers_stay(store: Store) -> None:
    folder = store.path_of(store.put(b"x")).parent
    (folder / ".abc.123.tmp").write_bytes(b"half")
    (folder / "notes.txt").write_bytes(b"mine")
    assert gc(store).leftovers == 0
    assert gc(store, now=FUTURE).leftovers == 1
    assert (folder / "notes.txt").exists()


def test_gc_without_grace_may_refuse_a_writer_but_leaves_no_dangling_reference(store: Store) -> None:
    stop = threading.Event()

    def write() -> None:
        try:
            for number in range(300):
                with suppress(StoreError):
                    commit_with_state(store, number % 20, b"%d" % (number % 7))
        finally:
            stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not stop.is_set():
        gc(store, Retention(budget=3, grace=0), now=FUTURE)
    writer.join()
    assert verify(store).sound


def test_within_the_grace_gc_never_disturbs_a_writer(store: Store) -> None:
    stop = threading.Event()

    def collect() -> None:
        while not stop.is_set():
            gc(store, Retention(budget=0))

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        digests = [commit_with_state(store, number, b"%d" % number) for number in range(100)]
    finally:
        stop.set()
        collector.join()
    assert [store.get(digest) for digest in digests] == [b"%d" % number for number in range(100)]


@pytest.mark.parametrize("limits", [{"budget": -1}, {"unused_for": float("nan")}, {"grace": -0.5}])
def test_limits_below_0_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(StoreError, match="expected a number of at least 0"):
        Retention(**limits)


def test_a_budget_counts_a_shared_object_once(store: Store) -> None:
    for number in range(5):
        commit_with_state(store, number, b"shared")
    assert gc(store, Retention(budget=6), now=FUTURE).records == ()


digests = st.frozensets(st.sampled_from("abcdef"), max_size=3)
uses = st.lists(
    st.builds(
        Use,
        st.sampled_from("klmnopq"),
        st.floats(0, 1000),
        digests,
        # Also of each other, as a stranger's may be.
        st.lists(st.sampled_from("klmnopqr"), max_size=3).map(tuple),
    ),
    unique_by=lambda u: u.key,
)
retentions = st.builds(
    Retention, st.none() | st.floats(0, 1000), st.none() | st.integers(0, 20), st.floats(0, 500)
)


def past_of(uses: list[Use], chosen: list[Use]) -> list[Use]:
    past = list(chosen)
    for use in past:
        past += [other for other in uses if other.key in use.past and other not in past]
    return past


@settings(deadline=None)
@given(uses, st.sets(st.sampled_from("klmnopq")), retentions)
def test_what_expires_is_beyond_the_limits_and_what_stays_is_within(
    uses: list[Use], held: set[str], retention: Retention
) -> None:
    sizes = {digest: index for index, digest in enumerate("abcdef")}
    gone = set(expired(uses, sizes, held, retention, now=1000))
    needed = {key for use in uses if use.key not in gone for key in use.past}
    assert not needed & gone, "what a record grew from stays as long as it does"
    free = [use for use in uses if use.key not in held and 1000 - use.used > retention.grace]
    assert gone <= {use.key for use in free}
    if retention.unused_for is not None:
        assert gone >= {use.key for use in free if 1000 - use.used > retention.unused_for} - needed
    elif retention.budget is None:
        assert not gone
    kept = {digest for use in uses if use.key not in gone for digest in use.digests}
    bound = {
        digest for use in past_of(uses, [use for use in uses if use not in free]) for digest in use.digests
    }
    if retention.budget is not None:
        assert sum(sizes[digest] for digest in kept) <= max(
            retention.budget, sum(sizes[digest] for digest in bound)
        ) + sum(sizes[digest] for digest in bound)


@pytest.mark.parametrize("refs", ["", "[]", '{"a": []}', "1", "[" * 100_000])
def test_a_row_that_cannot_be_read_marks_nothing_and_stops_nothing(store: Store, refs: str) -> None:
    commit_with_state(store, 1, b"1")
    kept = commit_with_state(store, 2, b"2")
    store.ledger.write("UPDATE records SET refs = ? WHERE key = ?", (refs, key_of(1)))
    assert len(gc(store, now=FUTURE).objects) == 1
    assert store.get(kept) == b"2"


def test_compact_gives_the_space_of_removed_rows_back(store: Store, tmp_path: Path) -> None:
    for number in range(200):
        store.commit(a_record(number, body="x" * 10_000))
    compact(store)
    before = store.ledger.path.stat().st_size
    for number in range(200):
        store.discard(key_of(number))
    compact(store)
    assert store.ledger.path.stat().st_size < before / 10

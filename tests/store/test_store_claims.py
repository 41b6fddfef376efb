"""One owner at a time, and none for ever."""

from __future__ import annotations

import pytest
from store_cases import finish, key_of, start

from paribus.store import Store

KEY = key_of(1)
LEASE = 10.0


def test_a_live_claim_bars_others_and_a_dead_one_does_not(store: Store) -> None:
    claims = store.claims
    assert claims.acquire(KEY, "a", LEASE, now=100)
    assert claims.acquire(KEY, "a", LEASE, now=101)
    assert not claims.acquire(KEY, "b", LEASE, now=110.9)
    assert claims.live(now=110.9) == {KEY: "a"}
    assert claims.live(now=111) == {}
    assert claims.acquire(KEY, "b", LEASE, now=111)
    assert claims.live(now=111) == {KEY: "b"}


def test_a_heartbeat_prolongs_a_claim(store: Store) -> None:
    assert store.claims.acquire(KEY, "a", LEASE, now=100)
    assert store.claims.renew(KEY, "a", LEASE, now=109)
    assert not store.claims.acquire(KEY, "b", LEASE, now=118)


def test_an_owner_whose_claim_was_stolen_learns_it(store: Store) -> None:
    store.claims.acquire(KEY, "a", LEASE, now=100)
    store.claims.acquire(KEY, "b", LEASE, now=200)
    assert not store.claims.renew(KEY, "a", LEASE, now=201)
    assert not store.claims.release(KEY, "a")
    assert store.claims.live(now=201) == {KEY: "b"}


def test_a_released_claim_is_free(store: Store) -> None:
    store.claims.acquire(KEY, "a", LEASE, now=100)
    assert store.claims.release(KEY, "a")
    assert not store.claims.renew(KEY, "a", LEASE, now=100)
    assert store.claims.acquire(KEY, "b", LEASE, now=100)


def test_a_clock_set_back_does_not_prolong_a_dead_claim(store: Store) -> None:
    store.claims.acquire(KEY, "a", LEASE, now=1_000_000)
    assert not store.claims.acquire(KEY, "b", LEASE, now=1_000_000 - 9)
    assert store.claims.acquire(KEY, "b", LEASE, now=500_000)


def test_a_clock_set_back_does_not_kill_an_owner_that_beats(store: Store) -> None:
    store.claims.acquire(KEY, "a", LEASE, now=1_000_000)
    assert store.claims.renew(KEY, "a", LEASE, now=500_000)
    assert not store.claims.acquire(KEY, "b", LEASE, now=500_001)


def test_claims_without_a_given_time_use_the_clock(store: Store) -> None:
    assert store.claims.acquire(KEY, "a", 3600)
    assert not store.claims.acquire(KEY, "b", 3600)
    assert store.claims.live() == {KEY: "a"}


@pytest.mark.parametrize("processes", [4])
def test_of_several_processes_one_gets_each_key(store: Store, processes: int) -> None:
    script = (
        "store = Store.open(args[0])\n"
        "print(*[n for n in range(200) if store.claims.acquire(key_of(n), args[1], 3600)])\n"
    )
    running = [start(script, store.path, f"owner{index}") for index in range(processes)]
    won = [number for process in running for number in finish(process).split()]
    assert sorted(map(int, won)) == list(range(200))

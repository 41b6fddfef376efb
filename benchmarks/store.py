"""The store at 100,000 entries."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from xxhash import xxh3_128_hexdigest

from benchmarks.measure import Benchmark, Figure, middle, side_by_side
from paribus.store import Record, Store

_MANIFEST = '{"model":"' + 1500 * "m" + '"}'
_BODY = {"stop": 1, "metrics": {"loss": {"steps": list(range(20)), "values": {"loss": 20 * [0.5]}}}}


def measure(entries: int, batch: int, repetitions: int) -> list[Figure]:
    """Fill a store, then time its readers; the file system's cache is warm."""
    with tempfile.TemporaryDirectory() as folder:
        keys = [xxh3_128_hexdigest(str(number).encode()) for number in range(entries)]
        absent = [xxh3_128_hexdigest(f"absent {number}".encode()) for number in range(entries)]
        _fill(folder, keys)
        store = Store.open(folder)
        some = keys[:: max(1, entries // batch)][:batch]
        sides: dict[str, Callable[[], object]] = {
            "hit": partial(_one_by_one, store, some),
            "miss": partial(_one_by_one, store, absent[:batch]),
            "records": partial(store.records, some),
            "statuses": partial(store.statuses, keys),
            "absent": partial(store.statuses, absent),
            "opening": lambda: Store.open(folder).records(keys[:1]),
        }
        timings = side_by_side({name: _prepared(side) for name, side in sides.items()}, repetitions)
        store.close()
    at = {name: middle(times) for name, times in timings.items()}
    among = f"among {entries:,}"
    return [
        Figure(f"one hit {among}", at["hit"].wall / batch * 1e3, "ms", cpu=at["hit"].cpu / batch * 1e3),
        Figure(f"one miss {among}", at["miss"].wall / batch * 1e3, "ms", cpu=at["miss"].cpu / batch * 1e3),
        Figure(f"{batch:,} records at once {among}", at["records"].wall, "s", 0.1, cpu=at["records"].cpu),
        Figure(
            f"statuses of {entries:,} keys, all hits", at["statuses"].wall, "s", 0.3, cpu=at["statuses"].cpu
        ),
        Figure(
            f"statuses of {entries:,} keys, all misses", at["absent"].wall, "s", 0.3, cpu=at["absent"].cpu
        ),
        Figure(f"opening and first hit {among}", at["opening"].wall * 1e3, "ms", cpu=at["opening"].cpu * 1e3),
    ]


def _prepared(side: Callable[[], object]) -> Callable[[], Callable[[], object]]:
    return lambda: side


def _one_by_one(store: Store, keys: list[str]) -> None:
    for key in keys:
        store.records((key,))


def _fill(folder: str, keys: list[str]) -> None:
    """Write the rows in one transaction: how they came is not what is measured."""
    from paribus.store.record import COLUMNS, encode

    store, now = Store.open(Path(folder)), time.time()
    rows = (
        (*encode(Record(key, "segment", "done", _MANIFEST, _BODY, {}, {}, now, key)), now)  # type: ignore[arg-type]
        for key in keys
    )
    places = ", ".join("?" * (len(COLUMNS) + 1))
    with store.ledger.transaction() as connection:
        connection.executemany(f"INSERT INTO records ({', '.join(COLUMNS)}, used) VALUES ({places})", rows)
    store.close()


BENCHMARK = Benchmark(
    "store",
    "A ledger of rows of 2 kB: one hit and one miss by itself, a batch of records, the statuses of "
    "every key, and the opening of the store with its first hit.",
    {
        "full": {"entries": 100_000, "batch": 1000, "repetitions": 9},
        "quick": {"entries": 100_000, "batch": 1000, "repetitions": 3},
        "tiny": {"entries": 10, "batch": 5, "repetitions": 1},
    },
    measure,
)

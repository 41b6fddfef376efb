"""The store at 100,000 entries."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from xxhash import xxh3_128_hexdigest

from paribus.bench.measure import Benchmark, Figure, middle, side_by_side
from paribus.store import Record, Store, pack

_MANIFEST = '{"model":"' + 1500 * "m" + '"}'
_BODY = {"start": 0, "stop": 19, "step": 19, "finite": True, "seconds": 0.5, "error": "", "traceback": ""}
_ROWS = {"name": "loss", "steps": list(range(20)), "values": {"loss": 20 * [0.5]}}
_REFERENCES = dict.fromkeys(("state", "model", "data", "objective", "code"), "0" * 32)


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
    hit, miss = (middle(timings[name], 1e6 / len(some)) for name in ("hit", "miss"))
    opening = middle(timings["opening"], 1e3)
    among = f"among {entries:,}"
    return [
        Figure(f"one hit {among}", hit.wall, "µs", 50, cpu=hit.cpu),
        Figure(f"one miss {among}", miss.wall, "µs", 25, cpu=miss.cpu),
        Figure(f"{batch:,} records at once {among}", at["records"].wall, "s", 0.1, cpu=at["records"].cpu),
        Figure(
            f"statuses of {entries:,} keys, all hits", at["statuses"].wall, "s", 0.3, cpu=at["statuses"].cpu
        ),
        Figure(
            f"statuses of {entries:,} keys, all misses", at["absent"].wall, "s", 0.3, cpu=at["absent"].cpu
        ),
        Figure(f"opening and first hit {among}", opening.wall, "ms", 5, cpu=opening.cpu),
    ]


def _prepared(side: Callable[[], object]) -> Callable[[], Callable[[], object]]:
    return lambda: side


def _one_by_one(store: Store, keys: list[str]) -> None:
    for key in keys:
        store.records((key,))


def _fill(folder: str, keys: list[str]) -> None:
    """Write the rows in one transaction: how they came is not what is measured."""
    from paribus.store.record import COLUMNS, encode

    store, now, columns = Store.open(Path(folder)), time.time(), pack({"d" * 32: _ROWS})
    rows = (
        (*encode(Record(key, "segment", "done", _MANIFEST, _BODY, _REFERENCES, {}, now, key, columns)), now)
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

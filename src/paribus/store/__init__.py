"""The store: a ledger of records over objects named by content. It knows bytes, keys and JSON, not torch."""

from __future__ import annotations

from paribus.store.claims import Claims
from paribus.store.collection import Retention, Sweep, gc, sweep
from paribus.store.columns import SCALAR, Columns, Layout, Recording, pack, unpack
from paribus.store.compaction import Compaction, compact
from paribus.store.exchange import Imported, export, import_
from paribus.store.objects import Buffer
from paribus.store.pins import Pins
from paribus.store.record import Json, Record
from paribus.store.statistics import Statistics, stats
from paribus.store.store import Store
from paribus.store.verification import Verification, verify

__all__ = [
    "SCALAR",
    "Buffer",
    "Claims",
    "Columns",
    "Compaction",
    "Imported",
    "Json",
    "Layout",
    "Pins",
    "Record",
    "Recording",
    "Retention",
    "Statistics",
    "Store",
    "Sweep",
    "Verification",
    "compact",
    "export",
    "gc",
    "import_",
    "pack",
    "stats",
    "sweep",
    "unpack",
    "verify",
]

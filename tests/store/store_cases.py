from __future__ import annotations

import math
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from paribus.store import Columns, Json, Record, Store, pack


def key_of(number: int) -> str:
    return f"{number:032x}"


def a_record(
    number: int = 1,
    *,
    status: str = "done",
    body: Json = None,
    references: Mapping[str, str] | None = None,
    created: float = 1.5,
    columns: Columns | None = None,
    family: str = "f" * 32,
) -> Record:
    return Record(
        key_of(number),
        "segment",
        status,
        '{"steps":1}',
        body,
        references or {},
        {"torch": "2.15"},
        created,
        columns=columns or pack({}),
        family=family,
    )


def some_columns() -> Columns:
    """Every kind of value: numbers, one that is absent, vectors of two lengths, and what is no number."""
    nan = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_00AB))[0]
    values = {"a": [0.1, -0.0, None], "b": [[1.0, nan], [], None], "c": [math.inf, -math.inf, 5e-324]}
    return pack({"d" * 32: {"name": "metric", "steps": [0, 3, 9], "values": values}})


def commit_with_state(store: Store, number: int, payload: bytes) -> str:
    digest = store.put(payload)
    store.commit(a_record(number, references={"state": digest}))
    return digest


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Run a script in another Python; it has `Store`, `a_record`, … and its arguments in `args`."""
    head = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from store_cases import *\n"
        "from paribus.store import *\n"
        "args = sys.argv[1:]\n"
    )
    command = [sys.executable, "-W", "error", "-c", head + script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def flip_bit(path: Path) -> None:
    payload = bytearray(path.read_bytes())
    payload[len(payload) // 2] ^= 1
    overwrite(path, bytes(payload))


def overwrite(path: Path, payload: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(payload)


@contextmanager
def mounted(*arguments: str, at: Path) -> Iterator[None]:
    """A mount for the time of a test; the test is skipped where mounts are not permitted."""
    made = subprocess.run(["mount", *arguments, str(at)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("mounts are not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Make a folder read-only, for root too."""
    if os.geteuid():
        folders = [path, *(folder for folder in path.rglob("*") if folder.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        try:
            yield
        finally:
            for folder in folders:
                folder.chmod(0o755)
        return
    with mounted("--bind", str(path), at=path):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(path)], check=True)
        yield

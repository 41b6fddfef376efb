"""Scripts in processes of their own: fresh ones, and forks that have the slow imports behind them."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from textwrap import dedent
from typing import Any


def run_fresh(text: str, folder: Path, *flags: str, python: str = sys.executable, **environment: str) -> str:
    """Run a script in a new Python, and give what it printed last."""
    script = folder / "script.py"
    script.write_text(dedent(text))
    done = subprocess.run(
        [python, *flags, str(script)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def run_forked(text: str, folder: Path, **environment: str) -> Any:
    """Run a script in a fork of this process, as if it were the main one, and give what it named ``told``."""
    script = folder / "script.py"
    script.write_text(dedent(text))
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        return pool.submit(_told, script, environment).result()


def _told(script: Path, environment: dict[str, str]) -> Any:
    os.environ |= environment
    os.chdir(script.parent)
    sys.path.insert(0, str(script.parent))
    sys.dont_write_bytecode = True
    return runpy.run_path(str(script), run_name="__main__")["told"]

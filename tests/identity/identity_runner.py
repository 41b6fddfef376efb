"""Digest the subject of each project that is described in a file; run in a process of its own."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

from paribus.errors import FingerprintError
from paribus.identity import digest


def patchable() -> list[tuple[object, str]]:
    """List what cases change in libraries; it is set back after each."""
    known = [(sys.modules[name], "__version__") for name in ("numpy", "torch") if name in sys.modules]
    if "torch" in sys.modules:
        known.append((sys.modules["torch"].nn.Linear, "forward"))
    return known


def digest_of(folder: Path, files: dict[str, str], parameters: bool) -> str:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    before = set(sys.modules)
    patched = [(owner, name, getattr(owner, name)) for owner, name in patchable()]
    sys.path.insert(0, str(folder))
    try:
        subject = __import__("main").subject
        return digest(subject() if parameters else subject).hex()
    except FingerprintError as error:
        return f"FingerprintError: {error}"
    finally:
        sys.path.remove(str(folder))
        for owner, name, original in patched:
            setattr(owner, name, original)
        for name in set(sys.modules) - before:
            origin = getattr(sys.modules[name], "__file__", None) or ""
            if origin.startswith(str(folder)):
                del sys.modules[name]


def digests(root: Path) -> dict[str, str]:
    """Digest the subject of each project, laid out beside the file that describes them."""
    warnings.simplefilter("error")
    import numpy  # noqa: F401  a library that cases patch

    cases = json.loads((root / "cases.json").read_text())
    if any(case["torch"] for case in cases):
        warnings.simplefilter("default")  # torch's import may warn
        import torch

        torch.set_num_threads(1)
        warnings.simplefilter("error")
    told = {
        case["name"]: digest_of(root / f"project{place}", case["files"], case["torch"])
        for place, case in enumerate(cases)
    }
    if not any(case["torch"] for case in cases):
        told["torch was imported"] = str("torch" in sys.modules)
    return told


if __name__ == "__main__":
    json.dump(digests(Path(sys.argv[1])), sys.stdout)

"""Canonical bytes of values, fingerprints of code, models and data, and named random streams."""

from __future__ import annotations

from paribus.identity import witness
from paribus.identity.files import File
from paribus.identity.fingerprint import Fingerprint, digest, fingerprint, fingerprint_module
from paribus.identity.marks import accept, depends_on, exclude, versioned
from paribus.identity.source import EditedSourceWarning
from paribus.identity.streams import derive_seed, generator

__all__ = [
    "EditedSourceWarning",
    "File",
    "Fingerprint",
    "accept",
    "depends_on",
    "derive_seed",
    "digest",
    "exclude",
    "fingerprint",
    "fingerprint_module",
    "generator",
    "versioned",
]

witness.stand()

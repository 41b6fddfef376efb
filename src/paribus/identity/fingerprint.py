"""The digest and the fingerprint of any value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from paribus.errors import FingerprintError
from paribus.identity.grammar import WRITERS, NotPlainError, hash128, refuse
from paribus.identity.graph import Form, digest_of
from paribus.identity.objects import NoIdentityError
from paribus.identity.parts import covered, parts
from paribus.identity.walk import Walk

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Fingerprint:
    """What a value is: a digest for the key, and its parts in words for the reader."""

    digest: bytes
    label: str
    _form: Form = field(repr=False, compare=False)

    def __reduce__(self) -> tuple[object, ...]:
        # What travels to a worker is what the key needs; the words stay where they were read.
        return Fingerprint, (self.digest, self.label, self.digest)

    @cached_property
    def parts(self) -> Mapping[str, str]:
        """Map the path of each piece to a short text, or to the canonical text of code."""
        return parts(self._form)

    @cached_property
    def covered(self) -> frozenset[bytes]:
        """Hold the digests of all code that counts in it."""
        return covered(self._form)


def digest(value: object) -> bytes:
    """Hash a value to 16 bytes: equal in every process and on every day, for values that are the same.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True

    Raises:
        FingerprintError: the value, or one that it refers to, cannot be told from others.
    """
    write = WRITERS[type(value)]
    if write is not refuse:
        try:
            return hash128(write(value))
        except (NotPlainError, RecursionError):
            pass
    return digest_of(_form(value, contents=False, name=None))


def fingerprint(value: object, *, name: str | None = None) -> Fingerprint:
    """Take the fingerprint of a value.

    Args:
        value: anything.
        name: what errors and parts call it; its own name where there is none.

    Raises:
        FingerprintError: the value, or one that it refers to, cannot be told from others.
    """
    form = _form(value, contents=False, name=name)
    return Fingerprint(digest_of(form), name or _label(value), form)


def fingerprint_module(model: nn.Module, *, contents: bool = False, name: str | None = None) -> Fingerprint:
    """Take the fingerprint of a model; its weights count by content only where they are kept.

    Raises:
        FingerprintError: the model, or a piece of it, cannot be told from others.
    """
    form = _form(model, contents=contents, name=name)
    return Fingerprint(digest_of(form), name or _label(model), form)


def _form(value: object, *, contents: bool, name: str | None) -> Form:
    walk = Walk(contents=contents)
    try:
        form = walk.form(value)
        digest_of(form)
        walk.remember()
        return form
    except NoIdentityError as error:
        path = name or _label(value)
        for step in reversed(error.path):
            path += step if step.startswith("[") else f".{step}"
        raise FingerprintError(
            f"{path} {error.kind!r}: {error.reason}; give it version=…, or exclude(reason=…)"
        ) from error


def _label(value: object) -> str:
    named: object = getattr(value, "__qualname__", None) or getattr(type(value), "__qualname__", "value")
    return str(named)

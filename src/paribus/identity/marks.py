"""What the user declares about a value's identity: the escape hatches, explicit and recorded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from paribus.errors import FingerprintError

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = TypeVar("Value")

ATTRIBUTE = "__paribus_identity__"


@dataclass(frozen=True, slots=True)
class Mark:
    """What is declared of one value; it is kept on the value itself."""

    version: str | None = None
    excluded: str | None = None
    without: Mapping[str, str] = field(default_factory=dict)
    depends_on: tuple[object, ...] = ()
    accepted: str | None = None


NONE = Mark(without=MappingProxyType({}))


def versioned(value: Value, *, version: str) -> Value:
    """Let a version stand for what a value is: its code and content count no more.

    Works in place on functions, classes and objects.

    >>> def loss(x): return x
    >>> versioned(loss, version="2") is loss
    True

    Raises:
        FingerprintError: the value takes no mark (a number, a list, a dict).
    """
    return _mark(value, version=str(version))


def exclude(value: Value, *names: str, reason: str) -> Value:
    """Leave a value, or only these names of it, out of the key.

    The names are attributes of an object or a class, or globals that a function reads. The reason is
    recorded with the key; its wording is not part of the key.

    >>> CACHE = {}
    >>> def forward(x): return CACHE.setdefault(x, x)
    >>> exclude(forward, "CACHE", reason="remembers, never changes a result") is forward
    True

    Raises:
        FingerprintError: the value takes no mark (a number, a list, a dict).
    """
    if not names:
        return _mark(value, excluded=reason)
    return _mark(value, without={**of(value).without, **dict.fromkeys(names, reason)})


def depends_on(value: Value, *others: object) -> Value:
    """Declare what a value runs or reads that cannot be seen in its text.

    Raises:
        FingerprintError: the value takes no mark (a number, a list, a dict).
    """
    return _mark(value, depends_on=(*of(value).depends_on, *others))


def accept(value: Value, *, same_as: str) -> Value:
    """Declare a changed value to be the same as one with this digest: the change was cosmetic.

    Args:
        value: a function, a class or an object.
        same_as: the digest, 32 hex digits, that the value had before the change.

    Raises:
        FingerprintError: this is no digest, or the value takes no mark (a number, a list, a dict).
    """
    if len(same_as) != 32 or set(same_as) - set("0123456789abcdef"):
        raise FingerprintError(f"accept: same_as={same_as!r} is no digest; expected its 32 hex digits")
    return _mark(value, accepted=same_as)


def of(value: object) -> Mark:
    """Read what is declared of this very value, not of its class."""
    own = getattr(value, "__dict__", None)
    mark: Mark = own.get(ATTRIBUTE, NONE) if own else NONE
    return mark


def _mark(value: Value, **declared: Any) -> Value:
    mark = replace(of(value), **declared)
    try:
        setattr(value, ATTRIBUTE, mark)
    except (AttributeError, TypeError):
        if not hasattr(value, "__dict__") or isinstance(value, type):
            raise FingerprintError(
                f"{type(value).__name__!r} object takes no mark; mark the function, class or object that "
                f"holds it: exclude(holder, 'name', reason=…)"
            ) from None
        object.__setattr__(value, ATTRIBUTE, mark)  # frozen; the mark is no part of its value
    return value

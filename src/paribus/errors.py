"""Every exception that Paribus raises on purpose.

The tree::

    ParibusError
    ├── ConfigurationError      the experiment as written cannot be run
    │   ├── LevelError          a level, a grid or a design is wrong
    │   ├── AblationError       a layer cannot be removed, or not so
    │   │   ├── NoEffect, InputCut, OutputProducer, TiedAlias, Opaque
    │   │   └── ShapeUnrepairable(op, shapes)
    │   ├── DataError           a dataset or a batch is wrong
    │   └── ObjectiveError      a loss or an objective is wrong
    ├── FingerprintError        a value has no identity that can be trusted
    ├── StoreError              a store cannot be opened, read or written
    │   └── CorruptObjectError  a stored object is missing or was altered
    ├── MetricError             a metric cannot be recorded
    ├── AnalysisError           a table or figure cannot be made from these runs
    └── ExecutionError          an executor cannot start or go on
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ParibusError(Exception):
    """Base of all errors that Paribus raises on purpose."""


class ConfigurationError(ParibusError, ValueError):
    """The experiment, as it is written, cannot be run."""


class LevelError(ConfigurationError):
    """A level, a grid or a design is wrong."""


class AblationError(ConfigurationError):
    """A layer cannot be removed, or not in this way."""


class NoEffect(AblationError):  # noqa: N818  # the refusals are named for what was found
    """The change changes nothing that the model computes."""


class InputCut(AblationError):  # noqa: N818
    """After the change, an output depends on the input no more."""


class OutputProducer(AblationError):  # noqa: N818
    """The layer makes the model's output: without it the output has another shape."""


class TiedAlias(AblationError):  # noqa: N818
    """What is to be changed is used under another name too."""


class Opaque(AblationError):  # noqa: N818
    """The layer is inside something that cannot be edited or watched."""


class ShapeUnrepairable(AblationError):  # noqa: N818
    """Without the layer the shapes do not fit, and no repair makes them.

    Attributes:
        op: What failed: the path of a submodule, or ``"forward"``.
        shapes: The shapes that it was given, or that were got and expected.
    """

    def __init__(self, message: str, op: str = "", shapes: tuple[tuple[int, ...], ...] = ()) -> None:
        super().__init__(message)
        self.op, self.shapes = op, shapes


class DataError(ConfigurationError):
    """A dataset, a split or a batch is wrong."""


class ObjectiveError(ConfigurationError):
    """A loss or an objective is wrong."""


class FingerprintError(ParibusError, TypeError):
    """A value has no identity that can be trusted."""


class StoreError(ParibusError, OSError):
    """A store cannot be opened, read or written."""


class CorruptObjectError(StoreError):
    """A stored object is missing or was altered."""


class MetricError(ParibusError, ValueError):
    """A metric cannot be recorded."""


class AnalysisError(ParibusError, ValueError):
    """A table or a figure cannot be made from these runs."""


class ExecutionError(ParibusError, RuntimeError):
    """An executor cannot start or go on."""


def in_one_line(error: Exception) -> str:
    """Return what an error says, without breaks."""
    return " ".join(str(error).split())


def suggest(name: str, known: Iterable[str]) -> str:
    """Phrase the known names, and the nearest one, for an error message.

    >>> suggest("momentun", ["lr", "momentum"])
    "(lr, momentum); did you mean 'momentum'?"
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    listed = f"({', '.join(names)})"
    return f"{listed}; did you mean {near[0]!r}?" if near else listed

"""A user's experiment, loaded from where they wrote it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

from paribus.errors import ConfigurationError, ParibusError, suggest

if TYPE_CHECKING:
    from paribus.experiment import Experiment


def load_experiment(place: str) -> Experiment:
    """Run a Python file, or import a module, and return the experiment that it names.

    Args:
        place: ``FILE.py:NAME`` or ``module:NAME``; the name is of an experiment, or of a function without
            arguments that returns one.

    Raises:
        ConfigurationError: The file or the name is not there, fails, or is no experiment.
    """
    from paribus.experiment import Experiment

    source, colon, name = place.rpartition(":")
    if not colon or not source or not name:
        raise ConfigurationError(f"experiment: {place!r} names none; write FILE.py:NAME or module:NAME")
    try:
        module = _from_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
        if not hasattr(module, name):
            kinds = (Experiment, FunctionType)
            known = [other for other, value in vars(module).items() if isinstance(value, kinds)]
            raise ConfigurationError(f"experiment: {source} has no {name!r} {suggest(name, known)}")
        found = getattr(module, name)
        found = found() if callable(found) else found
    except ParibusError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ConfigurationError(
            f"experiment: {place} could not be loaded ({what}); mend it first"
        ) from error
    if not isinstance(found, Experiment):
        raise ConfigurationError(f"experiment: {place} is a {type(found).__name__}; name an Experiment")
    return found


def _from_file(path: Path) -> ModuleType:
    # As Python does with a script: its folder is where its imports are looked for first.
    sys.path.insert(0, str(path.resolve().parent))
    name = path.stem if path.stem not in sys.modules else f"{path.stem}_experiment"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"experiment: {path} is no Python file; name one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

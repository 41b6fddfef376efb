"""Configurations in words, from their manifests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def optimizer(document: Any, *, full: bool = False) -> str:
    """Name the optimizer and its hyperparameters: all of them, or those that are switched on."""
    value = _value(document, "optimizer")
    return _call(value, [name for name in value if name != "kind" and (full or value[name])])


def seeds(document: Any) -> str:
    """Tell the seeds: the commonest, then the streams that have another.

    >>> seeds({"components": {"seeds": {"value": {"init": 3, "order": 0, "split": 0}}}})
    '0, init 3'
    """
    value = _value(document, "seeds")
    listed = list(value.values())
    commonest = max(listed, key=listed.count)
    others = [f"{stream} {seed}" for stream, seed in value.items() if seed != commonest]
    return ", ".join([str(commonest), *others])


def batch_size(document: Any) -> int:
    """Return the samples per step."""
    return int(_value(document, "training")["batch_size"])


def is_exact(document: Any) -> bool:
    """Tell whether the learner has the bits that it has alone."""
    return "tier" not in document["components"]


def timeline(document: Any) -> str:
    """Tell the timed interventions, in the order in which they are applied."""
    return "; ".join(_event(event["value"]) for event in document["timeline"])


def configuration(document: Any) -> dict[str, str]:
    """Tell a whole configuration, part by part."""
    data = _value(document, "data")
    return {
        "model": str(_value(document, "model")),
        "data": f"{data['label']}, {data['samples']:,} training samples",
        "objective": str(_value(document, "objective")),
        "optimizer": optimizer(document, full=True),
        "seeds": seeds(document),
        "training": _settings(_value(document, "training")),
        "numerics": _settings(_value(document, "numerics")) + ("" if is_exact(document) else ", exact=False"),
        "timeline": timeline(document) or "no timed interventions",
    }


def _value(document: Any, name: str) -> Any:
    return document["components"][name]["value"]


def _event(value: Mapping[str, Any]) -> str:
    told = _call(value, [name for name in value if name not in ("kind", "when")])
    when = value.get("when")
    return told if when is None else f"{told} at {_window(when)}"


def _window(when: Any) -> str:
    if not isinstance(when, list):
        return str(when)
    start, stop = when
    return f"{start}–{'end' if stop is None else stop}"


def _call(value: Mapping[str, Any], names: list[str]) -> str:
    return f"{value['kind']}({', '.join(f'{name}={_number(value[name])}' for name in names)})"


def _settings(value: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_number(entry)}" for name, entry in value.items() if entry is not None)


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)

"""Interventions on the batch that a step trains on: deficits, augmentation, noise. Evaluation is not touched.

A part of a batch is named by ``key``: 0 and 1 are the inputs and the targets of a pair, a text is an entry of
a dictionary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from paribus.errors import DataError, LevelError, suggest
from paribus.interventions.checks import (
    Window,
    check_count,
    check_share,
    check_size,
    check_window,
    settle_noise,
)
from paribus.interventions.draws import normal, permutation
from paribus.interventions.sites import BatchIntervention

if TYPE_CHECKING:
    import torch

Key = int | str


@final
@dataclass(frozen=True)
class TransformBatch(BatchIntervention):
    """Train on what a function makes of the batch: a deficit in a window, or augmentation throughout.

    What the function draws from the global generators of torch, NumPy and Python comes from the ``augment``
    stream, under a seed of the step's own: it is the same in every process, and moves no other draw.

    Attributes:
        function: A function of the batch that returns a batch; its code is part of the identity.
        seed: Counts beside the seed of the ``augment`` stream.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Example:
        >>> def flipped(batch):
        ...     images, labels = batch
        ...     return images.flip(-1), labels
        >>> TransformBatch(flipped, when=(0, 100)).span
        (0, 100)
    """

    function: Callable[[Any], Any]
    seed: int = 0
    when: Window | None = None

    def __post_init__(self) -> None:
        check_window("TransformBatch", self.when)
        check_count("TransformBatch", "seed", self.seed)
        object.__setattr__(self, "seed", int(self.seed))
        if not callable(self.function):
            raise LevelError(
                f"TransformBatch: {self.function!r} cannot be called; give a function of the batch"
            )

    def edit(self, batch: Any, step: int) -> Any:
        """Call the function."""
        changed = self.function(batch)
        if changed is None:
            name = getattr(self.function, "__name__", type(self.function).__name__)
            raise DataError(f"TransformBatch: {name} returned None; return the batch at the end of it")
        return changed


@final
@dataclass(frozen=True)
class PerturbInputs(BatchIntervention):
    """Add Gaussian noise to a floating part of the batch: ``x + epsilon * n``, with ``n ~ N(0, 1)``.

    Attributes:
        epsilon: Standard deviation of the noise.
        key: Which part of the batch.
        seed: Seed of the noise. The draws depend on nothing else but the step and the part.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Raises:
        DataError: The batch has no such part, or it is not floating (in the first step, before training).

    Example:
        >>> PerturbInputs.make_variations(epsilon=(0.1, 0.5), when=(0, 100)).axes["epsilon"]
        (0.1, 0.5)
    """

    epsilon: float
    key: Key = 0
    seed: int = 0
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"epsilon": 0}

    def __post_init__(self) -> None:
        check_window("PerturbInputs", self.when)
        settle_noise(self, relative=())
        _check_key("PerturbInputs", self.key)

    def edit(self, batch: Any, step: int) -> Any:
        """Add the noise."""
        inputs = _part("PerturbInputs", batch, self.key, floating=True)
        if self.epsilon == 0:  # -0.0 + 0.0 is 0.0: a placebo must not touch a bit
            return batch
        noise = normal(inputs, self.seed, "PerturbInputs", step, str(self.key))
        return _with(batch, self.key, inputs + self.epsilon * noise)


@final
@dataclass(frozen=True)
class BlurInputs(BatchIntervention):
    """Blur the images of the batch with a Gaussian, as in studies of critical periods.

    Attributes:
        sigma: Standard deviation of the Gaussian in pixels; it is cut off at three of them, and borders are
            continued.
        key: Which part of the batch: floating, ``(batch, …, height, width)``.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Raises:
        DataError: The batch has no such part, or it holds no images (in the first step, before training).

    Example:
        >>> BlurInputs(sigma=2.0, when=(0, 1000)).span
        (0, 1000)
    """

    sigma: float
    key: Key = 0
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"sigma": 0}

    def __post_init__(self) -> None:
        check_window("BlurInputs", self.when)
        check_size("BlurInputs", "sigma", self.sigma)
        if math.isinf(self.sigma):
            raise LevelError("BlurInputs: sigma=inf; give a finite number of pixels")
        _check_key("BlurInputs", self.key)
        object.__setattr__(self, "sigma", float(self.sigma))

    def edit(self, batch: Any, step: int) -> Any:
        """Blur rows, then columns."""
        images = _part("BlurInputs", batch, self.key, floating=True)
        if images.ndim < 3:
            raise DataError(
                f"BlurInputs: the batch's part {self.key!r} has the shape {tuple(images.shape)}; expected "
                "images (batch, …, height, width); give key=, the part that holds them"
            )
        return _with(batch, self.key, _blurred(images, self.sigma)) if self.sigma else batch


@final
@dataclass(frozen=True)
class ShuffleTargets(BatchIntervention):
    """Exchange the targets of a share of the batch among its samples, anew in each step.

    Attributes:
        share: Share of the batch's samples, rounded; 1: all of them.
        key: Which part of the batch.
        seed: Seed of the choice and of the exchange. They depend on nothing else but the step.
        when: Window ``(start, stop)`` in steps; ``None``: throughout.

    Raises:
        DataError: The batch has no such part, or it is no tensor (in the first step, before training).

    Example:
        >>> ShuffleTargets(when=(0, 100)).share
        1.0
    """

    share: float = 1.0
    key: Key = 1
    seed: int = 0
    when: Window | None = None
    null: ClassVar[Mapping[str, object]] = {"share": 0}

    def __post_init__(self) -> None:
        check_window("ShuffleTargets", self.when)
        check_share("ShuffleTargets", "share", self.share)
        check_count("ShuffleTargets", "seed", self.seed)
        _check_key("ShuffleTargets", self.key)
        object.__setattr__(self, "share", float(self.share))
        object.__setattr__(self, "seed", int(self.seed))

    def edit(self, batch: Any, step: int) -> Any:
        """Exchange the targets."""
        import torch

        targets = _part("ShuffleTargets", batch, self.key)
        drawn = permutation(len(targets), self.seed, "ShuffleTargets", step)
        moved = drawn[: round(self.share * len(targets))]
        order = torch.arange(len(targets))
        order[moved.sort().values] = moved  # a random order of the moved: the others stay where they are
        return _with(batch, self.key, targets.index_select(0, order.to(targets.device)))


def _check_key(name: str, key: object) -> None:
    if isinstance(key, bool) or not isinstance(key, int | str):
        raise LevelError(
            f"{name}: key={key!r} names no part of a batch; give 0, 1, … or the name of an entry"
        )


def _part(name: str, batch: Any, key: Key, *, floating: bool = False) -> torch.Tensor:
    import torch

    try:
        part = batch[key]
    except (KeyError, IndexError, TypeError) as error:
        parts = map(str, batch if isinstance(batch, Mapping) else range(len(batch)))
        raise DataError(f"{name}: key={key!r} is no part of the batch {suggest(str(key), parts)}") from error
    if not isinstance(part, torch.Tensor) or (floating and not part.is_floating_point()):
        got = f"tensor of {part.dtype}" if isinstance(part, torch.Tensor) else type(part).__name__
        kind = "floating tensor" if floating else "tensor"
        raise DataError(
            f"{name}: the batch's part {key!r} is a {got}; expected a {kind}; give key=, another part"
        )
    return part


def _with(batch: Any, key: Key, part: torch.Tensor) -> Any:
    if isinstance(batch, Mapping):
        return {**batch, key: part}
    parts = list(batch)
    parts[key] = part  # type: ignore[index]
    return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)


def _blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    import torch
    from torch.nn import functional

    radius = math.ceil(3 * sigma)
    places = torch.arange(-radius, radius + 1, dtype=torch.float64)
    bell = torch.exp(-0.5 * (places / sigma) ** 2)
    kernel = (bell / bell.sum()).to(images).reshape(1, 1, 1, -1)
    flat = images.reshape(-1, 1, *images.shape[-2:])
    padded = functional.pad(flat, (radius, radius, radius, radius), mode="replicate")
    return functional.conv2d(functional.conv2d(padded, kernel), kernel.mT).reshape(images.shape)

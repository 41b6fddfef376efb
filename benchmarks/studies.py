"""Studies of small learners, each in two forms: a design, and the same learners one by one, by hand."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from paribus.bench.by_hand import BATCH_SIZE, evaluate, step
from paribus.datasets import digits
from paribus.interventions import InitWeights, PerturbMomentum, SetOptimizer
from paribus.models import MLP, LeNet5

_STEPS = 6000
_WINDOWS = ((0, 100), (1000, 1100), (5000, 5100))
_FACTORS = (1.001, 0.999, 1.01, 0.99, 1.1, 0.9)
_MOMENTA = (0.9, 0.99, 0.999)
_SEEDS = 8
Window = tuple[int, int]


@dataclass(frozen=True)
class One:
    """What one learner of a study is: its seed, its rates, and a window with another momentum."""

    seed: int = 0
    lr: float = 0.01
    momentum: float = 0.9
    inside: float = 0.9
    window: Window = (0, 0)


@dataclass(frozen=True)
class Study:
    """A study in both forms.

    Attributes:
        name: For the table; `study` makes it again from that and the steps.
        make: Makes its model.
        size: Height of the images.
        interventions: Its design.
        ones: The same learners, one by one.
        steps: Length of a run.
    """

    name: str
    make: Callable[[], nn.Module]
    size: int
    interventions: Sequence[Any]
    ones: Sequence[One]
    steps: int


def study(name: str, steps: int) -> Study:
    """Make a study by its name, so long."""
    return _STUDIES[name](name, steps)


def _windows(
    name: str,
    steps: int,
    make: Callable[[], nn.Module],
    momenta: int = 3,
    factors: int = 6,
    windows: Sequence[Window] = _WINDOWS,
) -> Study:
    """Scale the windows with the length of the run, so that the shares of the past are the same."""
    tried, changed = _MOMENTA[:momenta], _FACTORS[:factors]
    scaled = [(start * steps // _STEPS, stop * steps // _STEPS) for start, stop in windows]
    design = [
        SetOptimizer.make_variations(momentum=tried),
        PerturbMomentum.make_variations(momentum=lambda m: (m * factor for factor in changed), when=scaled),
    ]
    ones = [One(0, 0.01, m, m * f, w) for m, f, w in itertools.product(tried, changed, scaled)]
    return Study(name, make, 28, design, ones, steps)


def _seeds_and_rates(name: str, steps: int, learners: int) -> Study:
    seeds, rates = range(_SEEDS), [0.1 / (place + 1) for place in range(learners // _SEEDS)]
    design = [InitWeights.make_variations(seed=seeds), SetOptimizer.make_variations(lr=rates)]
    ones = [One(seed, lr) for seed, lr in itertools.product(seeds, rates)]
    return Study(name, partial(MLP, 64, (32,)), 8, design, ones, steps)


_STUDIES: dict[str, Callable[[str, int], Study]] = {
    "MLP": partial(_windows, make=MLP),
    "MLP, late windows": partial(_windows, make=MLP, windows=_WINDOWS[2:]),
    "MLP, two windows": partial(_windows, make=MLP, momenta=1, factors=1, windows=_WINDOWS[1:]),
    "MLP of 64-32-10": partial(_seeds_and_rates, learners=128),
    "LeNet5": partial(_windows, make=LeNet5, momenta=2, factors=2),
}


@cache
def data_of(size: int, device: str = "cpu") -> Mapping[str, TensorDataset]:
    """Return the digits, the same for all learners of a process."""
    splits = digits(size=size).items()
    return {name: TensorDataset(*(each.to(device) for each in split.tensors)) for name, split in splits}


def by_tensors(name: str, steps: int, place: int, device: str = "cpu") -> list[dict[str, float]]:
    """Train one learner of a study by indexing tensors."""
    made = study(name, steps)
    images, labels = data_of(made.size, device)["train"].tensors

    def batches() -> Iterable[Any]:
        for indices in torch.randperm(len(images), device=device).split(BATCH_SIZE):
            yield images[indices], labels[indices]

    return _by_hand(made, made.ones[place], batches, device)


def by_dataloader(name: str, steps: int, place: int) -> list[dict[str, float]]:
    """Train one learner as the tutorials do: torchvision's transforms of each image, and a ``DataLoader``."""
    made = study(name, steps)
    images, labels = data_of(8)["train"].tensors
    training = _Images((images * 255 / images.max()).byte().squeeze(1).numpy(), labels, made.size)
    batches = DataLoader(training, batch_size=BATCH_SIZE, shuffle=True)
    return _by_hand(made, made.ones[place], lambda: batches)


class _Images(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Images as files have them: each is resized, made floats and normalised when it is asked for."""

    def __init__(self, images: Any, labels: torch.Tensor, size: int) -> None:
        from torchvision import transforms

        self._images, self._labels = images, labels
        self._transform = transforms.Compose(
            [transforms.Resize(size), transforms.ToTensor(), transforms.Normalize(0.5, 0.5)]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        from PIL import Image

        return self._transform(Image.fromarray(self._images[index])), self._labels[index]


def _by_hand(
    made: Study, one: One, batches: Callable[[], Iterable[Any]], device: str = "cpu"
) -> list[dict[str, float]]:
    """Evaluate both splits at the start and at each epoch's end."""
    torch.set_num_threads(1)
    torch.manual_seed(one.seed)
    model = made.make().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=one.lr, momentum=one.momentum)
    splits = {name: [split.tensors] for name, split in data_of(made.size, device).items()}
    rows, taken = [evaluate(model, splits)], 0
    while taken < made.steps:
        for inputs, targets in batches():
            within = one.window[0] <= taken < one.window[1]
            optimizer.param_groups[0]["momentum"] = one.inside if within else one.momentum
            step(model, optimizer, inputs, targets)
            taken += 1
            if taken == made.steps:
                break
        else:
            rows.append(evaluate(model, splits))
    return rows


def by_tune(name: str, steps: int, places: Sequence[int], workers: int) -> float:
    """Train learners with Ray Tune and its defaults; return the seconds without those of Ray's own start."""
    import ray
    from ray import tune

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)

    def train(config: dict[str, Any]) -> dict[str, float]:
        return by_tensors(name, steps, config["place"])[-1]

    with tempfile.TemporaryDirectory() as folder:

        def fit(chosen: Sequence[int]) -> None:
            tune.Tuner(
                tune.with_resources(train, {"cpu": 1}),
                param_space={"place": tune.grid_search(list(chosen))},
                tune_config=tune.TuneConfig(max_concurrent_trials=workers),
                run_config=tune.RunConfig(storage_path=tempfile.mkdtemp(dir=folder), verbose=0),
            ).fit()

        fit(places[:workers])
        began = time.perf_counter()
        fit(places)
        return time.perf_counter() - began

"""The survey of public architectures, on a few small ones."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from benchmarks.architectures import Case, classified, images
from benchmarks.coverage import Survey, survey
from layer_cases import Attention, Dense, Mixture, Residual, Unet
from torch import nn
from torch.nn import functional


def per_pixel(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


def given(make: type[nn.Module], *shape: int) -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    return make(), (torch.randn(3, *shape), torch.tensor([0, 1, 2]))


def public(name: str) -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    import torchvision

    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None, num_classes=7), images(32)


CASES = [
    Case("attention", partial(given, Attention, 5, 8), classified),
    Case("dense", partial(given, Dense, 3, 5, 5), classified),
    Case("mixture", partial(given, Mixture, 6), classified),
    Case("residual", partial(given, Residual, 4, 5, 5), classified),
    Case("unet", lambda: (given(Unet)[0], (torch.randn(2, 3, 8, 8), torch.ones(2, 8, 8).long())), per_pixel),
]
PUBLIC = [Case(name, partial(public, name), classified) for name in ("resnet18", "shufflenet_v2_x0_5")]


def sound(found: Survey) -> None:
    assert not found.false, "\n".join(found.false)
    assert found.share >= 0.99, "\n".join(found.misses)


def test_hand_made_modules_are_taken_apart() -> None:
    found = survey(CASES, seconds=1000, seed=0, most=1000, real=0.3)
    sound(found)
    assert len(found.models) == len(CASES)
    assert found.real["trained"] > 3


def test_a_sample_of_public_architectures_is_taken_apart() -> None:
    found = survey(PUBLIC, seconds=1000, seed=1, most=10, real=0.2)
    sound(found)
    assert len(found.models) == len(PUBLIC)
    assert sum(found.outcomes.values()) == 20


def test_the_sample_is_the_seeds_and_signatures_come_first() -> None:
    one, other = (survey(CASES[:1], seconds=1000, seed=seed, most=6, real=0) for seed in (3, 3))
    assert one.outcomes == other.outcomes
    assert one.signatures["tried"] == 6


def test_a_model_that_cannot_be_made_is_told() -> None:
    def fails() -> tuple[nn.Module, None]:
        raise ValueError("no such size")

    assert (
        survey([Case("broken", fails, classified)], seconds=9, seed=0).skipped["broken"]
        == "ValueError: no such size"
    )


@pytest.mark.parametrize("seconds", [0.0])
def test_no_time_is_told(seconds: float) -> None:
    assert set(survey(CASES, seconds=seconds, seed=0).skipped) == {case.name for case in CASES}

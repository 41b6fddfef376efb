"""Changes of the architecture are proven before anything is trained, and told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from learning_cases import run, states, trained
from paribus import Experiment
from paribus.datasets import digits
from paribus.engine.learners.configuration import Component
from paribus.errors import AblationError, LevelError, NoEffect, ShapeUnrepairable
from paribus.interventions import AblateFeatures, AblateLayers, ArchitectureIntervention, SetModule, Slices
from paribus.models import MLP, LeNet5


def experiment(folder: Path, *interventions: Any, model: Any = LeNet5) -> Experiment:
    return Experiment(model(), digits(), list(interventions), steps=2, store=folder)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (AblateLayers("flatten"), NoEffect, r"AblateLayers\(layers='flatten'\): it changes no bit"),
        (SetModule("conv1", padding=1), ShapeUnrepairable, r"SetModule\(layers='conv1', padding=1\)"),
        (AblateLayers("conv3"), LevelError, "'conv1', 'conv2'|near are"),
    ],
)
def test_what_is_no_change_or_cannot_be_trained_is_refused_before_training(
    folder: Path, change: Any, error: type[AblationError], words: str
) -> None:
    """Also where it is not the first learner's: then the first is not trained either."""
    exp = experiment(folder, AblateLayers("fc1") + change)
    with pytest.raises(error, match=words):
        exp.run(progress=False)
    assert not list(exp.store.scan())


def test_no_layers_are_the_control_itself(folder: Path) -> None:
    exp = experiment(folder, AblateLayers.make_variations(layers=[(), "fc1"]))
    assert exp[0].key == experiment(folder)[0].key != exp[1].key


@pytest.mark.parametrize("null", [AblateLayers(), SetModule((), padding=1)], ids=str)
def test_placebo_is_executed_and_changes_no_bit(null: ArchitectureIntervention, folder: Path) -> None:
    exp = experiment(folder)
    assert experiment(folder, null)[0].key == exp[0].key
    run(exp)
    control = exp[0].configuration
    placebo = replace(control, components={**control.components, "architecture": Component.of((null,))})
    assert placebo.architecture
    assert trained(exp.work, placebo).to_bytes() == states(exp)[0]


def test_a_learner_tells_what_was_done_to_its_model(folder: Path) -> None:
    exp = experiment(folder, AblateLayers.make_variations(layers=[(), "conv2"]))
    assert exp[0].changes() == []
    (change,) = exp[1].changes()
    assert change.removed == ("conv2",)
    assert [path for path, _, _ in change.rebuilt] == ["fc1"]
    exp.run(progress=False)
    numbers = [sum(p.numel() for p in each.checkpoint().model.parameters()) for each in exp]
    assert numbers == [change.parameters_before, change.parameters_after]


def test_layers_rebuilt_for_the_data_are_told_first(folder: Path) -> None:
    half = AblateFeatures(Slices(range(14), axis=-1), mode="drop")
    exp = experiment(folder, half, AblateLayers("fc2"), model=MLP)
    data, layers = exp[0].changes()
    assert [path for path, _, _ in data.rebuilt] == ["fc1"]
    assert layers.removed == ("fc2",)


@dataclass(frozen=True)
class WithoutBias(ArchitectureIntervention):
    layer: str

    def edit(self, model: nn.Module, probe: Any) -> nn.Module:
        model.get_submodule(self.layer).register_parameter("bias", None)
        return model


def test_a_change_of_the_users_own_is_proven_and_told(folder: Path) -> None:
    (change,) = experiment(folder, WithoutBias("fc1"))[0].changes()
    assert change.parameters_removed == ("fc1.bias",)
    assert "WithoutBias(layer='fc1')" in str(change)

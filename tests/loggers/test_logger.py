from __future__ import annotations

import doctest
import importlib
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import cloudpickle
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from paribus.datasets import digits, synthetic_regression
from paribus.errors import MetricError
from paribus.loggers import (
    DEFAULT_SCHEDULE,
    At,
    Every,
    Histogram,
    Logger,
    On,
    Predictions,
    log_spaced,
    register_metric,
)
from paribus.loggers.values import merge
from paribus.models import MLP, LeNet5


@dataclass
class FakeSplit:
    dataset: Dataset[Any]

    def __len__(self) -> int:
        return len(self.dataset)

    def batches(self) -> Iterator[Any]:
        yield self.dataset[:]


@dataclass
class FakeLearner:
    """A learner at rest, as a metric sees one."""

    model: nn.Module = field(default_factory=LeNet5)
    data: Mapping[str, TensorDataset] = field(default_factory=digits)
    step: int = 0
    epoch: float = 0.0
    config: Mapping[str, Any] = field(default_factory=dict)
    loss: nn.Module = field(default_factory=nn.CrossEntropyLoss)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=0.1)

    @property
    def splits(self) -> Mapping[str, FakeSplit]:
        return {name: FakeSplit(dataset) for name, dataset in self.data.items()}

    def predictions(self, split: str = "test") -> Predictions:
        inputs, targets = self.data[split].tensors
        with torch.no_grad():
            outputs = self.model(inputs)
        return Predictions(float(self.loss(outputs, targets)), outputs, targets, inputs)


class CustomLogger(Logger):
    """The logger of the origin, unchanged."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)

    @register_metric
    def weight_norm(self, learner):
        return torch.norm(learner.model.fc1.weight)

    @register_metric
    def weight_space_distance(self, learner):
        return torch.dist(learner.model.fc1.weight, learner.model.fc2.weight)


def recorded(logger: Logger, learner: FakeLearner | None = None, metrics: Any = None) -> dict:
    row: dict[str, Any] = {}
    for metric in logger.metrics() if metrics is None else metrics:
        merge(row, metric.values(learner or FakeLearner()))
    return row


def named(logger: Logger) -> dict:
    return {metric.name: metric for metric in logger.metrics()}


class TestDefaults:
    def test_loss_and_accuracy_are_recorded_on_every_split(self) -> None:
        learner = FakeLearner()
        row = recorded(Logger(), learner)
        assert set(row) == {"train/loss", "test/loss", "train/accuracy", "test/accuracy"}
        predictions = learner.predictions("test")
        assert row["test/loss"] == predictions.loss
        right = (predictions.outputs.argmax(1) == predictions.targets).sum().item()
        assert row["test/accuracy"] == right / 360

    def test_accuracy_is_left_out_of_a_regression(self) -> None:
        learner = FakeLearner(MLP(8, (4,), 1), synthetic_regression(), loss=nn.MSELoss())
        assert set(recorded(Logger(), learner)) == {"train/loss", "test/loss"}

    def test_accuracy_is_left_out_where_an_objective_hides_its_outputs(self) -> None:
        assert Predictions(loss=0.5).correct is None

    def test_dense_targets_are_classified_at_each_place(self) -> None:
        outputs = torch.zeros(2, 3, 4, 4)
        outputs[:, 1] = 1
        correct = Predictions(0.0, outputs, torch.ones(2, 4, 4, dtype=torch.int64)).correct
        assert correct is not None
        assert correct.shape == (2, 4, 4)
        assert correct.all()

    def test_the_schedule_is_start_epochs_and_end(self) -> None:
        assert {metric.schedule for metric in Logger().metrics()} == {DEFAULT_SCHEDULE}

    def test_they_can_be_left_out(self) -> None:
        assert Logger(defaults=False).metrics() == ()
        assert list(named(CustomLogger(defaults=False))) == ["weight_norm", "weight_space_distance"]


class TestRegistration:
    def test_the_logger_of_the_origin_works_unchanged(self) -> None:
        learner = FakeLearner(MLP(64, (64, 64)), digits(size=8))
        row = recorded(CustomLogger(), learner)
        assert row["weight_norm"] == pytest.approx(learner.model.fc1.weight.norm().item())
        assert row["weight_space_distance"] == pytest.approx(
            (learner.model.fc1.weight - learner.model.fc2.weight).norm().item()
        )
        assert "test/loss" in row

    def test_a_bare_metric_follows_the_schedule_of_its_logger(self) -> None:
        metrics = named(CustomLogger(schedule=Every(7)))
        assert metrics["loss"].schedule == metrics["weight_norm"].schedule == Every(7)

    @pytest.mark.parametrize(
        ("arguments", "schedule"),
        [
            ({"every": 100}, Every(100)),
            ({"on": "epoch"}, On("epoch")),
            ({"at": [0, 10]}, At([0, 10])),
            ({"schedule": log_spaced(20)}, log_spaced(20)),
            ({"every": 100, "on": "end"}, Every(100) | On("end")),
        ],
    )
    def test_a_metric_may_have_a_schedule_of_its_own(self, arguments: dict, schedule: object) -> None:
        class Scheduled(Logger):
            @register_metric(**arguments)
            def one(self, learner):
                return 1

        assert named(Scheduled(schedule=Every(7)))["one"].schedule == schedule

    def test_a_metric_that_takes_a_split_is_recorded_for_each(self) -> None:
        class PerSplit(Logger):
            @register_metric
            def size(self, learner, split):
                return {"samples": len(learner.splits[split])}

        row = recorded(PerSplit(defaults=False))
        assert row == {"train/size/samples": 1437.0, "test/size/samples": 360.0}

    def test_a_parameter_with_a_default_is_left_to_the_method(self) -> None:
        class Defaulted(Logger):
            @register_metric
            def size(self, learner, split="test"):
                return len(learner.splits[split])

        assert recorded(Defaulted(defaults=False)) == {"size": 360.0}

    def test_the_method_itself_is_left_as_it_is(self) -> None:
        class Doubling(CustomLogger):
            @register_metric
            def weight_norm(self, learner):
                return 2 * super().weight_norm(learner)

        learner = FakeLearner()
        [metric] = [metric for metric in Doubling().metrics() if metric.name == "weight_norm"]
        assert metric.values(learner)["weight_norm"] == pytest.approx(
            2 * learner.model.fc1.weight.norm().item()
        )

    def test_base_metrics_come_first_and_keep_their_place(self) -> None:
        class Replaced(CustomLogger):
            @register_metric
            def last(self, learner):
                return 0

            @register_metric
            def loss(self, learner, split):
                return 0

        assert list(named(Replaced())) == ["loss", "accuracy", "weight_norm", "weight_space_distance", "last"]

    def test_a_metric_of_the_same_name_replaces_a_default(self) -> None:
        class Halved(Logger):
            @register_metric
            def loss(self, learner, split):
                return learner.predictions(split).loss / 2

        learner = FakeLearner()
        assert recorded(Halved(), learner)["test/loss"] == learner.predictions("test").loss / 2
        assert list(named(Halved(defaults=False))) == ["loss"]

    def test_none_leaves_an_inherited_metric_out(self) -> None:
        class LossOnly(Logger):
            accuracy = None

        assert set(recorded(LossOnly())) == {"train/loss", "test/loss"}

    def test_a_metric_may_come_from_a_class_beside(self) -> None:
        class Norms:
            @register_metric
            def norm(self, learner):
                return 1

        class Both(Norms, Logger):
            pass

        assert list(named(Both())) == ["loss", "accuracy", "norm"]

    def test_a_subclass_that_forgets_its_base_is_a_logger_all_the_same(self) -> None:
        class Forgetful(Logger):
            def __init__(self):
                self.layer = "fc1"

        assert list(named(Forgetful())) == ["loss", "accuracy"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (lambda: register_metric(100), "got 100, expected a method .* schedule by name"),
            (lambda: register_metric(), "got no schedule in its parentheses"),
            (lambda: register_metric(on="ends"), "did you mean 'end'"),
            (lambda: register_metric(every=0), "Every: got 0"),
            (lambda: register_metric(schedule=100), "schedule=100 is no Schedule"),
            (lambda: register_metric(lambda self: 0), r"takes \(self\), expected \(self, learner\)"),
            (lambda: register_metric(lambda self, learner, epoch: 0), r"takes \(self, learner, epoch\)"),
            (lambda: register_metric(staticmethod(lambda learner: 0)), "expected a method"),
            (lambda: Logger(schedule=100), "Logger: schedule=100 is no Schedule"),
        ],
    )
    def test_a_wrong_registration(self, wrong, message) -> None:
        with pytest.raises(MetricError, match=message):
            wrong()

    def test_a_name_of_the_logger_itself(self) -> None:
        class Recorder(Logger):
            @register_metric
            def metrics(self, learner):
                return 0

        with pytest.raises(MetricError, match="Recorder: 'metrics' is a name of Logger itself"):
            Recorder()

    def test_a_metric_replaced_by_what_is_none(self) -> None:
        class Undecorated(Logger):
            def loss(self, learner, split):
                return 0

        with pytest.raises(MetricError, match="Undecorated: 'loss' replaces a metric but is none"):
            Undecorated()

    def test_two_bases_that_register_one_name(self) -> None:
        class A(Logger):
            @register_metric
            def norm(self, learner):
                return 1

        class B(Logger):
            @register_metric
            def norm(self, learner):
                return 2

        class Both(A, B):
            pass

        class Settled(A, B):
            @register_metric
            def norm(self, learner):
                return 3

        with pytest.raises(MetricError, match="Both: A and B both register 'norm'"):
            Both()
        assert recorded(Settled(defaults=False)) == {"norm": 3.0}

    def test_two_values_of_one_name_in_a_record(self) -> None:
        class Clash(Logger):
            @register_metric
            def test(self, learner):
                return {"loss": 1.0}

        with pytest.raises(MetricError, match="'test/loss': two values have this name"):
            recorded(Clash())


class TestRecord:
    def test_only_the_given_metrics_are_computed(self) -> None:
        logger = CustomLogger()
        due = [metric for metric in logger.metrics() if metric.name == "weight_norm"]
        assert list(recorded(logger, metrics=due)) == ["weight_norm"]

    def test_dictionaries_vectors_and_histograms_are_flattened(self) -> None:
        class Rich(Logger):
            @register_metric
            def norms(self, learner):
                return {
                    name: module.weight.norm()
                    for name, module in learner.model.named_children()
                    if hasattr(module, "weight")
                }

            @register_metric
            def biases(self, learner):
                return learner.model.fc3.bias

            @register_metric
            def weights(self, learner):
                return Histogram.of(learner.model.fc1.weight, bins=4)

        row = recorded(Rich(defaults=False))
        assert {"norms/conv1", "norms/fc3", "biases", "weights/counts", "weights/edges"} <= set(row)
        assert len(row["biases"]) == 10
        assert sum(row["weights/counts"]) == 120 * 400

    def test_an_exception_of_a_metric_passes_through_unchanged(self) -> None:
        with pytest.raises(RuntimeError, match="size of tensor"):
            recorded(CustomLogger())  # fc1 and fc2 of LeNet-5 do not broadcast

    def test_a_metric_without_a_value_is_named(self) -> None:
        class Returnless(Logger):
            @register_metric
            def nothing(self, learner):
                learner.model.fc1.weight.norm()

        with pytest.raises(MetricError, match="metric 'nothing': got NoneType"):
            recorded(Returnless())


class TestTravel:
    def test_a_logger_and_its_metrics_travel_by_cloudpickle(self) -> None:
        class Local(Logger):
            def __init__(self, factor: float) -> None:
                super().__init__(schedule=Every(3), defaults=False)
                self.factor = factor

            @register_metric(on="end")
            def scaled(self, learner):
                return self.factor * learner.step

        logger, metrics = pickle.loads(cloudpickle.dumps((Local(2.5), Local(2.5).metrics())))
        learner = replace(FakeLearner(), step=4)
        assert recorded(logger, learner) == {"scaled": 10.0}
        assert recorded(logger, learner, metrics) == {"scaled": 10.0}
        assert metrics[0].schedule == On("end")

    def test_a_settled_diamond_travels(self) -> None:
        class A(Logger):
            @register_metric
            def norm(self, learner):
                return 1

        class B(Logger):
            @register_metric
            def norm(self, learner):
                return 2

        class Settled(A, B):
            @register_metric
            def norm(self, learner):
                return 3

        logger = pickle.loads(cloudpickle.dumps(Settled(defaults=False)))
        assert recorded(logger) == {"norm": 3.0}

    def test_importing_the_room_imports_neither_torch_nor_numpy(self) -> None:
        code = "import sys, paribus.loggers; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("module", ["schedules", "values", "metrics", "logger"])
def test_the_examples_of_the_docstrings_run(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"paribus.loggers.{module}")).failed == 0

"""The digest of a metric: moved by what can change its values, and by nothing else."""

from __future__ import annotations

import pytest
import torch

from paribus.loggers import Every, Logger, register_metric
from paribus.loggers.metrics import read_members


def digest(logger: Logger, name: str) -> bytes:
    [metric] = [metric for metric in logger.metrics() if metric.name == name]
    return metric.digest


class Norms(Logger):
    order = 2

    def __init__(self, layer: str = "fc1", note: str = "", **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.layer = layer
        self.note = note

    def weight(self, learner):
        return getattr(learner.model, self.layer).weight

    @register_metric
    def norm_of_layer(self, learner):
        return self.weight(learner).norm(self.order)

    @register_metric
    def steps(self, learner):
        return learner.step


class OtherOrder(Norms):
    order = 1


class OtherWeight(Norms):
    def weight(self, learner):
        return getattr(learner.model, self.layer).bias


class OneMore(Norms):
    @register_metric
    def epochs(self, learner):
        return learner.epoch


def test_it_has_16_bytes_and_is_repeatable() -> None:
    assert len(digest(Norms(), "norm_of_layer")) == 16
    assert digest(Norms(), "norm_of_layer") == digest(Norms(), "norm_of_layer")


def test_metrics_of_different_code_differ() -> None:
    digests = {metric.digest for metric in OneMore().metrics()}
    assert len(digests) == 5


def test_it_moves_with_an_attribute_that_the_metric_reads() -> None:
    assert digest(Norms("fc1"), "norm_of_layer") != digest(Norms("fc2"), "norm_of_layer")
    assert digest(Norms(), "norm_of_layer") != digest(OtherOrder(), "norm_of_layer")


def test_it_moves_with_a_method_that_the_metric_calls() -> None:
    assert digest(Norms(), "norm_of_layer") != digest(OtherWeight(), "norm_of_layer")


def test_it_stays_where_the_metric_reads_none_of_what_changed() -> None:
    for other in (Norms("fc2"), OtherOrder(), OtherWeight(), OneMore()):
        assert digest(Norms(), "steps") == digest(other, "steps")
        assert digest(Norms(), "loss") == digest(other, "loss") == digest(Logger(), "loss")


def test_another_metric_beside_it_does_not_move_it() -> None:
    assert digest(Norms(), "norm_of_layer") == digest(OneMore(), "norm_of_layer")


def test_the_schedule_does_not_move_it() -> None:
    assert digest(Norms(), "norm_of_layer") == digest(Norms(schedule=Every(3)), "norm_of_layer")

    def scheduled(decorator) -> bytes:
        class Scheduled(Logger):
            @decorator
            def half(self, learner):
                return learner.step / 2

        return digest(Scheduled(), "half")

    assert scheduled(register_metric) == scheduled(register_metric(every=100))


def test_members_are_followed_through_methods_properties_and_super() -> None:
    class Base(Logger):
        def norm(self, learner):
            return self.scale * learner.model.fc1.weight.norm()

    class Derived(Base):
        scale = 3
        unread = 4

        @property
        def factor(self):
            return self.scale

        @staticmethod
        def doubled(value):
            return 2 * value

        def norm(self, learner):
            return self.doubled(super().norm(learner)) * self.factor

        @register_metric
        def scaled(self, learner):
            return max(self.norm(learner) for _ in range(2))

    members = read_members(Derived(), Derived.scaled)
    assert set(members) == {"norm", "doubled", "factor", "scale"}
    assert members["norm"] == [Derived.norm, Base.norm]
    assert members["scale"] == [3]


def test_a_wrapped_method_is_followed_through_its_wrapper() -> None:
    class Gradients(Logger):
        scale = 2

        @register_metric
        @torch.enable_grad()
        def slope(self, learner):
            return self.scale

    assert read_members(Gradients(), Gradients.slope)["scale"] == [2]


def test_attributes_read_by_name_are_all_taken() -> None:
    class Dynamic(Norms):
        @register_metric
        def chosen(self, learner):
            return getattr(self, "lay" + "er")

    assert {"layer", "note"} <= set(read_members(Dynamic(), Dynamic.chosen))


def free(logger, learner):
    return logger.layer, logger.order, logger.weight(learner)


class HandsOn(Norms):
    @register_metric
    def handed(self, learner):
        return free(self, learner)

    @register_metric
    def handed_in_a_comprehension(self, learner):
        return [free(each, learner) for each in (self,)]

    @register_metric
    def handed_by_an_inner_function(self, learner):
        return (lambda: free(self, learner))()

    @register_metric
    def handed_as_a_dictionary(self, learner):
        return self.__dict__["layer"]

    @register_metric
    def handed_by_another_method(self, learner):
        return self.handed(learner)


class HandsOnOther(HandsOn):
    order = 1


class HandsOnOtherWeight(HandsOn):
    def weight(self, learner):
        return learner.model.fc1.bias


@pytest.mark.parametrize("name", [name for name in vars(HandsOn) if name.startswith("handed")])
def test_what_is_handed_to_a_function_is_read_as_a_whole(name: str) -> None:
    for other in (HandsOn("fc2"), HandsOnOther(), HandsOnOtherWeight()):
        assert digest(HandsOn(), name) != digest(other, name)
    assert digest(HandsOn(), name) == digest(HandsOn(schedule=Every(3)), name)


def test_a_method_behind_a_wrapper_that_hides_it_reads_all() -> None:
    def hidden(method):
        def wrapper(*arguments, **named):
            return method(*arguments, **named)

        return wrapper

    class Hidden(Norms):
        @register_metric
        @hidden
        def norm(self, learner):
            return self.layer

    assert "layer" in read_members(Hidden(), vars(Hidden)["norm"])

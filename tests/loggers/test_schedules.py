from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paribus.errors import MetricError
from paribus.loggers import (
    DEFAULT_SCHEDULE,
    At,
    Every,
    Horizon,
    ObservedLearner,
    On,
    Schedule,
    first_when,
    log_spaced,
    register_metric,
)

HORIZON = Horizon(total=23, per_epoch=5, interventions=(7, 11, 99))

counts = st.integers(1, 500)
horizons = st.builds(
    Horizon,
    total=st.integers(0, 400),
    per_epoch=st.integers(1, 60),
    interventions=st.lists(st.integers(0, 500), max_size=5).map(tuple),
)
simple = st.one_of(
    st.builds(Every, counts, st.sampled_from(["step", "epoch"])),
    st.builds(On, st.sampled_from(["step", "epoch", "start", "end", "intervention"])),
    st.builds(At, st.lists(st.integers(0, 500), min_size=1, max_size=5)),
    st.builds(log_spaced, counts),
)
schedules = st.recursive(simple, lambda inner: st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1]))


@given(schedules, horizons)
def test_due_steps_lie_within_the_run(schedule: Schedule, horizon: Horizon) -> None:
    assert all(0 <= step <= horizon.total for step in schedule.steps(horizon))


@given(schedules, schedules, horizons)
def test_a_union_is_due_where_either_is(one: Schedule, other: Schedule, horizon: Horizon) -> None:
    assert set((one | other).steps(horizon)) == set(one.steps(horizon)) | set(other.steps(horizon))


@given(simple, simple, simple)
def test_unions_are_equal_however_they_are_bracketed(a: Schedule, b: Schedule, c: Schedule) -> None:
    assert (a | b) | c == a | (b | c)
    assert hash((a | b) | c) == hash(a | (b | c))


@given(counts, horizons)
def test_log_spaced_lists_exactly_k_distinct_steps_and_the_last(k: int, horizon: Horizon) -> None:
    steps = sorted(log_spaced(k).steps(horizon))
    assert len(steps) == min(k, horizon.total)
    assert not steps or steps[-1] == horizon.total
    assert k == 1 or not steps or steps[0] == 1


@given(st.integers(2, 30))
def test_log_spaced_gaps_never_shrink_by_more_than_rounding(k: int) -> None:
    steps = sorted(log_spaced(k).steps(Horizon(total=100_000, per_epoch=1)))
    gaps = [after - before for before, after in pairwise(steps)]
    assert all(after >= before - 1 for before, after in pairwise(gaps))


@given(st.lists(st.integers(0, 500), min_size=1))
def test_at_is_equal_however_its_steps_are_given(steps: list[int]) -> None:
    assert At(steps) == At(tuple(reversed(steps))) == At(np.array(steps))


@pytest.mark.parametrize(
    ("schedule", "steps"),
    [
        (Every(10), [0, 10, 20]),
        (Every(2, "epoch"), [0, 10, 20]),
        (Every(100), [0]),
        (On("step"), list(range(24))),
        (On("epoch"), [5, 10, 15, 20]),
        (On("start"), [0]),
        (On("end"), [23]),
        (On("intervention"), [7, 11]),
        (At([30, 3, 3, 0]), [0, 3]),
        (log_spaced(1), [23]),
        (DEFAULT_SCHEDULE, [0, 5, 10, 15, 20, 23]),
    ],
)
def test_each_schedule_lists_its_steps(schedule: Schedule, steps: list[int]) -> None:
    assert sorted(schedule.steps(HORIZON)) == steps


def test_the_default_is_due_once_in_a_run_of_no_steps() -> None:
    assert sorted(DEFAULT_SCHEDULE.steps(Horizon(total=0, per_epoch=5))) == [0]


def test_regular_schedules_of_a_long_run_are_ranges() -> None:
    horizon = Horizon(total=10**6, per_epoch=100)
    for schedule in (Every(1), On("step"), On("epoch"), On("step") | On("end") | DEFAULT_SCHEDULE):
        assert isinstance(schedule.steps(horizon), range)


def test_a_range_is_no_longer_kept_where_it_does_not_hold_the_others() -> None:
    assert (Every(10) | On("end")).steps(HORIZON) == {0, 10, 20, 23}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Every(0), "Every: got 0, expected a whole number ≥ 1"),
        (lambda: Every(2.5), "Every: got 2.5"),
        (lambda: Every(True), "Every: got True"),
        (lambda: Every(1, "epochs"), r"Every: 'epochs' is no unit \(step, epoch\); did you mean 'epoch'"),
        (lambda: On("ends"), "On: 'ends' is no event .* did you mean 'end'"),
        (lambda: On(100), "On: 100 is no event"),
        (lambda: At(5), r"At: got 5, expected a sequence of steps; write for example \[0, 10\]"),
        (lambda: At("12"), "At: got '12', expected a sequence"),
        (lambda: At([]), "At: got no steps"),
        (lambda: At([-1]), "At: got -1, expected a whole number ≥ 0"),
        (lambda: log_spaced(0), "log_spaced: got 0, expected a whole number ≥ 1"),
        (lambda: Horizon(total=-1, per_epoch=5), "Horizon.total: got -1"),
        (lambda: Horizon(total=5, per_epoch=0), "Horizon.per_epoch: got 0"),
        (lambda: Horizon(total=5, per_epoch=1, interventions=(None,)), "Horizon.interventions: got None"),
    ],
)
def test_a_wrong_schedule_is_refused_with_the_mend(wrong, message) -> None:
    with pytest.raises(MetricError, match=message):
        wrong()


def test_a_schedule_unites_only_with_a_schedule() -> None:
    with pytest.raises(TypeError):
        On("end") | 100


def holds(learner: ObservedLearner) -> bool:
    return learner.step > 3


class TestFirstWhen:
    def test_it_asks_at_the_start_and_at_the_ends_of_epochs(self) -> None:
        assert sorted(first_when(holds).steps(Horizon(total=12, per_epoch=5))) == [0, 5, 10]

    def test_it_asks_where_it_is_told_to(self) -> None:
        asked = first_when(holds, Every(4) | At([1])).steps(Horizon(total=9, per_epoch=5))
        assert sorted(asked) == [0, 1, 4, 8]

    @pytest.mark.parametrize("ahead", [On("end"), On("intervention"), log_spaced(3), Every(2) | On("end")])
    def test_steps_that_depend_on_what_comes_later_are_refused(self, ahead: Schedule) -> None:
        with pytest.raises(MetricError, match="depends on what comes later in a run"):
            first_when(holds, ahead)

    def test_one_inside_another_is_refused(self) -> None:
        with pytest.raises(MetricError, match="depends on what comes later"):
            first_when(holds, first_when(holds))

    def test_a_union_is_refused_from_both_sides(self) -> None:
        for unite in (lambda a, b: a | b, lambda a, b: b | a):
            with pytest.raises(MetricError, match="register a second metric"):
                unite(first_when(holds), Every(1))
        with pytest.raises(MetricError, match="register a second metric"):
            register_metric(every=3, schedule=first_when(holds))

    def test_what_is_no_function_is_refused(self) -> None:
        with pytest.raises(MetricError, match=r"got 0\.5, expected a function of the learner"):
            first_when(0.5)  # type: ignore[arg-type]

    def test_steps_of_a_shorter_run_are_those_of_the_longer_up_to_its_end(self) -> None:
        for looked in (None, Every(3), Every(2, "epoch"), At([2, 7]), On("step")):
            schedule = first_when(holds, looked)
            whole = set(schedule.steps(Horizon(total=20, per_epoch=4)))
            for total in range(20):
                short = set(schedule.steps(Horizon(total=total, per_epoch=4)))
                assert short == {step for step in whole if step <= total}

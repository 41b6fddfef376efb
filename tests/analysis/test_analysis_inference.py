from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from paribus.analysis import inference
from paribus.analysis.inference import Sample

SAMPLE = np.array([0.3, -0.1, 0.4, 0.2, 0.5, -0.2, 0.35])
values = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=9).map(np.array)


def test_the_t_test_agrees_with_scipy() -> None:
    known = stats.ttest_1samp(SAMPLE, 0)
    interval = known.confidence_interval(0.9)
    assert inference.p_t_test(Sample.of(SAMPLE)) == pytest.approx(known.pvalue, rel=1e-10)
    assert inference.t_interval(Sample.of(SAMPLE), 0.9) == pytest.approx(
        (interval.low, interval.high), rel=1e-10
    )


def test_the_sign_flip_test_enumerates_all_flips() -> None:
    flips = np.array(list(itertools.product((1, -1), repeat=len(SAMPLE))))
    by_hand = np.mean(np.abs(flips @ SAMPLE) >= abs(SAMPLE.sum()) - 1e-12)
    assert inference.p_sign_flip(SAMPLE) == pytest.approx(by_hand)


def test_the_sign_flip_test_is_as_small_as_it_can_be() -> None:
    assert inference.p_sign_flip(np.full(10, 0.1)) == 2 / 2**10


def test_many_values_are_drawn_and_drawn_alike() -> None:
    sample = np.random.default_rng(3).normal(0.3, 1, 30)
    p = inference.p_sign_flip(sample)
    assert p == inference.p_sign_flip(sample)
    assert p == pytest.approx(inference.p_t_test(Sample.of(sample)), abs=0.02)


@given(values)
def test_sign_flip_p_does_not_know_the_direction(sample: np.ndarray) -> None:
    assert inference.p_sign_flip(sample) == inference.p_sign_flip(-sample)


@given(values)
def test_an_interval_that_excludes_zero_has_a_small_p(sample: np.ndarray) -> None:
    interval = inference.t_interval(Sample.of(sample))
    p = inference.p_t_test(Sample.of(sample))
    assert (interval is None) == (p is None)
    if interval is not None and abs(p - 0.05) > 1e-9:
        assert (interval[0] > 0 or interval[1] < 0) == (p < 0.05)


def test_equal_values_give_no_interval_and_no_p() -> None:
    constant = np.full(5, 0.1 + 0.2)
    assert Sample.of(constant).sd == 0.0
    assert inference.t_interval(Sample.of(constant)) is None
    assert inference.p_t_test(Sample.of(constant)) is None
    assert inference.hedges_d_z(Sample.of(constant)) is None


def test_one_value_gives_nothing() -> None:
    one = np.array([0.3])
    assert math.isnan(Sample.of(one).sd)
    assert inference.t_interval(Sample.of(one)) is None
    assert inference.p_t_test(Sample.of(one)) is None
    assert inference.p_equivalence(Sample.of(one), 1.0) is None


def test_holm_steps_down_and_stays_monotone() -> None:
    assert inference.holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_never_lowers_a_p_and_keeps_the_order(p: list[float]) -> None:
    adjusted = inference.holm(p)
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))
    assert [a for _, a in sorted(zip(p, adjusted, strict=True))] == sorted(adjusted)


def test_hedges_correction_is_near_the_exact_one() -> None:
    df = len(SAMPLE) - 1
    exact = math.gamma(df / 2) / (math.sqrt(df / 2) * math.gamma((df - 1) / 2))
    naive = SAMPLE.mean() / SAMPLE.std(ddof=1)
    assert inference.hedges_d_z(Sample.of(SAMPLE)) == pytest.approx(naive * exact, rel=0.01)


def test_equivalence_is_the_larger_of_two_one_sided_tests() -> None:
    margin = 0.6
    low = stats.ttest_1samp(SAMPLE, -margin, alternative="greater").pvalue
    high = stats.ttest_1samp(SAMPLE, margin, alternative="less").pvalue
    assert inference.p_equivalence(Sample.of(SAMPLE), margin) == pytest.approx(max(low, high), rel=1e-9)


def test_seeds_needed_gives_the_power_that_it_promises() -> None:
    n = inference.seeds_needed(effect=0.5, sd=1.0, alpha=0.05)
    assert n == 34  # G*Power 3.1, paired t, d_z = 0.5, power 0.8
    rng = np.random.default_rng(0)
    found = [inference.p_t_test(Sample.of(rng.normal(0.5, 1.0, n))) < 0.05 for _ in range(2000)]
    assert abs(np.mean(found) - 0.8) < 4 * math.sqrt(0.8 * 0.2 / 2000)


def test_no_number_of_seeds_finds_no_effect() -> None:
    assert inference.seeds_needed(0.0, 1.0, 0.05) is None


def test_pairing_gain_is_the_ratio_of_variances() -> None:
    rng = np.random.default_rng(1)
    blocks = rng.normal(0, 1, 4000)
    treated, control = blocks + rng.normal(0, 0.5, 4000), blocks + rng.normal(0, 0.5, 4000)
    gain = inference.pairing_gain(Sample.of(treated), Sample.of(control), Sample.of(treated - control))
    assert gain == pytest.approx((1.25 + 1.25) / 0.5, rel=0.1)


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        ("test/accuracy", "higher"),
        ("val_acc", "higher"),
        ("test/acc@5", "higher"),
        ("macro-F1", "higher"),
        ("train/loss", "lower"),
        ("test.MSE", "lower"),
        ("weight_norm", None),
        ("lossless", None),
    ],
)
def test_names_say_which_direction_is_better(metric: str, direction: str | None) -> None:
    assert inference.better_direction(metric) == direction

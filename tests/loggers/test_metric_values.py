from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from paribus.errors import MetricError
from paribus.loggers import Histogram, flatten


@pytest.mark.parametrize(
    "scalar",
    [
        2,
        2.0,
        Fraction(2),
        np.float32(2),
        np.int64(2),
        np.array(2.0),
        torch.tensor(2),
        torch.tensor(2.0, requires_grad=True),
        torch.tensor(2.0, dtype=torch.bfloat16),
    ],
)
def test_each_kind_of_scalar_becomes_a_float(scalar: object) -> None:
    row = flatten("two", scalar)
    assert row == {"two": 2.0}
    assert type(row["two"]) is float


@pytest.mark.parametrize("truth", [True, np.bool_(True), torch.tensor(True)])
def test_truth_becomes_one(truth: object) -> None:
    assert flatten("true", truth) == {"true": 1.0}


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinity_is_a_value(value: float) -> None:
    assert flatten("x", torch.tensor(value)) == {"x": value}


def test_nan_is_a_value() -> None:
    value = flatten("x", torch.tensor(math.nan))["x"]
    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize(
    "vector",
    [[1, 2], (1.0, 2.0), np.array([1, 2]), torch.tensor([1.0, 2.0]), [torch.tensor(1), np.float64(2)]],
)
def test_each_kind_of_vector_becomes_a_list_of_floats(vector: object) -> None:
    row = flatten("v", vector)
    assert row == {"v": [1.0, 2.0]}
    assert all(type(entry) is float for entry in row["v"])


def test_a_vector_of_one_stays_a_vector() -> None:
    assert flatten("v", torch.tensor([1.0])) == {"v": [1.0]}


def test_mappings_are_named_by_their_path() -> None:
    value = {"conv1": torch.tensor(1.0), "fc": {"weight": [1, 2], 0: 3}}
    assert flatten("n", value) == {"n/conv1": 1.0, "n/fc/weight": [1.0, 2.0], "n/fc/0": 3.0}


def test_an_empty_mapping_records_nothing() -> None:
    assert flatten("n", {}) == {}


@pytest.mark.parametrize("value", [{"a/b": 1, "a": {"b": 2}}, {0: 1, "0": 2}])
def test_two_values_of_one_name_are_refused(value: dict) -> None:
    with pytest.raises(MetricError, match="two values have this name"):
        flatten("n", value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "metric 'n': got NoneType, .* return the value at the end"),
        ("0.5", "metric 'n': got str, .* convert it to a number"),
        (1j, "metric 'n': got complex"),
        ({1, 2}, "metric 'n': got set"),
        (torch.zeros(3, 4), r"metric 'n': got Tensor of shape \(3, 4\), .* Histogram.of"),
        (np.zeros((2, 2)), r"metric 'n': got ndarray of shape \(2, 2\)"),
        ([[1, 2], [3, 4]], "metric 'n': got list"),
        ([torch.zeros(2)], r"metric 'n': got Tensor of shape \(2,\)"),
        (np.array(["a"]), "metric 'n': got str"),
        ({"deep": {"er": object()}}, "metric 'n/deep/er': got object"),
    ],
)
def test_what_cannot_be_recorded_is_named(value: object, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        flatten("n", value)


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(arrays.arrays(np.float32, arrays.array_shapes(max_dims=3), elements=finite), st.integers(1, 20))
@example(np.array([3.4028202e38], np.float32), 1)
def test_a_histogram_counts_every_element(values: np.ndarray, bins: int) -> None:
    histogram = Histogram.of(torch.from_numpy(values), bins)
    assert len(histogram.counts) == bins
    assert sum(histogram.counts) == values.size
    wide = values.astype(np.float64)  # an edge may lie beyond the greatest float32
    assert histogram.edges[0] <= wide.min() <= wide.max() <= histogram.edges[-1]


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0, 1e30])
def test_a_histogram_of_equal_values_counts_them(value: float) -> None:
    assert sum(Histogram.of(torch.full((5,), value)).counts) == 5


def test_a_histogram_leaves_out_what_is_not_finite() -> None:
    assert sum(Histogram.of(torch.tensor([1.0, math.nan, math.inf])).counts) == 1
    assert sum(Histogram.of(torch.tensor([math.nan])).counts) == 0


def test_a_histogram_is_recorded_as_counts_and_edges() -> None:
    assert flatten("h", Histogram((2, 1), (0.0, 2.0, 4.0))) == {
        "h/counts": [2.0, 1.0],
        "h/edges": [0.0, 2.0, 4.0],
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Histogram((1,), (0.0,)), "1 counts and 1 edges"),
        (lambda: Histogram((1,), (1.0, 1.0)), "do not increase"),
        (lambda: Histogram.of(torch.zeros(3), bins=0), "bins=0"),
    ],
)
def test_a_wrong_histogram_is_refused(wrong, message) -> None:
    with pytest.raises(MetricError, match=message):
        wrong()

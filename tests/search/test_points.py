"""Points of samplers that look at no result."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paribus import Categorical, Float, Int
from paribus.engine.search.points import grid_of, positions
from paribus.errors import ConfigurationError

names = st.lists(st.text("abc", min_size=1), min_size=1, max_size=5, unique=True)


@given(st.sampled_from(["sobol", "random"]), names, st.integers(1, 40), st.integers(0, 99))
def test_more_trials_and_further_names_change_no_point(
    sampler: str, given_names: list[str], trials: int, seed: int
) -> None:
    few = positions(sampler, given_names, trials, seed)
    many = positions(sampler, [*given_names, "z"], trials + 7, seed)
    for name in given_names:
        np.testing.assert_array_equal(few[name], many[name][:trials])
        assert ((few[name] >= 0) & (few[name] < 1)).all()


@given(st.integers(0, 99))
def test_sobol_has_one_point_in_each_stratum(seed: int) -> None:
    points = positions("sobol", ["a", "b"], 64, seed)
    for column in points.values():
        assert sorted((column * 64).astype(int)) == list(range(64))
    boxes = {(int(a * 8), int(b * 8)) for a, b in zip(points["a"], points["b"], strict=True)}
    assert len(boxes) == 64


def test_points_are_these_for_ever() -> None:
    sobol = positions("sobol", ["SetOptimizer.lr"], 3, 0)["SetOptimizer.lr"]
    random = positions("random", ["SetOptimizer.lr"], 3, 0)["SetOptimizer.lr"]
    assert [round(x, 9) for x in sobol] == [0.688318147, 0.252482839, 0.244055307]
    assert [round(x, 9) for x in random] == [0.688254562, 0.71708488, 0.080769899]


def test_seeds_and_names_give_other_points() -> None:
    one = positions("sobol", ["a"], 8, 0)["a"]
    assert not np.array_equal(one, positions("sobol", ["a"], 8, 1)["a"])
    assert not np.array_equal(one, positions("sobol", ["b"], 8, 0)["b"])


def test_a_grid_crosses_its_values() -> None:
    space = {"a": Int(0, 1), "b": Categorical(["x", "y"]), "c": Float(0.0, 1.0, step=0.5)}
    points = grid_of(space)
    assert len(points) == 12
    assert points[1] == {"a": 0, "b": "x", "c": 0.5}


def test_a_grid_over_numbers_without_a_step_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="give it a step"):
        grid_of({"a": Float(0.0, 1.0)})

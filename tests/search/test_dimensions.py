"""Dimensions: ranges of values that stand as levels."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paribus import Categorical, Float, Int
from paribus.errors import LevelError
from paribus.interventions import PerturbWeights, SetHyperparameter, SetOptimizer, Variations
from paribus.interventions.dimensions import Dimension

positions = st.floats(0, 1, exclude_max=True)
whole = st.integers(1, 50)


@st.composite
def dimensions(draw: st.DrawFn) -> Dimension:
    low, width, step = draw(whole), draw(st.integers(0, 50)), draw(st.integers(1, 5))
    log = draw(st.booleans())
    return draw(
        st.sampled_from(
            [
                Float(low / 7, (low + width) / 7, log=log),
                Float(low / 8, low / 8 + width * step / 8, step=step / 8),
                Int(low, low + width, log=log),
                Int(low, low + width * step, step=step),
                Categorical([low, "a", (1, 2), None]),
            ]
        )
    )


@given(dimensions(), positions)
def test_every_position_is_a_value_of_the_dimension(dimension: Dimension, position: float) -> None:
    assert dimension.holds(dimension.at(position))


@given(dimensions())
def test_a_grid_holds_the_ends_and_is_reached_by_positions(dimension: Dimension) -> None:
    grid = dimension.grid()
    if grid is not None:
        assert all(dimension.holds(value) for value in grid)
        assert dimension.at(0.0) == grid[0]
        assert dimension.at(1 - 1e-12) == grid[-1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Float(1.0, 0.0), "the range is empty"),
        (lambda: Float(0.0, 1.0, log=True), "low > 0"),
        (lambda: Float(0.0, 1.0, step=0.3), "step=0.3 does not lead"),
        (lambda: Float(0.1, 1.0, log=True, step=0.1), "leave one of them out"),
        (lambda: Float(0.0, float("nan")), "no finite number"),
        (lambda: Float(True, 2.0), "no finite number"),
        (lambda: Int(1, 2.5), "no whole number"),  # type: ignore[arg-type]
        (lambda: Int(0, 9, step=2), "does not lead"),
        (lambda: Int(0, 8, step=0), "does not lead"),
        (lambda: Int(1, 8, log=True, step=7), "leave one of them out"),
        (lambda: Categorical([]), "at least one value"),
        (lambda: Categorical("adam"), "at least one value"),
        (lambda: Categorical([1, True]), "twice"),
        (lambda: SetOptimizer.make_variations(betas=[(Float(0.5, 0.9), 0.9)]), "inside the value"),
    ],
)
def test_what_is_no_dimension_is_refused_in_a_sentence(make: Any, words: str) -> None:
    with pytest.raises(LevelError, match=words):
        make()


def test_written_as_an_intervention_or_as_variations_it_is_the_same() -> None:
    dimension = Float(0.1, 1.0)
    assert PerturbWeights(dimension, seed=3) == PerturbWeights.make_variations(epsilon=dimension, seed=3)
    assert SetOptimizer(lr=dimension) == SetOptimizer.make_variations(lr=dimension)
    assert isinstance(SetHyperparameter(batch_size=Int(8, 64)), Variations)


def test_interventions_are_what_they_were_before_there_were_dimensions() -> None:
    change = SetOptimizer(lr=0.1)
    assert copy.copy(change) == pickle.loads(pickle.dumps(change)) == change
    assert "hyperparameters" in inspect.signature(SetOptimizer).parameters
    assert list(inspect.signature(PerturbWeights).parameters)[:2] == ["epsilon", "seed"]

"""Before anything is run, the plan says the exact counts: each design against a count by brute force."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning_cases import experiment
from paribus import leave_k_out, leave_one_out, one_at_a_time, pairs
from paribus.errors import LevelError
from paribus.interventions import Product, ScaleGradients, Union, Variations

Cell = tuple[tuple[str, float], ...]


def entry(place: int, levels: int) -> Variations:
    return ScaleGradients.make_variations(layers=f"layer{place}", factor=[2.0 + n for n in range(levels)])


def cells_of(place: int, levels: int) -> list[Cell]:
    return [((f"layer{place}", 2.0 + n),) for n in range(levels)]


def crossed(parts: Sequence[list[Cell]]) -> list[Cell]:
    return [tuple(itertools.chain(*chosen)) for chosen in itertools.product(*parts)]


def subsets(parts: Sequence[list[Cell]], sizes: Sequence[int]) -> list[Cell]:
    """The products of every subset of some sizes, by trying each of the 2^n."""
    places = range(len(parts))
    masks = itertools.product((False, True), repeat=len(parts))
    kept = [[place for place in places if mask[place]] for mask in masks]
    return [cell for some in kept if len(some) in sizes for cell in crossed([parts[place] for place in some])]


def check(design: Any, expected: Sequence[Cell], store: Any) -> None:
    exp = experiment(store, design)
    found = [
        tuple((level.intervention.layers, level.intervention.factor) for level in cell.levels)
        for cell in exp.cells
    ]
    assert len(found) == len(set(found))
    assert set(found) == set(expected)
    learners = len(set(expected))
    assert len({learner.key for learner in exp}) == learners
    assert str(exp.plan()).startswith(f"{learners} learners: 0 cached, {learners} to run")


sizes = st.lists(st.integers(1, 3), min_size=1, max_size=4)


@settings(max_examples=15)
@given(levels=sizes, k=st.integers(1, 4))
def test_classic_designs_have_the_cells_of_a_brute_force_enumeration(
    levels: list[int], k: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = tmp_path_factory.getbasetemp() / "counts"
    entries = [entry(place, count) for place, count in enumerate(levels)]
    parts = [cells_of(place, count) for place, count in enumerate(levels)]
    n, k = len(levels), min(k, len(levels))
    check(one_at_a_time(*entries), subsets(parts, [0, 1]), store)
    check(leave_one_out(*entries), subsets(parts, [n, n - 1]), store)
    check(leave_k_out(*entries, k=k), subsets(parts, [n, n - k]), store)
    check(pairs(*entries), subsets(parts, [0, 1, 2]), store)
    check(Product(tuple(entries)), subsets(parts, [n]), store)
    check(Union(tuple(entries)), subsets(parts, [1]), store)


Tree = tuple[Any, list[Cell]]


@st.composite
def trees(draw: st.DrawFn, places: Sequence[int] = (0, 1, 2, 3)) -> Tree:
    """A design of unions and products, no layer twice in a product, and its cells."""
    if len(places) == 1 or draw(st.booleans()):
        place, count = draw(st.sampled_from(places)), draw(st.integers(1, 3))
        return entry(place, count), cells_of(place, count)
    if draw(st.booleans()):
        (one, first), (two, second) = draw(trees(places)), draw(trees(places))
        return one + two, first + second
    cut = draw(st.integers(1, len(places) - 1))
    (one, first), (two, second) = draw(trees(places[:cut])), draw(trees(places[cut:]))
    return one * two, crossed([first, second])


@settings(max_examples=40)
@given(tree=trees())
def test_any_sum_and_product_has_the_cells_of_a_brute_force_enumeration(
    tree: Tree, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check(tree[0], tree[1], tmp_path_factory.getbasetemp() / "counts")


def test_leave_k_out_leaves_each_k_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    entries = [ScaleGradients(0.0, layers=f"layer{place}") for place in range(4)]
    assert [len(term.factors) for term in leave_k_out(*entries, k=2).terms] == [4, 2, 2, 2, 2, 2, 2]
    assert leave_k_out(*entries, k=1) == leave_one_out(*entries)
    twice = leave_one_out(entries[0], entries[0])
    assert [len(term.factors) for term in twice.terms] == [2, 1, 1], "one of two equal entries is left out"


@pytest.mark.parametrize("k", [0, 3, 1.5])
def test_leaving_out_more_than_there_is_is_refused(k: Any) -> None:
    with pytest.raises(LevelError, match="leave_k_out: k="):
        leave_k_out(entry(0, 1), entry(1, 1), k=k)

"""Named terms of the objective: summed, recorded, removed and reweighted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from intervention_cases import LOSS, WINDOW, Net, assert_equals_by_hand, experiment, size
from torch import nn
from torch.nn import functional

from learning_cases import run, states, written
from paribus.engine.building.objective import total
from paribus.errors import LevelError, ObjectiveError
from paribus.interventions import WeightTerm


def terms(model: nn.Module, batch: Any) -> dict[str, torch.Tensor]:
    outputs = model(batch[0])
    return {"ce": functional.cross_entropy(outputs, batch[1]), "size": size(outputs, batch[1])}


def one_number(model: nn.Module, batch: Any) -> torch.Tensor:
    found = terms(model, batch)
    return found["ce"] + found["size"]


def cross_entropy_only(model: nn.Module, batch: Any) -> torch.Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


@pytest.mark.parametrize(
    ("intervention", "loss"),
    [
        (WeightTerm("size", when=WINDOW), functional.cross_entropy),
        (WeightTerm("ce", when=WINDOW), size),
        (WeightTerm("ce", 0.5, when=WINDOW), lambda o, t: 0.5 * functional.cross_entropy(o, t) + size(o, t)),
    ],
    ids=written,
)
def test_equals_a_loop_written_by_hand(intervention: Any, loss: Any, folder: Path) -> None:
    assert_equals_by_hand(folder, intervention, loss=loss)


def test_named_terms_are_summed_with_weight_one(folder: Path) -> None:
    written = [
        experiment(folder, objective=terms, loss=None),
        experiment(folder, objective=one_number, loss=None),
        experiment(folder),
    ]
    for exp in written:
        run(exp)
    assert len({states(exp)[0] for exp in written}) == 1


def test_a_term_of_weight_zero_is_not_there(folder: Path) -> None:
    removed = experiment(folder, WeightTerm("size"), objective=terms, loss=None)
    without = experiment(folder, objective=cross_entropy_only, loss=None)
    run(removed), run(without)
    assert states(removed) == states(without)


def test_the_logger_records_the_loss_and_its_terms_unweighted(folder: Path) -> None:
    exp = experiment(folder, WeightTerm.make_variations(term="size", weight=(1.0, 0.0, 10.0)))
    run(exp)
    results = exp.results()
    for split in ("train", "test"):
        summed = results[f"{split}/loss/ce"] + results[f"{split}/loss/size"]
        assert results[f"{split}/loss"].to_list() == pytest.approx(summed.to_list(), rel=1e-6)
    first = exp.frame().filter(exp.frame()["step"] == 0)
    assert first["test/loss"].n_unique() == 1, "all weights 1, whatever is trained on"
    hidden = experiment(folder, objective=terms, loss=None)
    run(hidden)
    assert hidden.results()["test/loss/ce"][0] == pytest.approx(results["test/loss/ce"][0], rel=1e-6)


def test_one_number_has_no_terms(folder: Path) -> None:
    exp = experiment(folder, loss=None)
    run(exp)
    assert [name for name in exp.frame().columns if name.startswith("test/loss")] == ["test/loss"]


@pytest.mark.parametrize("when", [None, (4, 6)])
def test_an_unknown_term_is_refused_before_training_with_the_near_names(when: Any, folder: Path) -> None:
    exp = experiment(folder, [WeightTerm("sise", 0.5, when=when)])
    told = r"WeightTerm: 'sise' is no term of the objective \(ce, size\); did you mean 'size'\?"
    with pytest.raises(ObjectiveError, match=told):
        run(exp)
    assert exp.plan().cached == 0


def test_a_term_of_an_objective_of_one_number_is_refused_before_training(folder: Path) -> None:
    exp = experiment(folder, [WeightTerm("size")], loss=None, objective=one_number)
    with pytest.raises(ObjectiveError, match="'size' is no term of the objective, which gives one number"):
        run(exp)


def test_an_objective_without_any_term_is_refused_before_training(folder: Path) -> None:
    exp = experiment(folder, WeightTerm("ce") * WeightTerm("size", when=(3, 5)))
    with pytest.raises(ObjectiveError, match=r"of the terms \(ce, size\) none is left"):
        run(exp)


def test_weights_in_and_out_of_windows(folder: Path) -> None:
    exp = experiment(folder, WeightTerm("size", 3.0) * WeightTerm("size", 1.0, when=(0, 6)))
    assert exp[0].configuration.timeline, "1 is no null form where the weight outside is another"
    back = experiment(folder, WeightTerm("size", 3.0) * WeightTerm("size", 3.0, when=(0, 6)))
    assert back[0].key == experiment(folder, WeightTerm("size", 3.0))[0].key
    run(exp)
    control = experiment(folder)
    run(control)
    assert states(exp) == states(control)


def test_the_order_in_which_losses_are_written_changes_no_key(folder: Path) -> None:
    assert experiment(folder, loss=dict(reversed(LOSS.items())))[0].key == experiment(folder)[0].key
    named = {"ce": "cross_entropy", "size": size}
    run(experiment(folder, loss=named))
    assert experiment(folder, loss={"other": functional.cross_entropy})[0].key != experiment(folder)[0].key


def test_a_removed_term_is_not_differentiated() -> None:
    wild = torch.tensor(float("nan"), requires_grad=True)
    assert total({"a": torch.ones(()), "b": wild}, {"b": 0.0}).item() == 1
    assert total({"a": torch.ones(()), "b": torch.ones(())}, {"b": 0.5}).item() == 1.5


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        ({}, "loss: got a mapping with the names \\[\\]"),
        ({1: size}, "loss: got a mapping with the names \\[1\\]"),
        ({"ce": "cross_entropi"}, "loss: 'cross_entropi' is no loss"),
        ({"ce": nn.CrossEntropyLoss}, "expected a function or a module such as nn.CrossEntropyLoss"),
    ],
)
def test_a_mapping_that_is_no_losses_is_refused(loss: Any, told: str, folder: Path) -> None:
    with pytest.raises(ObjectiveError, match=told):
        experiment(folder, loss=loss, model=Net())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: WeightTerm(3), "WeightTerm: term=3 is no name"),
        (lambda: WeightTerm("ce", "half"), "WeightTerm: weight='half' is no number"),
        (lambda: WeightTerm("ce", float("inf")), "WeightTerm: weight=inf; give a finite number"),
        (lambda: WeightTerm("ce", when=(3, 1)), r"WeightTerm: the window \(3, 1\) runs backwards"),
    ],
)
def test_wrong_values_are_refused_where_they_are_written(wrong: Any, told: str) -> None:
    with pytest.raises(LevelError, match=told):
        wrong()

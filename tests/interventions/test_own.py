"""Interventions of the user's own: their code is part of the identity, and they keep the same promises."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from intervention_cases import experiment

from learning_cases import run, states, trained
from paribus.errors import FingerprintError, LevelError
from paribus.interventions import BatchIntervention, GradientsIntervention
from paribus.interventions.checks import Window
from script_cases import run_forked, run_fresh

OWN = dedent(
    """
    from dataclasses import dataclass
    from typing import Any, ClassVar

    import torch

    from paribus.interventions import GradientsIntervention


    def amount(factor):
        return factor * 2


    @dataclass(frozen=True)
    class Boost(GradientsIntervention):
        factor: float = 3.0
        rule: Any = None
        when: tuple | None = None
        null: ClassVar = {"factor": 0}

        def edit(self, gradients, step):
            for gradient in gradients.values():
                gradient.mul_(1 + amount(self.factor))


    subject = Boost(when=(2, 4))
    """
)
EDITS = {
    "as it was": [],
    "a comment": [("gradient.mul_", "# larger\n            gradient.mul_")],
    "a docstring": [("def amount(factor):\n", 'def amount(factor):\n    "Twice."\n')],
    "an annotation": [("def amount(factor):", "def amount(factor: float) -> float:")],
    "the default written out": [("Boost(when", "Boost(factor=3.0, when")],
    "its method": [("1 + amount", "2 + amount")],
    "a function that it calls": [("factor * 2", "factor * 4")],
    "a default": [("factor: float = 3.0", "factor: float = 4.0")],
    "a value": [("Boost(when", "Boost(factor=5.0, when")],
    "a lambda in a field": [("Boost(when", "Boost(rule=lambda x: x + 1, when")],
    "another lambda in a field": [("Boost(when", "Boost(rule=lambda x: x + 2, when")],
    "the window": [("(2, 4)", "(2, 5)")],
}
SAME = list(EDITS)[:5]
SCRIPT = """
    import json, sys
    from pathlib import Path
    sys.path.insert(0, TESTS); sys.path.insert(0, TESTS + "/interventions")
    from intervention_cases import experiment
    told = {}
    for name in json.loads(Path("names.json").read_text()):
        sys.path.insert(0, str(Path(name).absolute()))
        subject = __import__("own").subject
        told[name] = [experiment("store", subject)[0].configuration.key(step) for step in (2, 6)]
        sys.path.pop(0), sys.modules.pop("own")
    print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[str]]]:
    """Keys at the window's start and at the end, of each edit: from a fork, and from a fresh process."""
    folder = tmp_path_factory.mktemp("own")
    for name, edits in EDITS.items():
        text = OWN
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        (folder / name).mkdir()
        (folder / name / "own.py").write_text(text)
    (folder / "names.json").write_text(json.dumps(list(EDITS)))
    script = dedent(SCRIPT).replace("TESTS", repr(str(Path(__file__).parents[1])))
    return [run_forked(script, folder), json.loads(run_fresh(script, folder, PYTHONHASHSEED="2"))]


def test_the_key_is_one_in_every_process(keys: list[dict[str, list[str]]]) -> None:
    assert keys[0] == keys[1]


@pytest.mark.parametrize("edit", SAME[1:])
def test_an_edit_that_changes_nothing_changes_no_key(edit: str, keys: list[dict[str, list[str]]]) -> None:
    assert keys[0][edit] == keys[0]["as it was"]


def test_an_edit_that_changes_results_changes_the_key_from_the_window_on(
    keys: list[dict[str, list[str]]],
) -> None:
    changed = [name for name in EDITS if name not in SAME]
    ends = [keys[0][name][1] for name in ["as it was", *changed]]
    assert len(set(ends)) == len(ends)
    assert {keys[0][name][0] for name in EDITS} == {keys[0]["as it was"][0]}, "the trunk knows none of them"


@dataclass(frozen=True)
class Apply(GradientsIntervention):
    """Applies a function of the user's."""

    function: Any
    when: Window | None = None

    def edit(self, gradients: dict[str, torch.Tensor], step: int) -> None:
        for gradient in gradients.values():
            gradient.copy_(self.function(gradient))


def scaled(factor: Any) -> Any:
    return lambda gradient: gradient * factor


def test_closures_count_by_what_they_hold_and_go_to_workers(folder: Path) -> None:
    design = Apply.make_variations(function=(scaled(0.5), scaled(2.0)), when=(2, 4))
    exp, workers = experiment(folder / "serial", design), experiment(folder / "local", design)
    assert exp[0].key != exp[1].key
    assert exp[0].key == experiment(folder / "serial", Apply(scaled(0.5), when=(2, 4)))[0].key
    run(exp)
    run(workers, "local", workers=2)
    assert states(workers) == states(exp)
    assert len(set(states(exp))) == 2


def test_a_closure_over_what_has_no_identity_is_refused_with_the_path_to_it(folder: Path) -> None:
    with pytest.raises(FingerprintError, match=r"function.*factor"):
        experiment(folder, Apply(scaled(torch.Generator())))


@dataclass(frozen=True)
class Careless(BatchIntervention):
    """Draws from the global generator, and changes the batch in place."""

    seed: int = 0
    when: Window | None = None

    def edit(self, batch: Any, step: int) -> Any:
        batch[0].add_(torch.randn(()))
        return batch


def test_a_careless_one_is_the_same_wherever_it_is_cut_and_leaves_the_data_as_it_is(folder: Path) -> None:
    exp = experiment(folder, Careless.make_variations(seed=range(2)))
    before = exp.work.splits["train"].contents[0].clone()
    whole = trained(exp.work, exp[0].configuration)
    torch.manual_seed(77)
    again = trained(exp.work, exp[0].configuration, [1, 3, 6])
    assert again.to_bytes() == whole.to_bytes() != trained(exp.work, exp[1].configuration).to_bytes()
    assert torch.equal(exp.work.splits["train"].contents[0], before)


def test_a_misspelt_parameter_of_ones_own_is_refused(folder: Path) -> None:
    with pytest.raises(
        LevelError, match=r"Careless: 'sed' is no parameter of it \(seed, when\); did you mean"
    ):
        Careless.make_variations(sed=1)

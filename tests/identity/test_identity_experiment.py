"""Promise 5, Identity, of whole experiments: keys, warnings, explanations."""

from __future__ import annotations

import json
import sys
import warnings
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from experiment_cases import CASES, NET, SCRIPT
from identity_cases import Case
from torch import nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from paribus import Experiment
from paribus.datasets import blobs
from paribus.engine.proving.inspection import UncoveredCodeWarning, UnseededWeightsWarning
from paribus.errors import ConfigurationError, DataError, FingerprintError
from paribus.identity import accept, fingerprint, versioned
from paribus.interventions import InitWeights
from paribus.models import MLP
from script_cases import run_forked, run_fresh

POINTS = blobs(n=64, features=4)


def experiment(store: Path, model: object = None, **options: Any) -> Experiment:
    settings = {"dataset": POINTS, "batch_size": 16, "steps": 2, "store": store}
    return Experiment(model or MLP(4, (8,), 3), **(settings | options))


def trained(store: Path, *given: object, **options: Any) -> Experiment:
    exp = experiment(store, *given, **options)
    exp.run(progress=False)
    return exp


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take all keys before, in a fork of this process, and after, in a fresh one of another hash seed."""

    def place(which: str) -> Path:
        folder = tmp_path_factory.mktemp(which)
        (folder / "net.txt").write_text(NET)
        texts = {case.name: getattr(case, which)["main.py"] for case in CASES}
        (folder / "cases.json").write_text(json.dumps(texts))
        return folder

    before = run_forked(SCRIPT, place("before"))
    return before, json.loads(run_fresh(SCRIPT, place("after"), PYTHONHASHSEED="2"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_identity_of_experiments(case: Case, keys: tuple[dict[str, Any], dict[str, Any]]) -> None:
    before, after = keys[0][case.name], keys[1][case.name]
    assert (before != after) == case.changes


NOTEBOOK = """
    import warnings
    warnings.simplefilter("error", category=UserWarning)
    from IPython.core.interactiveshell import InteractiveShell
    shell = InteractiveShell.instance()
    def cell(text):
        shell.run_cell(text, store_history=True).raise_error()
    told = {}
    def key(name):
        cell("exp = Experiment(Net(), blobs(n=64, features=4), steps=2, batch_size=16, store='runs')")
        told[name] = shell.user_ns["exp"][0].key
    cell("import torch\\nfrom torch import nn")
    cell("from paribus import Experiment\\nfrom paribus.datasets import blobs")
    helper = "def scaled(x):\\n    return x * 2.0"
    net = '''
    class Net(nn.Module):
        def __init__(self):
            super(Net, self).__init__()
            self.fc = nn.Linear(4, 3)
        def forward(self, x):
            return scaled(self.fc(x))
    '''
    cell(helper); cell(net); key("first")
    cell("exp.run(progress=False)")
    cell(net); key("the model's cell run again")
    told["trained again"] = shell.user_ns["exp"].run(progress=False).steps_trained
    cell("# a comment\\n" + helper.replace("2.0", "(2.0)  # two"))
    key("the helper's cell edited in its comments")
    cell(helper.replace("2.0", "3.0")); key("the helper redefined, its caller not")
    told["words"] = list(shell.user_ns["exp"].explain(0).differences)
"""


def test_a_model_of_a_notebook(tmp_path: Path) -> None:
    found = run_forked(NOTEBOOK, tmp_path, IPYTHONDIR=str(tmp_path))
    assert found["the model's cell run again"] == found["first"]
    assert found["trained again"] == 0
    assert found["the helper's cell edited in its comments"] == found["first"]
    assert found["the helper redefined, its caller not"] != found["first"]
    assert found["words"] == ["code: model.forward.scaled changed (2.0 → 3.0)"]


def test_data_changed_between_plan_and_run_is_an_error(tmp_path: Path) -> None:
    inputs, targets = torch.randn(40, 4), torch.arange(40) % 3
    exp = experiment(tmp_path, dataset=TensorDataset(inputs, targets))
    exp.plan()
    targets[3] = 1 - targets[3].clamp(max=1)
    with pytest.raises(DataError, match="data: it was changed after the experiment was written"):
        exp.run(progress=False)


class Reaching(nn.Module):
    """Calls a helper by a name that is made while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return getattr(sys.modules[__name__], "hid" + "den")(self.fc(x))


def hidden(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def test_an_audit_is_made_once_by_default_and_warns_with_the_mend(tmp_path: Path) -> None:
    exp = experiment(tmp_path, Reaching())
    (name,) = exp.audit()
    assert name.startswith("hidden (test_identity_experiment.py:")
    with pytest.warns(UncoveredCodeWarning, match=r"hidden .*declare it with Experiment\(depends_on=\[…\]\)"):
        exp.run(progress=False)
    mended = experiment(tmp_path, Reaching(), depends_on=[hidden])
    assert mended[0].key != exp[0].key
    assert mended.audit() == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mended.run(progress=False).steps_trained == 2
        assert exp.run(progress=False).steps_trained == 0  # a second run trains nothing, and audits nothing


KERNEL = """
    import torch
    from torch import nn
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv2 = nn.Conv2d(1, 2, kernel_size=3, padding="same")
            self.head = nn.Linear(128, 10)
        def forward(self, x):
            return self.head(torch.relu(self.conv2(x)).flatten(1))
"""
EXPLAIN = """
    import torch
    from functools import partial
    from net import Net
    from torch.utils.data import TensorDataset
    from paribus import Experiment
    torch.set_num_threads(1)
    inputs = torch.arange(1200.0).repeat_interleave(64).reshape(1200, 1, 8, 8) / 1200
    labels = torch.arange(1200) % 10
    labels[7] = LABEL
    exp = Experiment(MODEL, TensorDataset(inputs, labels), steps=1, batch_size=8, store="../runs", OPTIONS)
    told = list(exp.explain(0).differences)
    if TRAIN:
        exp.run(progress=False)
"""


def explained(
    folder: Path,
    *edit: str,
    model: str = "Net",
    options: str = "",
    label: int = 7,
    train: bool = False,
) -> list[str]:
    """Explain an experiment on an edited model in another process, beside what is stored."""
    place = folder / f"project{len(list(folder.iterdir()))}"
    place.mkdir()
    (place / "net.py").write_text(dedent(KERNEL).replace(*edit) if edit else dedent(KERNEL))
    text = EXPLAIN.replace("MODEL", model).replace("OPTIONS", options)
    text = text.replace("LABEL", str(label)).replace("TRAIN", str(train))
    found: list[str] = run_forked(text, place)
    return found


def test_explanations_are_few_sentences_about_causes(tmp_path: Path) -> None:
    assert explained(tmp_path, train=True) == []
    assert explained(tmp_path, "kernel_size=3", "kernel_size=5") == [
        "code: model.__init__ changed (conv2 kernel_size 3 → 5)"
    ]
    assert explained(tmp_path, "torch.relu", "torch.tanh") == ["code: model.forward changed (relu → tanh)"]
    assert explained(tmp_path, "class Net", "# cosmetic\nclass Net") == []
    assert explained(tmp_path, label=8) == ["data: 1 of 1200 labels"]
    assert explained(tmp_path, options="optimizer=partial(torch.optim.SGD, lr=0.1)") == [
        "optimizer: lr 0.01 → 0.1",
        "optimizer: momentum 0.9 → 0.0",
    ]


def test_explanations_of_a_model_given_as_an_instance(tmp_path: Path) -> None:
    explained(tmp_path, model="Net()", train=True)
    assert explained(tmp_path, "kernel_size=3", "kernel_size=5", model="Net()") == [
        "code: model.__init__ changed (conv2 kernel_size 3 → 5)",
        "code: model.conv2.kernel_size changed ((3, 3) → (5, 5))",
    ]


def test_explanations_of_the_tier(tmp_path: Path) -> None:
    trained(tmp_path / "exact")
    assert experiment(tmp_path / "exact", exact=False).explain(0).differences == ("tier: exact True → False",)
    trained(tmp_path / "fast", exact=False)
    assert experiment(tmp_path / "fast").explain(0).differences == ("tier: exact False → True",)
    with pytest.raises(ConfigurationError, match="exact= acts within runs, and train= hides"):
        experiment(tmp_path, exact=False, train=lambda learner: None)


def test_explanations_of_seeds_and_splits(tmp_path: Path) -> None:
    trained(tmp_path)
    assert experiment(tmp_path, seed=3).explain(0).differences == (
        "seeds: augment, forward, init, order, split 0 → 3",
    )
    assert experiment(tmp_path, interventions=InitWeights(seed=1)).explain(0).differences == (
        "seeds: init 0 → 1",
    )
    exp = experiment(tmp_path, optimizer=torch.optim.Adam)
    assert exp.explain(0).differences == ("optimizer: kind SGD → Adam", "optimizer: lr 0.01 → 0.001")


def test_accepted_as_the_same_trains_nothing_and_is_recorded(tmp_path: Path) -> None:
    def loss(outputs, targets):
        return nn.functional.cross_entropy(outputs, targets) * 2

    before = loss
    first = trained(tmp_path, loss=before)

    def loss(outputs, targets):
        return 2 * nn.functional.cross_entropy(outputs, targets)

    changed = experiment(tmp_path, loss=loss)
    assert changed[0].key != first[0].key
    accepted = experiment(tmp_path, loss=accept(loss, same_as=fingerprint(before).digest.hex()))
    assert accepted[0].key == first[0].key
    assert accepted.run(progress=False).steps_trained == 0
    told = accepted[0].configuration.fingerprints()["objective"].parts
    assert "accepted as the same" in told.values()


def kept(values: float | None = None) -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 3))
    if values is not None:
        nn.init.constant_(model[0].weight, values)
    return model


@pytest.fixture
def unseeded() -> Any:
    """As a fresh process, in which nobody has seeded torch."""
    state = torch.get_rng_state()
    torch.seed()
    yield
    torch.set_rng_state(state)


def test_kept_weights_that_differ_in_every_process_warn(tmp_path: Path, unseeded: None) -> None:
    assert trained(tmp_path, kept(), weights="keep")[0].status == "done"  # nothing to tell from yet
    with pytest.warns(UnseededWeightsWarning, match=r"torch was not seeded.*torch\.manual_seed\(…\)"):
        trained(tmp_path, kept(), weights="keep")
    trained(tmp_path, nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), weights="keep")


def test_kept_weights_of_a_seed_or_seen_before_do_not_warn(tmp_path: Path, unseeded: None) -> None:
    first = trained(tmp_path, kept(0.5), weights="keep")
    assert trained(tmp_path, first._model.module, weights="keep")[0].key == first[0].key
    torch.manual_seed(3)
    trained(tmp_path, kept(), weights="keep")


class Features(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("projection", torch.randn(4, 8))
        self.fc = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.sin(x @ self.projection))


def test_random_buffers_count_and_warn(tmp_path: Path, unseeded: None) -> None:
    first = trained(tmp_path, Features())
    with pytest.warns(UnseededWeightsWarning):
        assert trained(tmp_path, Features())[0].key != first[0].key
    assert trained(tmp_path, Features)[0].key == experiment(tmp_path, Features)[0].key


class Scaled(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 3)
        self.scale = nn.Parameter(torch.rand(3))


def extended() -> nn.Module:
    model = nn.Linear(4, 3)
    model.scale = nn.Parameter(torch.rand(3))
    return model


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("model", "path"),
    [
        (lambda: nn.utils.spectral_norm(nn.Linear(4, 3)), "weight_orig"),
        (
            lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)),
            r"parametrizations\.weight\.original",
        ),
        (Scaled, "scale"),
        (extended, "scale"),
    ],
)
def test_weights_that_cannot_be_drawn_anew_are_an_error(tmp_path: Path, model: Any, path: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"the parameter '{path}' .*drawn anew.*give a factory"):
        experiment(tmp_path, model())
    assert len(experiment(tmp_path, model)) == 1  # the factory draws it


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_model_that_cannot_be_copied_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"model: this Linear cannot be copied .*give a factory"):
        experiment(tmp_path, nn.utils.weight_norm(nn.Linear(4, 3)))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


class Noisy(Dataset):
    def __init__(self) -> None:
        self.generator = torch.Generator()

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.ones(4), index % 3


def test_data_that_cannot_be_counted_is_an_error_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Stream has no length.*give a map-style Dataset"):
        experiment(tmp_path, dataset=Stream())
    with pytest.raises(FingerprintError, match=r"data.*generator 'Generator'.*give it version=…"):
        experiment(tmp_path, dataset=Noisy())
    told = [experiment(tmp_path, dataset=versioned(Noisy(), version=v))[0].key for v in ("1", "1", "2")]
    assert told[0] == told[1] != told[2]
    assert "version 1" in trained_parts(tmp_path, versioned(Noisy(), version="1"))


def trained_parts(store: Path, dataset: object) -> list[str]:
    return list(experiment(store, dataset=dataset)[0].configuration.fingerprints()["data"].parts.values())


def test_a_factory_is_its_code_and_arguments(tmp_path: Path) -> None:
    narrow, wide = (experiment(tmp_path, partial(MLP, 4, (width,), 3))[0].key for width in (8, 9))
    assert narrow == experiment(tmp_path, partial(MLP, 4, (8,), 3))[0].key != wide

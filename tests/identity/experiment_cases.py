"""Experiments, before and after an edit, and whether the key of their learner changes with it.

Each is a script of its own files; it sets ``options``, the arguments of ``Experiment``, or ``key``.
"""

from __future__ import annotations

from identity_cases import Case, Files

NET = """
    import numpy as np
    import torch
    from functools import partial
    from torch import nn
    from torch.utils.data import TensorDataset
    from paribus import Experiment, Logger
    from paribus.datasets import blobs
    from paribus.interventions import *
    from paribus.models import MLP

    torch.set_num_threads(1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 3)
        def forward(self, x):
            return self.fc(x) * 1.0

    def loss(outputs, targets):
        return nn.functional.cross_entropy(outputs, targets, reduction="mean")

    class Grouped(torch.optim.SGD):
        def __init__(self, params, lr: float = 0.1, decay: float = 0.01):
            params = list(params)
            matrices = {"params": [p for p in params if p.ndim > 1], "weight_decay": decay}
            super().__init__([matrices, {"params": [p for p in params if p.ndim < 2]}], lr=lr)

    def factor(step, total):
        return 1 - step / total

    points = blobs(n=64, features=4)
    x, y = torch.arange(48.0).reshape(12, 4), torch.arange(12) % 3
    options = {}
"""


def _case(name: str, before: str, after: str, changes: bool) -> Case:
    return Case(name, _files(before), _files(after), changes, True)


def _files(text: str) -> Files:
    return {"main.py": text}


def changes(name: str, before: str, after: str) -> Case:
    """Make a case of two scripts whose keys differ."""
    return _case(name, before, after, True)


def stays(name: str, before: str, after: str) -> Case:
    """Make a case of two scripts whose keys are one."""
    return _case(name, before, after, False)


def option(name: str, before: str, after: str) -> Case:
    """Make a case of two arguments that give different keys."""
    return changes(f"{name}: {before}, {after}", f"options = dict({before})", f"options = dict({after})")


def same(name: str, before: str, after: str) -> Case:
    """Make a case of two arguments that give one key."""
    return stays(name, f"options = dict({before})", f"options = dict({after})")


_SEED = "import dataclasses\nkey = key_with_seed({!r}, {})"
_GROUPED = "options = dict(optimizer=partial(Grouped, lr=0.1, decay={}))"
_REGROUPED = """
class Grouped(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1, decay: float = 0.01):
        params = list(params)
        matrices = {"params": [p for p in params if p.ndim > 2], "weight_decay": decay}
        super().__init__([matrices, {"params": [p for p in params if p.ndim < 3]}], lr=lr)
"""
_PAIR = "options = dict(interventions={} * {})"
_ONE, _TWO = (f"PerturbWeights(epsilon=0.{n}, seed={n}, step=3)" for n in (1, 2))
_SWAP = "z = x.clone()\nz[[2, 7]], w = x[[7, 2]], y.clone()\nw[[2, 7]] = y[[7, 2]]\n"

CASES = [
    option("the seed", "seed=0", "seed=1"),
    option("a seed of init", "interventions=InitWeights(seed=0)", "interventions=InitWeights(seed=1)"),
    option(
        "a seed of noise",
        "interventions=PerturbWeights(epsilon=0.1, seed=0)",
        "interventions=PerturbWeights(epsilon=0.1, seed=1)",
    ),
    *(
        changes(f"the seed of {stream}", _SEED.format(stream, 0), _SEED.format(stream, 1))
        for stream in ("init", "order", "forward", "augment", "split")
    ),
    changes(
        "total steps under a schedule that reads them",
        "key = state_key(2, steps=4, schedule=Cosine())",
        "key = state_key(2, steps=8, schedule=Cosine())",
    ),
    changes(
        "total steps under a function of them",
        "key = state_key(2, steps=4, schedule=factor)",
        "key = state_key(2, steps=8, schedule=factor)",
    ),
    stays(
        "total steps under a schedule that does not read them",
        "key = state_key(2, steps=4, schedule=StepDecay(every=2))",
        "key = state_key(2, steps=8, schedule=StepDecay(every=2))",
    ),
    stays("total steps", "key = state_key(2, steps=4)", "key = state_key(2, steps=8)"),
    changes("a parameter group's setting", _GROUPED.format(0.01), _GROUPED.format(0.02)),
    changes(
        "how parameters are grouped",
        _GROUPED.format(0.01),
        _REGROUPED + _GROUPED.format(0.01),
    ),
    changes("the order of two perturbations of a step", _PAIR.format(_ONE, _TWO), _PAIR.format(_TWO, _ONE)),
    option("the batch size", "batch_size=8", "batch_size=16"),
    option("the dtype", "dtype='float32'", "dtype='float64'"),
    option("threads", "threads=1", "threads=2"),
    option("the optimizer", "optimizer=torch.optim.SGD", "optimizer=torch.optim.Adam"),
    option("a loss of the library", "loss='cross_entropy'", "loss=nn.CrossEntropyLoss(label_smoothing=0.1)"),
    option("the loss's reduction", "loss=nn.CrossEntropyLoss()", "loss=nn.CrossEntropyLoss(reduction='sum')"),
    option("what is declared besides", "depends_on=[factor]", "depends_on=[loss]"),
    option(
        "the held-out share", "dataset=TensorDataset(x, y)", "dataset=TensorDataset(x, y), test_fraction=0.5"
    ),
    changes(
        "one label flipped",
        "options = dict(dataset=TensorDataset(x, y))",
        "y[7] = 0\noptions = dict(dataset=TensorDataset(x, y))",
    ),
    changes(
        "two samples swapped",
        "options = dict(dataset=TensorDataset(x, y))",
        _SWAP + "options = dict(dataset=TensorDataset(z, w))",
    ),
    changes(
        "torch's major.minor under a loss that uses it",
        "options = dict(loss=loss)",
        "torch.__version__ = '2.99.0'\noptions = dict(loss=loss)",
    ),
    same("number of loaders", "loaders=0", "loaders=3"),
    same("a store", "steps=4", "steps=4, store=folder + '/elsewhere'"),
    same("a logger", "steps=4", "steps=4, logger=Logger(defaults=False)"),
    same("checkpoints", "steps=4", "steps=4, checkpoints=[1, 2]"),
    same("memory", "steps=4", "memory=1, steps=4"),
    same(
        "numpy's scalars",
        "optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9), batch_size=8",
        "optimizer=partial(torch.optim.SGD, momentum=np.float64(0.9), lr=np.float64(0.1)), batch_size=8",
    ),
    same(
        "numpy's scalars in interventions",
        "interventions=SetOptimizer(lr=0.1)",
        "interventions=SetOptimizer(lr=np.float64(0.1))",
    ),
    same(
        "order of keyword arguments",
        "interventions=SetOptimizer(lr=0.1, momentum=0.5)",
        "interventions=SetOptimizer(momentum=0.5, lr=0.1)",
    ),
    same(
        "a default that is written",
        "seed=0",
        "interventions=[InitWeights(seed=0), SetOptimizer(nesterov=False)]",
    ),
    same("epochs or steps", "epochs=2", "steps=6"),
    same("other first weights of a template", "model=Net()", "model=[Net(), Net()][1]"),
    stays(
        "a build of torch",
        "options = dict(loss=loss)",
        "torch.__version__ = torch.__version__.partition('+')[0] + '+cu999'\noptions = dict(loss=loss)",
    ),
    stays(
        "the order of axes and entries",
        "key = keys([InitWeights.make_variations(seed=range(3)), "
        "SetOptimizer.make_variations(lr=(0.1, 0.2), momentum=(0.0, 0.9))])",
        "key = keys([SetOptimizer.make_variations(momentum=(0.9, 0.0), lr=(0.2, 0.1)), "
        "InitWeights.make_variations(seed=(2, 0, 1))])",
    ),
    stays(
        "the order of a perturbation and a setting",
        f"key = keys([{_ONE}, SetOptimizer(lr=0.1), PerturbMomentum(momentum=0.5, when=(3, 4))])",
        f"key = keys([PerturbMomentum(momentum=0.5, when=(3, 4)), SetOptimizer(lr=0.1), {_ONE}])",
    ),
]

SCRIPT = """
    import dataclasses, json, os, sys, tempfile, warnings
    from pathlib import Path
    from textwrap import dedent
    from paribus.engine.learners.configuration import Component, Configuration

    folder = tempfile.mkdtemp(dir=".")
    cases = json.loads(Path("cases.json").read_text())
    net = dedent(Path("net.txt").read_text())
    told = {}
    for place, (name, text) in enumerate(cases.items()):
        path = Path(folder, f"case{place}.py")
        path.write_text(net + dedent(text))
        space = {"__name__": "__main__", "folder": folder}
        def experiment(**options):
            start = {"model": space["Net"](), "dataset": space["points"], "store": folder + "/store"}
            start["batch_size"] = 16
            if "epochs" not in options:
                start["steps"] = 4
            return space["Experiment"](**(start | options))
        def keys(interventions, **options):
            return sorted(learner.key for learner in experiment(interventions=interventions, **options))
        def state_key(step, **options):
            return experiment(**options)[0].configuration.key(step)
        def key_with_seed(stream, seed):
            parts = dict(experiment()[0].configuration.components)
            parts["seeds"] = Component.of(dataclasses.replace(parts["seeds"].value, **{stream: seed}))
            return Configuration(parts).key()
        space |= {"keys": keys, "state_key": state_key, "key_with_seed": key_with_seed}
        import torch
        version = torch.__version__
        exec(compile(path.read_text(), str(path), "exec"), space)
        told[name] = space["key"] if "key" in space else experiment(**space["options"])[0].key
        torch.__version__ = version
    print(json.dumps(told))
"""
"""Takes keys of all cases in one process."""

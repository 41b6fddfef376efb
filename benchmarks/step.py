"""Steps per second of one learner, over two loops written by hand."""

from __future__ import annotations

from paribus.bench.measure import Benchmark
from paribus.bench.ratios import steps
from paribus.models import MLP, LeNet5

_MODELS = {"MLP": MLP, "LeNet5": LeNet5}

BENCHMARK = Benchmark(
    "step",
    "One learner's `run()` on digits (batches of 32, SGD with momentum), the writing of its results "
    "included, over the same training by hand. Loss and accuracy on train and test are evaluated and "
    "logged at step 0 and at each epoch's end on both sides, on one intra-op thread.",
    {
        "full": {"models": _MODELS, "epochs": 15, "repetitions": 15},
        "quick": {"models": _MODELS, "epochs": 10, "repetitions": 5},
        "tiny": {"models": {"MLP": MLP}, "epochs": 1, "repetitions": 1},
    },
    steps,
)

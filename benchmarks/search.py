"""What a search costs beside training: asking TPE, and finding all that it suggested again."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import torch

from paribus import Float, Int, Search
from paribus.bench.measure import Benchmark, Figure, side_by_side
from paribus.engine.search.asking import Asker
from paribus.engine.search.studies import Arm, Study
from paribus.engine.search.suggestions import Asked, Past, Suggestions, Told
from paribus.store import Store

_SPACE = {
    "lr": Float(1e-5, 1.0, log=True),
    "momentum": Float(0.0, 0.99),
    "weight_decay": Float(1e-6, 1e-2, log=True),
    "width": Int(8, 256, log=True),
}


def measure(trials: int, repetitions: int) -> list[Figure]:
    """Time a study of no training: TPE asked and told, and the ledger read again from the store."""
    torch.set_num_threads(1)
    study = Study("", (Arm("", _SPACE, {}, ()),))
    search, numbers = Search("test/loss", "minimize", trials, sampler="tpe"), count()
    with tempfile.TemporaryDirectory() as folder:

        def asking() -> Callable[[], object]:
            store = Store.open(Path(folder, f"store-{next(numbers)}"))
            return lambda: _walk(search, study, _ledger(store, study), Asker(search, study))

        filled = Store.open(Path(folder, "filled"))
        _walk(search, study, _ledger(filled, study), Asker(search, study))
        timings = side_by_side(
            {
                "asked": asking,
                "alone": lambda: lambda: _optuna_alone(trials, search.lag),
                "replayed": lambda: lambda: _walk(search, study, _ledger(filled, study), None),
            },
            repetitions,
        )
    asked, alone, replayed = (
        (median(each.wall for each in times) / trials, median(each.cpu for each in times) / trials)
        for times in timings.values()
    )
    shape = f"{trials} trials, {len(_SPACE)} dimensions"
    tpe, replay = "TPE, asked and told through the ledger, a trial", "replay of the ledger, a trial"
    optuna = "the same by Optuna alone, in memory, a trial"
    return [
        Figure(tpe, 1e3 * asked[0], "ms", 3.0, "less", 1e3 * asked[1], shape),
        Figure(optuna, 1e3 * alone[0], "ms", None, "less", 1e3 * alone[1], shape),
        Figure(replay, 1e6 * replayed[0], "µs", 100.0, "less", 1e6 * replayed[1], shape),
    ]


def _optuna_alone(trials: int, lag: int) -> None:
    """Ask and tell as a loop by hand does, with the same lag."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, waiting = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0)), deque[Any]()
    for _ in range(trials):
        if len(waiting) == lag:
            trial = waiting.popleft()
            study.tell(trial, _result(trial.params["lr"], trial.params["momentum"]))
        trial = study.ask()
        trial.suggest_float("lr", 1e-5, 1.0, log=True)
        trial.suggest_float("momentum", 0.0, 0.99)
        trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True)
        trial.suggest_int("width", 8, 256, log=True)
        waiting.append(trial)


def _result(rate: float, momentum: float) -> float:
    return (momentum - 0.9) ** 2 + abs(rate - 0.1)


def _ledger(store: Store, study: Study) -> Suggestions:
    return Suggestions(store, study.identity, "benchmark")


def _walk(search: Search, study: Study, ledger: Suggestions, asker: Asker | None) -> Past:
    """Go through a study whose results are made up; without an asker every suggestion must be known."""
    past, values = ledger.start(), list[float]()
    for number in range(search.trials or 0):
        before = number - search.lag
        if before >= 0:
            past.append(Told(before, "done", (values[before],)))
        found = ledger.get(past.key)
        if found is None:
            assert asker is not None
            found = asker.suggest(past.events)
            ledger.put(past.key, number, found)
        past.append(Asked(found))
        suggested = study.decoded(found).values
        values.append(_result(suggested["lr"], suggested["momentum"]))
    return past


BENCHMARK = Benchmark(
    "search",
    "A study of made-up results, trials at a lag of 4: suggestions of TPE, kept in the store's ledger; and "
    "the same study again, whose suggestions are all in the ledger, with the query that reads them.",
    {
        "full": {"trials": 200, "repetitions": 7},
        "quick": {"trials": 100, "repetitions": 3},
        "tiny": {"trials": 5, "repetitions": 1},
    },
    measure,
)

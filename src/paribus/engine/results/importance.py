"""How much a trained learner leans on a feature: shuffled where it is evaluated, nothing trained again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import torch

from paribus.engine.building.data import Source
from paribus.engine.building.model import torch_dtype
from paribus.engine.building.preparation import edited, prepared
from paribus.engine.building.work import Work
from paribus.engine.learners.configuration import Configuration
from paribus.engine.training.checkpoint import Checkpoint
from paribus.engine.training.observed import Observed, observed_splits
from paribus.engine.training.segment import numerics
from paribus.errors import MetricError, suggest
from paribus.interventions.checks import check_count
from paribus.interventions.features import AblateFeatures, Feature
from paribus.loggers import Predictions

if TYPE_CHECKING:
    import polars as pl


class _Learner(Protocol):
    @property
    def work(self) -> Callable[[], Work]: ...

    @property
    def configuration(self) -> Configuration: ...

    def checkpoint(self, step: int | None = None) -> Checkpoint: ...


def permutation_importance(
    learner: _Learner,
    features: Iterable[str | Feature | tuple[str | Feature, ...]],
    *,
    split: str = "test",
    step: int | None = None,
    repeats: int = 5,
    seed: int = 0,
) -> pl.DataFrame:
    """Permute features of a split under a trained learner, and say what that costs.

    Nothing is trained: it tells what this one learner uses, and not, as `AblateFeatures` does, what can be
    learned without the feature.

    Args:
        learner: The trained learner, as in ``exp[0]``.
        features: As `AblateFeatures` takes them; a tuple inside is one group, permuted as one.
        split: The split that is evaluated.
        step: Optimizer steps taken; ``None``: the last.
        repeats: Permutations of each feature.
        seed: Of the permutations.

    Returns:
        One row per feature and repeat: ``feature``, ``repeat``, ``loss`` and ``accuracy`` (null where there
        is none), and ``loss_increase`` and ``accuracy_decrease`` against the split as it is.

    Raises:
        MetricError: There is no such split.
        LevelError: The data has no such feature.

    Source:
        Breiman, "Random forests", 2001; Fisher et al., "All models are wrong, but many are useful", 2019.

    Example:
        >>> import tempfile
        >>> from paribus import Experiment, permutation_importance
        >>> from paribus.datasets import FrameDataset, passengers
        >>> from paribus.models import MLP
        >>> table = FrameDataset(passengers(200), label="survived")
        >>> exp = Experiment(MLP(len(table.columns), (8,), 2), table, steps=3, store=tempfile.mkdtemp())
        >>> _ = exp.run(progress=False)
        >>> permutation_importance(exp[0], ["sex", ("sibsp", "parch")], repeats=2)["feature"].to_list()
        ['sex', 'sex', 'sibsp, parch', 'sibsp, parch']
    """
    import polars as pl

    check_count("permutation_importance", "repeats", repeats, least=1)
    work, configuration = learner.work(), learner.configuration
    with numerics(configuration.numerics), torch.no_grad():
        found = learner.checkpoint(step)
        splits = prepared(work, configuration)
        if split not in splits:
            raise MetricError(f"permutation_importance: {split!r} is no split {suggest(split, splits)}")

        def scores(source: Source) -> tuple[float, float | None]:
            return _scores(_predictions(source, found, work.objective, configuration))

        loss, accuracy = scores(splits[split])
        rows = []
        for feature in features:
            for repeat in range(repeats):
                shuffled = edited(
                    [AblateFeatures(feature, "permute", seed=seed + repeat)], {"train": splits[split]}
                )
                worse = scores(shuffled["train"])
                decrease = None if accuracy is None or worse[1] is None else accuracy - worse[1]
                rows.append((_told(feature), repeat, *worse, worse[0] - loss, decrease))
    numbers = ("loss", "accuracy", "loss_increase", "accuracy_decrease")
    schema = {"feature": pl.String, "repeat": pl.Int64, **dict.fromkeys(numbers, pl.Float64)}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _predictions(
    source: Source, found: Checkpoint, objective: Any, configuration: Configuration
) -> Predictions:
    device, dtype = torch.device(configuration.numerics.device), torch_dtype(configuration.numerics.dtype)
    splits = observed_splits({"split": source}, device, dtype)
    model = found.model.eval()
    return Observed(model, found.optimizer, objective, configuration, splits, found.step).predictions("split")


def _scores(predictions: Predictions) -> tuple[float, float | None]:
    correct = predictions.correct
    return predictions.loss, None if correct is None else float(correct.double().mean())


def _told(feature: str | Feature | tuple[str | Feature, ...]) -> str:
    return ", ".join(map(str, feature)) if isinstance(feature, tuple) else str(feature)

"""MLflow: one run per learner, in one experiment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from paribus.loggers.sinks.base import LearnerRun, Sink, required

_TAG = "paribus.run"
_METRICS, _PARAMETERS = 1000, 100  # that MLflow takes at once
_LONGEST = 500  # characters of a parameter that any of its servers keeps


@final
@dataclass(frozen=True)
class MLflow(Sink):
    """Scalars and hyperparameters. A learner's run is found again by a tag, and gets what it lacks.

    Metrics have no time of their own: their timestamp is their step, in milliseconds.

    Attributes:
        where: A tracking address such as ``sqlite:///mlflow.db``, or a folder for such a file.
        experiment: Name of MLflow's experiment.
    """

    where: str | Path
    experiment: str = "paribus"

    def write(self, runs: Sequence[LearnerRun]) -> None:
        """Make the runs that are not there, and log what each of them lacks."""
        client = required("mlflow.tracking", "MLflow").MlflowClient(self._address())
        found = client.get_experiment_by_name(self.experiment)
        experiment = found.experiment_id if found else client.create_experiment(self.experiment)
        there = _runs(client, experiment)
        for run in runs:
            if run.name not in there:
                there[run.name] = client.create_run(
                    experiment, 0, {_TAG: run.name, "paribus.key": run.key}, run.name
                )
            _complete(client, there[run.name], run)

    def _address(self) -> str:
        if "://" in str(self.where):
            return str(self.where)
        folder = Path(self.where).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{folder / 'mlflow.db'}"


def _runs(client: Any, experiment: str) -> dict[str, Any]:
    """Find the learners' runs that are there, by name."""
    runs, token = {}, None
    while True:
        page = client.search_runs(
            [experiment], f"tags.`{_TAG}` != ''", max_results=_METRICS, page_token=token
        )
        runs.update({run.data.tags[_TAG]: run for run in page})
        token = page.token
        if not token:
            return runs


def _complete(client: Any, there: Any, run: LearnerRun) -> None:
    """Log what a run lacks, and say how it ended."""
    entities = required("mlflow.entities", "MLflow")
    identity = there.info.run_id
    known = {(name, m.step) for name in there.data.metrics for m in client.get_metric_history(identity, name)}
    metrics = [
        entities.Metric(name, value, step, step)
        for step, row in run.scalars
        for name, value in row.items()
        if (name, step) not in known
    ]
    parameters = [
        entities.Param(_legal(name), str(value)[:_LONGEST])
        for name, value in run.hyperparameters.items()
        if _legal(name) not in there.data.params
    ]
    for at in range(0, len(metrics), _METRICS):
        client.log_batch(identity, metrics=metrics[at : at + _METRICS])
    for at in range(0, len(parameters), _PARAMETERS):
        client.log_batch(identity, params=parameters[at : at + _PARAMETERS])
    client.set_terminated(identity, "FAILED" if run.status == "failed" else "FINISHED", 0)


def _legal(name: str) -> str:
    """Replace what MLflow takes in no name."""
    return re.sub(r"[^\w\-. /:]", "_", name)

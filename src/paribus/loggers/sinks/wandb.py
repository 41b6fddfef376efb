"""Weights & Biases: one run per learner."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from paribus.loggers.sinks.base import LearnerRun, Sink, histograms, required

_MARK = "paribus.json"


@final
@dataclass(frozen=True)
class WandB(Sink):
    """Scalars, histograms and hyperparameters. A run's identity is the learner's key.

    Offline, a run that is there with equal contents stays, and one with others is replaced. Online, a run is
    resumed, and gets the steps after its last one: W&B takes none before it.

    Attributes:
        where: The folder in which W&B keeps its own.
        project: Name of the project.
        mode: ``"offline"``, to be sent by ``wandb sync``, or ``"online"``.
    """

    where: str | Path
    project: str = "paribus"
    mode: Literal["offline", "online"] = "offline"

    def write(self, runs: Sequence[LearnerRun]) -> None:
        """Write each learner's run that is not there, or has other contents."""
        wandb = required("wandb", "WandB")
        folder = Path(self.where)
        folder.mkdir(parents=True, exist_ok=True)
        for run in runs:
            contents = _digest(run)
            earlier = list((folder / "wandb").glob(f"offline-run-*-{run.name}"))
            if any(_contents(each) == contents for each in earlier):
                continue
            place = self._write(wandb, run)
            for each in earlier:
                shutil.rmtree(each)
            (place / _MARK).write_text(json.dumps({"contents": contents}))

    def _write(self, wandb: Any, run: LearnerRun) -> Path:
        """Write one run; return the folder that W&B keeps it in."""
        session = wandb.init(
            project=self.project,
            id=run.name,
            name=run.name,
            config={**run.hyperparameters, "key": run.key, "status": run.status},
            dir=str(self.where),
            mode=self.mode,
            resume=None if self.mode == "offline" else "allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, save_code=False, disable_git=True, x_disable_stats=True),
        )
        with session:
            for step, row in run.rows:
                if step < session.step:
                    continue
                values: dict[str, Any] = {n: v for n, v in row.items() if isinstance(v, float)}
                for name, counted in histograms(row).items():
                    values[name] = wandb.Histogram(np_histogram=counted)
                session.log(values, step=step)
            return Path(session.dir).parent


def _digest(run: LearnerRun) -> str:
    text = json.dumps([run.key, run.status, dict(run.hyperparameters), run.rows], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _contents(folder: Path) -> str | None:
    mark = folder / _MARK
    return json.loads(mark.read_text())["contents"] if mark.exists() else None

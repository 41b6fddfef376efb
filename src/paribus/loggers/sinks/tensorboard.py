"""TensorBoard: one event file per learner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, final

from paribus.loggers.sinks.base import LearnerRun, Plain, Sink, histograms, required

# TensorBoard knows event files by this part of their name; one that is fixed is replaced, not added to.
_FILE = "events.out.tfevents.0.paribus"
_VERSION = "brain.Event:2"


@final
@dataclass(frozen=True)
class TensorBoard(Sink):
    """Scalars, histograms and hyperparameters; a folder per learner. Equal runs give equal bytes.

    Events have no time of their own: what TensorBoard shows as relative time counts steps, as seconds.

    Attributes:
        where: The folder, to be shown by ``tensorboard --logdir``.
    """

    where: str | Path

    def write(self, runs: Sequence[LearnerRun]) -> None:
        """Write each learner's event file anew."""
        events = required("tensorboard.compat.proto.event_pb2", "TensorBoard")
        records = required("tensorboard.summary.writer.record_writer", "TensorBoard")
        for run in runs:
            folder = Path(self.where) / run.name
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / ".partial"
            with partial.open("wb") as file:
                writer = records.RecordWriter(file)
                writer.write(events.Event(wall_time=0.0, file_version=_VERSION).SerializeToString())
                for step, summary in _summaries(run):
                    event = events.Event(wall_time=float(step), step=step, summary=summary)
                    writer.write(event.SerializeToString())
            partial.replace(folder / _FILE)


def _summaries(run: LearnerRun) -> Iterator[tuple[int, Any]]:
    summary = required("torch.utils.tensorboard.summary", "TensorBoard")
    known = {name: value for name, value in run.hyperparameters.items() if value is not None}
    names = dict.fromkeys(name for _, row in run.scalars for name in row)
    for part in summary.hparams(known, dict.fromkeys(names, 0)):
        yield 0, part
    for step, row in run.rows:
        for name, value in row.items():
            if isinstance(value, float):
                yield step, summary.scalar(name, value)
        for name, (counts, edges) in histograms(row).items():
            yield step, summary.histogram_raw(name, **_moments(counts, edges))


def _moments(counts: list[float], edges: list[float]) -> Mapping[str, Plain | list[float]]:
    """Describe a histogram as TensorBoard does, each value taken to lie in the middle of its bin."""
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    return {
        "min": edges[0],
        "max": edges[-1],
        "num": sum(counts),
        "sum": sum(n * at for n, at in zip(counts, middles, strict=True)),
        "sum_squares": sum(n * at * at for n, at in zip(counts, middles, strict=True)),
        "bucket_limits": edges[1:],
        "bucket_counts": counts,
    }

"""The façade: an experiment wires engine, store, loggers, analysis and plotting, and does nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import torch

from paribus.analysis import Factor, Table, compare
from paribus.engine.checkpoint import Checkpoint, Replayer
from paribus.engine.configuration import Configuration, Data, Resolver, base_configuration
from paribus.engine.data import load, named_splits, sample_of
from paribus.engine.designs import Cell, expand, read
from paribus.engine.executors import Executor, choose_executor
from paribus.engine.explain import Explanation, explain
from paribus.engine.frames import History, histories, printed, results_frame, tidy_frame
from paribus.engine.inspection import check_unchanged, try_first_step, uncovered
from paribus.engine.journal import Journal
from paribus.engine.ledger import read_parts, stops_by_family
from paribus.engine.model import read_model, torch_dtype
from paribus.engine.objective import choose
from paribus.engine.pairs import Computed, compute_pairs, control_rows, list_pairs, pair_frame
from paribus.engine.plan import Plan
from paribus.engine.progress import metered
from paribus.engine.reading import (
    check_optimizers,
    distinct,
    read_checkpoints,
    read_logger,
    read_training,
)
from paribus.engine.retention import Keep, check_keep, retain
from paribus.engine.run import Session, Summary, execute, summarise
from paribus.engine.work import Work
from paribus.errors import AnalysisError, suggest
from paribus.identity import Fingerprint, fingerprint
from paribus.interventions.designs import Design
from paribus.interventions.settings import Budget, Numerics, OptimizerSetting, Seeds
from paribus.loggers import Logger, Schedule
from paribus.store import Record, Store

if TYPE_CHECKING:
    import polars as pl

    from paribus.plotting import Figure

_DEFAULT_OPTIMIZER = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
_DEFAULT_EPOCHS = 5
_MEMORY = 2 * 2**30


@final
class Experiment:
    """Variations of interventions on one training, each cell a learner, each learner computed once.

    Args:
        model: An ``nn.Module``, whose weights are drawn anew for each learner, or better a factory such as
            ``partial(LeNet5, width=2)``.
        dataset: A map-style data set, which is split at random; ``(train, test)``; or data sets by name.
        interventions: Entries are crossed; entries of the same intervention are united into one factor.
        optimizer: A ``torch.optim.Optimizer`` subclass, or a partial of one with its hyperparameters.
        batch_size: Samples per step.
        steps: Length of a run in steps; give this or ``epochs``.
        epochs: Length of a run in epochs; 5 where neither is given.
        loss: ``"cross_entropy"``, ``"mse"``, or a function or module of ``(outputs, targets)``; by default
            the targets decide: integers are classes.
        objective: Instead of a loss: a function of ``(model, batch)`` that returns a scalar.
        schedule: Factor on the learning rate: ``Cosine()``, ``StepDecay(every=…)``, a function.
        seed: Seed of every stream of random draws, where no intervention sets another.
        weights: ``"draw"``: initial weights come from the ``init`` stream; ``"keep"``: from the model given.
        device: Device type, as in ``"cpu"`` or ``"cuda"``.
        dtype: Floating type of parameters and inputs.
        threads: Intra-op threads of each learner; part of the identity, since the count changes bits.
        logger: What is recorded; by default loss and accuracy on every split.
        store: Folder of results; by default ``$PARIBUS_STORE``, else ``.paribus``.
        test_fraction: Share of a single data set that is held out as ``test``.
        loaders: Processes that read a data set which cannot be held in memory; never part of the identity.
        memory: Bytes that one split may take in memory.
        depends_on: Functions, classes, modules or values that the training uses in a way that cannot be
            read from its code; they count in every key.
        checkpoints: Steps, or a schedule of them, at which states are kept; those at forks, window edges
            and ends are kept anyway.

    Raises:
        ConfigurationError: The experiment, as it is written, cannot be run.
        FingerprintError: A part of it has no identity that can be trusted.
        StoreError: The store cannot be opened.

    Example:
        >>> import tempfile
        >>> from paribus import Experiment
        >>> from paribus.datasets import digits
        >>> from paribus.interventions import InitWeights
        >>> from paribus.models import MLP
        >>> exp = Experiment(MLP(), digits(), InitWeights.make_variations(seed=range(3)), steps=2,
        ...                  store=tempfile.mkdtemp())
        >>> exp.run(progress=False).steps_trained
        6
    """

    def __init__(
        self,
        model: object,
        dataset: object,
        interventions: Design | Iterable[Design] = (),
        *,
        optimizer: object = _DEFAULT_OPTIMIZER,
        batch_size: int = 32,
        steps: int | None = None,
        epochs: int | None = None,
        loss: object = None,
        objective: object = None,
        schedule: object = None,
        seed: int = 0,
        weights: Literal["draw", "keep"] = "draw",
        device: str = "cpu",
        dtype: str = "float32",
        threads: int = 1,
        logger: Logger | None = None,
        store: str | Path | None = None,
        test_fraction: float = 0.2,
        loaders: int = 0,
        memory: int = _MEMORY,
        depends_on: Iterable[object] = (),
        checkpoints: Schedule | Iterable[int] | None = None,
    ) -> None:
        budget = Budget(steps, _DEFAULT_EPOCHS if steps is None and epochs is None else epochs)
        torch_dtype(dtype)
        self.logger = read_logger(logger)
        self._loaders, self._memory = loaders, memory
        self._datasets = named_splits(dataset, test_fraction=test_fraction, seed=seed)
        self._model = read_model(model, weights)
        self._objective = choose(loss, objective, sample_of("train", self._datasets["train"]))
        base = base_configuration(
            model=self._model.fingerprint(),
            data=Data(self._data_fingerprint(), len(self._datasets["train"])),  # type: ignore[arg-type]
            objective=self._objective.fingerprint(),
            code=fingerprint(tuple(depends_on), name="depends_on"),
            optimizer=OptimizerSetting.of(optimizer),
            seeds=Seeds.all_equal(seed),
            training=read_training(batch_size, schedule),
            numerics=Numerics(device, dtype, threads),
            budget=budget,
        )
        self.cells = distinct(expand(read(interventions), base, Resolver()))
        self.store = Store.open(store or os.environ.get("PARIBUS_STORE") or ".paribus")
        metrics = self.logger.metrics()
        self._session = Session(
            [cell.configuration for cell in self.cells],
            [(metric, metric.digest.hex()) for metric in metrics if metric.pair is None],
            self.store,
            sum(cell.control for cell in self.cells),
            read_checkpoints(checkpoints),
            list_pairs(self.cells, [metric for metric in metrics if metric.pair is not None]),
        )

    @cached_property
    def work(self) -> Work:
        """What all learners share; the data is read here, once."""
        splits = {
            name: load(name, dataset, memory=self._memory, workers=self._loaders)
            for name, dataset in self._datasets.items()
        }
        return Work(self._model, self._objective, splits, self.logger)

    def plan(self) -> Plan:
        """Say what is cached, what would be trained, and why; nothing is trained.

        Raises:
            StoreError: The store cannot be read.
        """
        return self._session.plan()[0]

    def run(
        self,
        executor: str | Executor = "serial",
        *,
        workers: int | None = None,
        plot: bool = False,
        figures: str | Path = "figures",
        progress: bool = True,
        save_every: float = 60.0,
        keep: Keep = "all",
    ) -> Summary:
        """Train what is not cached.

        A learner that fails is recorded with its traceback and stops nobody else; the next run tries it
        again. After an interrupt, the next run goes on from the segments that were finished.

        Args:
            executor: ``"serial"``, ``"joblib"``, or an executor. The bits do not depend on it.
            workers: Processes of the executor; ``None``: one per core.
            plot: Whether curves of every metric are drawn into ``figures``, as PNG and CSV.
            figures: Folder of the figures.
            save_every: Seconds after which the progress of a long segment is saved.
            keep: States that stay on disk after the run: ``"all"``, ``"ends"`` of learners, or as many as fit
                into a number of bytes; a state that was dropped is replayed when it is asked for.
            progress: Whether a progress bar, and the summary at the end, are shown.

        Raises:
            ConfigurationError: The executor is unknown, or a loss cannot be minimised.
            StoreError: The store cannot be written.
            ExecutionError: The executor cannot start or go on.
        """
        began = time.perf_counter()
        chosen = choose_executor(executor, workers)
        check_keep(keep)
        plan, records = self._session.sound_plan()
        after = plan
        outcomes: list[Any] = []
        tasks = plan.tasks()
        if tasks:
            self._check_before_training()
            journal = Journal.open(self.store, self.work, tasks, save_every)
            with metered(plan, shown=progress) as meter:
                outcomes = execute(
                    tasks, plan.states, journal, self.work, chosen, meter.advance, meter.settled
                )
            after, records = self._session.plan()
        computed = self._compute_pairs(after, records)
        retain(after, self.store, keep)
        if self.store.writable:
            self.store.touch(segment.key for segment in after.segments)
        known = self._histories(after, records)
        diverged = sum(history.status == "diverged" for history in known)
        summary = summarise(plan, after, outcomes, computed, diverged, began)
        if plot:
            summary = replace(summary, files=self._draw(Path(figures)))
        if progress:
            print(summary)
        return summary

    def audit(self) -> list[str]:
        """Name the user's functions that run in the first learner's first step, outside the fingerprint.

        ``run`` does so once by itself, and warns. What reading the code cannot find, as in
        ``getattr(net, "for" + "ward")``, is found here; the mend is ``Experiment(depends_on=[…])``.

        Raises:
            ObjectiveError: The loss cannot be minimised.
        """
        return uncovered(self.work, self.cells[0].configuration)

    def explain(self, index: int) -> Explanation:
        """Say which stored state is nearest to a learner, and what differs, in words.

        Raises:
            StoreError: The store cannot be read.
        """
        configuration = self[index].configuration
        records = {record.key: record for record in self.store.scan() if record.status != "failed"}
        return explain(
            configuration.key(),
            configuration.manifest(configuration.total),
            {name: found.parts for name, found in configuration.fingerprints().items()},
            ((key, record.manifest) for key, record in records.items()),
            lambda key: read_parts(self.store, records[key]),
        )

    def frame(self) -> pl.DataFrame:
        """Return one row per learner and recorded step: levels as typed columns, metrics as columns."""
        return tidy_frame(self.cells, self._known()[1])

    def results(self) -> pl.DataFrame:
        """Return one row per learner: status, levels, and the scalar metrics at the last step."""
        return results_frame(self.cells, self._known()[1])

    def pairs(self) -> pl.DataFrame:
        """Return one row per value of the pair metrics: metric, learner, other, step, name, value."""
        pairs = self._session.pairs
        return pair_frame(pairs, self.store.records(pair.key for pair in pairs))

    def compare(self, metric: str, **options: Any) -> Table:
        """Compare each treatment with its control, all seeds equal.

        Args:
            metric: Name of a scalar metric, as in ``"test/accuracy"``.
            **options: See `paribus.analysis.compare`: ``better``, ``margin``, ``confidence``, ``labels``.

        Raises:
            AnalysisError: Nothing can be compared.
        """
        results = self.results()
        self._check_metric(metric, results.columns)
        return compare(results, metric, self.factors, **options)

    def plot(self, metric: str = "test/loss", **options: Any) -> Figure:
        """Draw a metric over training: means with bands over replicates, windows shaded, control black.

        Args:
            metric: Name of a scalar metric.
            **options: See `paribus.plotting.curves`: ``x``, ``hue``, ``labels``, ``scale``, ``width``.

        Raises:
            AnalysisError: No learner recorded the metric.
        """
        from paribus.plotting import curves

        frame = self.frame()
        self._check_metric(metric, frame.columns)
        return curves(frame, metric, self.factors, **options)

    @property
    def factors(self) -> list[Factor]:
        """The factors of the grid: which columns are treatments, which are seeds, and the control."""
        return _factors(self.cells)

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, index: int) -> Learner:
        if not -len(self) <= index < len(self):
            raise IndexError(f"Experiment: there is no learner {index}; expected 0 to {len(self) - 1}")
        return Learner(self, index % len(self))

    def __iter__(self) -> Iterator[Learner]:
        return (Learner(self, index) for index in range(len(self)))

    def __repr__(self) -> str:
        factors = " × ".join(factor.name for factor in self.factors)
        where = str(self.store.path)
        return f"Experiment({factors or 'no interventions'}: {len(self)} learners, store {where!r})"

    def _repr_html_(self) -> str:
        return f"<p><code>{escape(repr(self))}</code></p>{self.plan()._repr_html_()}"

    def _data_fingerprint(self) -> Fingerprint:
        return fingerprint(self._datasets, name="data")

    def _check_before_training(self) -> None:
        """Refuse data that changed and optimizers that cannot be made; try one step, and watch it.

        Not at construction: making an optimizer costs torch seconds of imports, and a cached experiment none.
        """
        check_unchanged(self.cells[0].configuration, self._data_fingerprint())
        check_optimizers(self.cells)
        try_first_step(self.work, self.cells[0].configuration, self.store)

    def _known(self) -> tuple[Plan, list[History]]:
        plan, records = self._session.plan()
        return plan, self._histories(plan, records)

    def _histories(self, plan: Plan, records: Mapping[str, Record]) -> list[History]:
        pairs = self._session.pairs
        extra = control_rows(pairs, self.store.records(pair.key for pair in pairs))
        return histories(self.cells, plan, records, self._session.digests, extra)

    def _compute_pairs(self, plan: Plan, records: Mapping[str, Record]) -> Computed:
        missing = self._session.missing_pairs(plan, records)
        if not missing:  # then the data need not be read
            return Computed()
        return compute_pairs(missing, self.cells, self.work, self.store, self._replayer(plan, records))

    def _replayer(self, plan: Plan, records: Mapping[str, Record]) -> Replayer:
        return Replayer(self.work, self.store, plan.states, stops_by_family(records))

    def _metrics(self, columns: Sequence[str]) -> list[str]:
        levels = {column for factor in self.factors for column in factor.columns}
        return [name for name in columns if name not in _NO_METRIC and name not in levels]

    def _check_metric(self, metric: str, columns: Sequence[str]) -> None:
        known = self._metrics(columns)
        if metric not in known:
            raise AnalysisError(
                f"{metric!r} was not recorded {suggest(metric, known)}; run the experiment, or name another"
            )

    def _draw(self, folder: Path) -> tuple[str, ...]:
        from paribus.plotting import curves

        frame, files = self.frame(), []
        for metric in (name for name in self._metrics(frame.columns) if frame.schema[name].is_float()):
            stem = folder / metric.replace("/", "-")
            figure = curves(frame, metric, self.factors)
            files += [str(path) for path in figure.save(stem, formats=("png", "csv"))]
        return tuple(files)


@final
@dataclass(frozen=True, eq=False)
class Learner:
    """One cell of an experiment.

    Attributes:
        experiment: The experiment it belongs to.
        index: Its place in the grid.
    """

    experiment: Experiment
    index: int

    @property
    def cell(self) -> Cell:
        """Its levels and its configuration."""
        return self.experiment.cells[self.index]

    @property
    def configuration(self) -> Configuration:
        """Everything that decides its bits."""
        return self.cell.configuration

    @property
    def key(self) -> str:
        """The hash of its configuration, 32 hex digits."""
        return self.configuration.key()

    @property
    def levels(self) -> dict[str, object]:
        """Its levels by column name."""
        return {name: value for level in self.cell.levels for name, value in printed(level).items()}

    @property
    def history(self) -> History:
        """Its status and what was recorded."""
        return self.experiment._known()[1][self.index]

    @property
    def status(self) -> str:
        """``done``, ``diverged``, ``failed`` or ``missing``."""
        return self.history.status

    def frame(self) -> pl.DataFrame:
        """Return one row per recorded step."""
        return tidy_frame([self.cell], [self.history]).drop("learner")

    def checkpoint(self, step: int | None = None) -> Checkpoint:
        """Return model, optimizer and step; a state that was not stored is replayed from the nearest one.

        Args:
            step: Optimizer steps taken; ``None``: the last.

        Raises:
            ConfigurationError: The step is not on this run.
            ExecutionError: The run diverged or failed before the step.
        """
        replayer = self.experiment._replayer(*self.experiment._session.plan())
        return replayer.at(self.configuration, self.configuration.total if step is None else step)

    def __repr__(self) -> str:
        levels = ", ".join(f"{name}={value!r}" for name, value in self.levels.items())
        return f"Learner({self.index}, {self.key[:8]}, {self.status}: {levels or 'no change'})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{escape(n)}</th><td>{escape(repr(v))}</td></tr>" for n, v in self.levels.items()
        )
        return f"<p>learner {self.index} <code>{self.key}</code>, {self.status}</p><table>{rows}</table>"


_NO_METRIC = frozenset({"learner", "key", "status", "step", "epoch"})


def _factors(cells: Sequence[Cell]) -> list[Factor]:
    treatments: dict[str, dict[str, None]] = {}
    replicates: dict[str, dict[str, None]] = {}
    controls: dict[str, Mapping[str, object]] = {}
    for cell in cells:
        for level in cell.levels:
            seeds = {f"{level.factor}.{name}" for name in level.intervention.replicates}
            values = printed(level)
            treatments.setdefault(level.factor, {}).update({n: None for n in values if n not in seeds})
            replicates.setdefault(level.factor, {}).update({n: None for n in values if n in seeds})
            if level.control:
                controls[level.factor] = {n: v for n, v in values.items() if n not in seeds}
    return [
        Factor(name, tuple(treatments[name]), tuple(replicates[name]), controls.get(name))
        for name in treatments
    ]

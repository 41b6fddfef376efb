"""The façade: an experiment wires engine, store, loggers, analysis and plotting, and does nothing else."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import torch

from paribus import markup
from paribus.analysis import Factor
from paribus.engine.building.loading import columns_of, load, named_splits, sample_of
from paribus.engine.building.model import read_model, torch_dtype
from paribus.engine.building.objective import choose
from paribus.engine.building.preparation import Outline, count_samples
from paribus.engine.building.work import REPORTED, Work
from paribus.engine.fusion import Fuse, check_fuse, worth
from paribus.engine.fusion.foresight import notes_of
from paribus.engine.learners.collection import collection_paused
from paribus.engine.learners.configuration import Data, base_configuration
from paribus.engine.learners.controls import with_controls
from paribus.engine.learners.designs import Cell, expand, has_dimensions, read
from paribus.engine.learners.openings import Filler
from paribus.engine.learners.reading import (
    check_any,
    distinct,
    read_checkpoints,
    read_logger,
    read_training,
)
from paribus.engine.learners.resolver import Resolver
from paribus.engine.planning.explain import Explanation, explain
from paribus.engine.planning.known import Known
from paribus.engine.planning.plan import Plan
from paribus.engine.proving.checks import check_before_training
from paribus.engine.proving.inspection import check_unchanged, uncovered
from paribus.engine.results.frames import (
    History,
    histories,
    with_pairs,
)
from paribus.engine.results.gathering import gathered
from paribus.engine.running.driver import Driver
from paribus.engine.running.executors import Executor, check_device, choose_executor, prepare
from paribus.engine.running.pairs import Computed, compute_pairs, control_rows, list_pairs, pair_frame
from paribus.engine.running.retention import Keep, check_keep, retain
from paribus.engine.running.run import Round, Session, Summary, driven, execute, summarise, untried
from paribus.engine.search.cutting import PrunedCells, make_cutter, united
from paribus.engine.search.found import Found
from paribus.engine.search.pruning import Pruner
from paribus.engine.search.scores import Scores
from paribus.engine.search.search import Search
from paribus.engine.search.trials import Trial, cells_of, read_search
from paribus.engine.showing.notebook import tell
from paribus.engine.showing.progress import metered
from paribus.engine.training.checkpoint import Replayer
from paribus.engine.training.device import at_hand
from paribus.engine.training.journal import Journal
from paribus.engine.training.ledger import read_families, read_parts
from paribus.engine.training.opaque import check_visible, read_train
from paribus.errors import ConfigurationError
from paribus.evidence import Evidence, factors_of
from paribus.findings import Findings
from paribus.identity import Fingerprint, fingerprint
from paribus.interventions.designs import Design
from paribus.interventions.settings import Budget, Numerics, OptimizerSetting, Seeds
from paribus.learner import Learner
from paribus.loggers import Logger, Schedule
from paribus.store import Record, Store

if TYPE_CHECKING:
    import polars as pl

    from paribus.interventions.sites import DataIntervention
    from paribus.loggers.sinks import Sink
    from paribus.plotting.drawing import Drawing

_DEFAULT_OPTIMIZER = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
_DEFAULT_EPOCHS = 5
_MEMORY = 2 * 2**30


@final
class Experiment(Findings):
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
        loss: ``"cross_entropy"``, ``"mse"``, or a function or module of ``(outputs, targets)``; a mapping of
            them is a sum of named terms; by default the targets decide: integers are classes.
        objective: Instead of a loss: a function of ``(model, batch)`` that returns a scalar, or a mapping of
            named terms that are summed.
        train: A function of a `TrainableLearner` that trains its model in its own way; nothing can then be
            changed, shared or kept between the first step and the last.
        schedule: Factor on the learning rate: ``Cosine()``, ``StepDecay(every=…)``, a function.
        seed: Seed of every stream of random draws, where no intervention sets another.
        weights: ``"draw"``: initial weights come from the ``init`` stream; ``"keep"``: from the model given.
        device: Device type, as in ``"cpu"`` or ``"cuda"``.
        dtype: Floating type of parameters and inputs.
        threads: Intra-op threads of each learner; part of the identity, since the count changes bits.
        exact: Whether a learner has the bits that it has alone; where not, which is part of the identity,
            those who are trained as one may differ from it in their last bits.
        logger: What is recorded; by default loss and accuracy on every split.
        store: Folder of results, an address such as ``"s3://bucket/runs"`` for its objects, or a `Store`; by
            default ``$PARIBUS_STORE``, else ``.paribus``.
        test_fraction: Share of a single data set that is held out as ``test``.
        loaders: Processes that read a data set which cannot be held in memory; never part of the identity.
        memory: Bytes that one split may take in memory.
        depends_on: Functions, classes, modules or values that the training uses in a way that cannot be
            read from its code; they count in every key.
        checkpoints: Steps, or a schedule of them, at which states are kept; those at forks, window edges
            and ends are kept anyway.
        search: How search dimensions (`Float`, `Int`, `Categorical`) are filled.
        pruner: Without a search: stops learners that are not promising, as in
            ``Median("test/loss", "minimize")``.

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
        train: object = None,
        schedule: object = None,
        seed: int = 0,
        weights: Literal["draw", "keep"] = "draw",
        device: str = "cpu",
        dtype: str = "float32",
        threads: int = 1,
        exact: bool = True,
        logger: Logger | None = None,
        store: str | Path | Store | None = None,
        test_fraction: float = 0.2,
        loaders: int = 0,
        memory: int = _MEMORY,
        depends_on: Iterable[object] = (),
        checkpoints: Schedule | Iterable[int] | None = None,
        search: Search | None = None,
        pruner: Pruner | None = None,
    ) -> None:
        if search is not None and pruner is not None:
            raise ConfigurationError("Experiment: pruner= beside search=; write Search(pruner=…)")
        budget = Budget(steps, _DEFAULT_EPOCHS if steps is None and epochs is None else epochs)
        torch_dtype(dtype)
        self.logger = read_logger(logger)
        self._loaders, self._memory = loaders, memory
        self._datasets = named_splits(dataset, test_fraction=test_fraction, seed=seed)
        self._model = read_model(model, weights)
        self._objective = choose(loss, objective, sample_of("train", self._datasets["train"]))
        pruning = pruner if search is None else getattr(search, "pruner", None)
        inexact = None if exact else exact
        self._train = read_train(train, checkpoints=checkpoints, pruner=pruning, exact=inexact)
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
            train=None if train is None else fingerprint(train, name="train"),
            exact=exact,
        )
        design, resolver = read(interventions), Resolver(self._count_samples)
        cells = with_controls(expand(design, base, resolver), design, base, resolver)
        check_any(cells)
        for cell in cells if train is not None else ():
            check_visible(cell.configuration)
        self._checkpoints = read_checkpoints(checkpoints)
        opened = cache(partial(_opened, store or os.environ.get("PARIBUS_STORE") or ".paribus"))
        self._trials, self._unsearched = read_search(
            search, cells, has_dimensions(design), Filler(base, resolver), self.logger.metrics(), opened
        )
        self._pruned = None if pruner is None else self._read_pruner(pruner, cells, opened)
        self.store = opened()
        self._settle(self._trials.known() if self._trials else [])

    def _settle(self, trials: Sequence[Trial]) -> None:
        """Take the cells without dimensions, and those of some trials, as the learners."""
        self.cells = distinct(cells_of(self._unsearched, trials))
        stops = self._pruned.stops() if self._pruned else united(s for trial in trials for s in trial.stops)
        metrics = self.logger.metrics()
        self._session = Session(
            [cell.configuration for cell in self.cells],
            [(metric, metric.digest.hex()) for metric in metrics if metric.pair is None],
            self.store,
            sum(cell.control for cell in self.cells),
            self._checkpoints,
            list_pairs(self.cells, [metric for metric in metrics if metric.pair is not None]),
            stops,
        )

    def _read_pruner(self, pruner: Pruner, cells: Sequence[Cell], opened: Callable[[], Store]) -> PrunedCells:
        learners = [cell.configuration for cell in cells]
        return PrunedCells(cells, make_cutter(pruner, self.logger.metrics(), learners, opened))

    @cached_property
    def work(self) -> Work:
        """What all learners share; the data is read here, once."""
        splits = {
            name: load(name, dataset, memory=self._memory, workers=self._loaders)
            for name, dataset in self._datasets.items()
        }
        return Work(self._model, self._objective, splits, self.logger, self._train)

    def plan(self, *, fuse: Fuse = "auto") -> Plan:
        """Say what is cached, what would be trained, and why; nothing is trained.

        Args:
            fuse: As in `run`; then the plan also says what cannot be part of a group. For that, a step of
                each kind of model is tried on a model of its own.

        Raises:
            ConfigurationError: ``fuse`` says nothing about groups.
            StoreError: The store cannot be read.
        """
        check_fuse(fuse)
        trials = self._trials.known() if self._trials else []
        if self._trials or self._pruned:  # otherwise the learners are those that they were
            self._settle(trials)
        plan = self._session.plan()[0]
        notes = self._trials.notes(trials) if self._trials else ()
        if worth(fuse, plan.steps_to_train):
            segments = (plan.segments[place] for place in plan.to_run)
            parts = ((segment.configuration, segment.start, segment.stop) for segment in segments)
            alone = notes_of(parts, lambda: self.work, fuse, opaque=self._train is not None)
            notes = (*notes, *alone)
        return replace(plan, notes=notes)

    def _next_plan(self, began: float) -> tuple[Plan, Mapping[str, Record]]:
        """Ask for the trials that may be asked for now, and plan; states to start from are sound."""
        if self._trials is None:
            if self._pruned is not None:
                self._settle([])
            return self._session.sound_plan()
        limit = self._trials.search.timeout or math.inf
        trials = self._trials.asked(lambda: time.perf_counter() - began < limit)
        self._settle(trials)
        plan, records = self._session.sound_plan()
        is_over = time.perf_counter() - began >= limit
        return replace(plan, notes=self._trials.notes(trials, is_over=is_over)), records

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
        fuse: Fuse = "auto",
    ) -> Summary:
        """Train what is not cached.

        A learner that fails is recorded with its traceback and stops nobody else; the next run tries it
        again. After an interrupt, the next run goes on from the segments that were finished.

        Args:
            executor: ``"serial"``: here, one after another; ``"local"``: on all cores, by processes of
                Paribus's own; ``"joblib"``: by those of joblib; ``"ray"``: on a cluster; or an executor, as
                `Local` or `Ray`. The bits do not depend on it.
            workers: Processes of the executor; ``None``: one per core.
            plot: Whether the default figures (`Evidence.figures`) are drawn: in a notebook in place while the
                run goes on, elsewhere into ``figures`` at its end, as PNG and CSV.
            figures: Folder of the figures.
            save_every: Seconds after which the progress of a long segment is saved.
            keep: States that stay on disk after the run: ``"all"``, ``"ends"`` of learners, or as many as fit
                into a number of bytes; a state that was dropped is replayed when it is asked for.
            fuse: How many learners are trained as one batched model at most, each with the bits that it has
                alone: ``False``, none; ``"auto"``, as many as pay; or a number.
            progress: Whether a line with the progress (in a log, one every ten seconds), and the summary at
                the end, are shown.

        Raises:
            ConfigurationError: The executor is unknown, its agents lack the device, or a loss cannot be
                minimised.
            StoreError: The store cannot be written.
            ExecutionError: The executor cannot start or go on.
        """
        began = time.perf_counter()
        chosen = choose_executor(executor, workers)
        check_keep(keep)
        check_fuse(fuse)
        drawing = self._drawing(Path(figures)) if plot else None
        rounds: list[Round] = []
        after, records = self._next_plan(began)
        with ExitStack() as stack:
            driver: Driver | None = None
            while tasks := untried(after, rounds):
                check_device(chosen, self.cells[0].configuration.numerics.device)
                prepare(chosen)
                self._check_before_training([each.plan for each in rounds])
                if driver is None:  # its agents are there for all rounds
                    journal = Journal.open(self.store, self.work, tasks, save_every)
                    driver = stack.enter_context(driven(chosen, self.work, journal))
                with metered(after, self.store.path, shown=progress) as meter:
                    settled = [meter.settled] if drawing is None else [meter.settled, drawing.settled]
                    outcomes = execute(tasks, after.states, driver, meter.reached, settled, fuse)
                rounds.append(Round(after, tasks, outcomes))
                after, records = self._next_plan(began)
        computed = self._compute_pairs(after, records)
        retain(after, self.store, keep)
        if self.store.writable:
            self.store.touch(segment.key for segment in after.segments)
            self.store.touch(pair.key for pair in self._session.pairs)
            self.store.touch(self._trials.suggestions if self._trials else ())
        ends = histories(self.cells, after, Known(records))
        diverged = sum(history.status == "diverged" for history in ends)
        summary = replace(summarise(rounds, after, computed, diverged, began), notes=after.notes)
        if drawing is not None:
            summary = replace(summary, files=drawing.finish())
        if progress:
            tell(summary)
        return summary

    def audit(self) -> list[str]:
        """Name the user's functions that run in the first learner's first step, outside the fingerprint.

        ``run`` does so once by itself, and warns. What reading the code cannot find, as in
        ``getattr(net, "for" + "ward")``, is found here; the mend is ``Experiment(depends_on=[…])``.

        Raises:
            ConfigurationError: There is no learner yet: its search has to ask for one.
            ObjectiveError: The loss cannot be minimised.
        """
        if not self.cells:
            raise ConfigurationError("audit: the search has asked for no trial yet; call run() first")
        return uncovered(self.work, at_hand(self.cells[0].configuration))

    def explain(self, index: int) -> Explanation:
        """Say which stored state is nearest to a learner, and what differs, in words.

        Raises:
            StoreError: The store cannot be read.
        """
        configuration = self[index].configuration
        segments = (record for record in self.store.scan() if record.kind == "segment")
        records = {record.key: record for record in segments if record.status != "failed"}
        return explain(
            configuration.key(),
            configuration.manifest(configuration.total),
            {name: found.parts for name, found in configuration.fingerprints().items()},
            ((key, record.manifest) for key, record in records.items()),
            lambda key: read_parts(self.store, records[key]),
        )

    @collection_paused()
    def evidence(self) -> Evidence:
        """Gather what the store holds of the learners now, for several tables and figures of one state."""
        plan, records = self._session.plan()
        return Evidence(self.cells, *self._read(plan, records), plan, records, self.pairs)

    def found(self) -> Found:
        """Gather what the store holds of the search now.

        Raises:
            ConfigurationError: There is no search.
        """
        if self._trials is None:
            raise ConfigurationError("Experiment: there is no search; give one, as in search=Search(…)")
        trials = self._trials.known()
        self._settle(trials)
        learners = {cell.configuration.key(): index for index, cell in enumerate(self.cells)}
        digests = [*self._session.digests.values(), REPORTED]
        return Found(self._trials, trials, Scores(self.store, digests), self.logger.metrics(), learners)

    @collection_paused()
    def scan(self) -> pl.LazyFrame:
        """Return what `frame` does as a lazy frame, for more learners than fit into memory.

        Named as in polars, where ``scan_parquet`` is the lazy ``read_parquet``. Nothing that was recorded is
        read before ``collect``, and then a few hundred learners at a time, only those that a filter on levels
        or status leaves, and only the columns that are asked for.

        Example:
            ``exp.scan().filter(pl.col("step") == 0).group_by("status").agg(pl.mean("test/loss")).collect()``

        Raises:
            StoreError: The store cannot be read.
        """
        from paribus.engine.results.scanning import Scan

        session = self._session
        plan, records = session.plan(numbers=False)
        known, pairs = Known(records), self.store.records(pair.key for pair in session.pairs)
        ends, values = histories(self.cells, plan, known), control_rows(session.pairs, pairs)
        read = partial(read_families, self.store)
        return Scan(self.cells, ends, plan, known, session.digests, session.once, values, read).lazy()

    def pairs(self) -> pl.DataFrame:
        """Return one row per value of the pair metrics: metric, learner, other, step, name, value."""
        pairs = self._session.pairs
        return pair_frame(pairs, self.store.records(pair.key for pair in pairs))

    def to(self, sink: str | Sink, where: str | Path = "", **options: Any) -> None:
        """Write configurations and metrics to where another program shows them; twice makes no duplicates.

        Args:
            sink: ``"csv"``, ``"tensorboard"``, ``"mlflow"``, ``"wandb"``, or a sink itself.
            where: Its folder; for MLflow, a tracking address too.
            **options: What the sink takes: see `paribus.loggers.sinks`.

        Raises:
            ConfigurationError: The sink is unknown, or its package is not installed.
        """
        from paribus.loggers.sinks import choose_sink, learner_runs

        levels = [column for factor in self.factors for column in factor.columns]
        each = (cell.configuration for cell in self.cells)
        documents = [json.loads(configuration.manifest(configuration.total)) for configuration in each]
        choose_sink(sink, where, options).write(learner_runs(self.frame(), levels, documents))

    @property
    def factors(self) -> list[Factor]:
        """The factors of the grid: which columns are treatments, which are seeds, and the control."""
        return factors_of(self.cells)

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, index: int) -> Learner:
        if not -len(self) <= index < len(self):
            raise IndexError(f"Experiment: there is no learner {index}; expected 0 to {len(self) - 1}")
        return self._learner(index % len(self))

    def __iter__(self) -> Iterator[Learner]:
        return map(self._learner, range(len(self)))

    def __repr__(self) -> str:
        factors = " × ".join(factor.name for factor in self.factors)
        where = str(self.store.path)
        return f"Experiment({factors or 'no interventions'}: {len(self)} learners, store {where!r})"

    def _repr_html_(self) -> str:
        return markup.titled(repr(self), self.plan()._repr_html_())

    def _learner(self, index: int) -> Learner:
        return Learner(index, self.cells[index], self.evidence, self._present_replayer, lambda: self.work)

    def _present_replayer(self) -> Replayer:
        return self._replayer(self._session.plan()[1])

    def _count_samples(self, changes: tuple[DataIntervention, ...]) -> int:
        outlines = {name: Outline(data, columns_of(data)) for name, data in self._datasets.items()}
        return count_samples(changes, outlines, lambda: self.work.splits)

    def _data_fingerprint(self) -> Fingerprint:
        return fingerprint(self._datasets, name="data")

    def _check_before_training(self, earlier: Sequence[Plan]) -> None:
        """Refuse data that changed, and check what is new since earlier rounds."""
        known = {learner.key for plan in earlier for learner in plan.learners}
        learners = [cell.configuration for cell in self.cells]
        new = [each for each in learners if each.key() not in known]
        if not earlier:
            check_unchanged(learners[0], self._data_fingerprint())
        limits = self._trials.ends if self._trials and not earlier else []
        ends = [cell.configuration for cell in limits]
        check_before_training(self.work, self.store, new, ends, first=not earlier)

    def _read(self, plan: Plan, records: Mapping[str, Record]) -> tuple[list[History], pl.DataFrame]:
        """Read how each learner ended, and what was recorded."""
        known, pairs = Known(records), self._session.pairs
        recorded = gathered(
            self._session.configurations, plan, known, self._session.digests, self._session.once
        )
        values = control_rows(pairs, self.store.records(pair.key for pair in pairs))
        return histories(self.cells, plan, known), with_pairs(recorded, values)

    def _compute_pairs(self, plan: Plan, records: Mapping[str, Record]) -> Computed:
        missing = self._session.missing_pairs(plan, records)
        if not missing:  # then the data need not be read
            return Computed()
        return compute_pairs(missing, self.cells, self.work, self.store, self._replayer(records))

    def _replayer(self, records: Mapping[str, Record]) -> Replayer:
        return Replayer(self.work, self.store, Known(records))

    def _drawing(self, folder: Path) -> Drawing:
        from paribus.plotting.drawing import choose_drawing

        return choose_drawing(lambda: self.evidence().figures(), folder)


def _opened(store: str | Path | Store) -> Store:
    return store if isinstance(store, Store) else Store.open(store)

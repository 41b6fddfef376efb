"""The trials of a search: what is known of them, and what is to be trained next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

from paribus.engine.learners.designs import Cell
from paribus.engine.learners.openings import Filler
from paribus.engine.planning.plan import Stop
from paribus.engine.search.cutting import Cut, Cutter, make_cutter
from paribus.engine.search.scores import Score, Scores
from paribus.engine.search.search import Search, check_metrics
from paribus.engine.search.studies import Study, Suggestion, ends_of, planned, read_studies
from paribus.engine.search.suggestions import Asked, Past, Suggestions, Told
from paribus.errors import ConfigurationError
from paribus.identity import digest
from paribus.loggers import Metric
from paribus.store import Store

if TYPE_CHECKING:
    from paribus.engine.search.asking import Asker


@final
@dataclass(frozen=True, eq=False)
class Trial:
    """One trial of a study.

    Attributes:
        study: Index of its study.
        number: Its place in it.
        suggestion: Its arm, and a value for each dimension.
        cells: One for each combination of the replicate seeds.
        status: ``"open"`` until all of them are over; ``"done"``, ``"pruned"``, ``"diverged"`` or
            ``"failed"``: one of them is, or lacks the metric.
        values: One for each metric: the mean over the seeds.
        cut: How far the pruner lets it go; ``None``: there is no pruner.
    """

    study: int
    number: int
    suggestion: Suggestion
    cells: tuple[Cell, ...]
    status: str = "open"
    values: tuple[float, ...] = ()
    cut: Cut | None = None

    @property
    def told(self) -> Told:
        """What a sampler is told of it."""
        return Told(self.number, self.status, self.values, self.cut.course if self.cut else ())

    @property
    def stops(self) -> list[tuple[str, Stop | None]]:
        """Where each of its learners stops, by key."""
        stops = self.cut.stops if self.cut else (None,) * len(self.cells)
        return [(cell.configuration.key(), stop) for cell, stop in zip(self.cells, stops, strict=True)]


@final
class Trials:
    """Walks studies: each trial that the store knows, and, if asked to, those that may be asked for now.

    Args:
        search: How dimensions are filled.
        studies: Which cells are filled together.
        filler: Fills them.
        scores: Tells how learners did.
        store: Where suggestions are kept.
        cutter: Applies the search's pruner; ``None``: there is none.
        suggestions: Of each study, where the sampler looks at no result.
        ends: Cells at the ends of all ranges, where it is not known what will be suggested.
    """

    def __init__(
        self,
        search: Search,
        studies: Sequence[Study],
        filler: Filler,
        scores: Scores,
        store: Store,
        cutter: Cutter | None,
        suggestions: Sequence[Sequence[Suggestion]],
        ends: Sequence[Cell],
    ) -> None:
        self.search = search
        self.studies = studies
        self.scores = scores
        self.ends = ends
        self._cutter = cutter
        self._filler = filler
        self._filled: dict[tuple[int, int], tuple[Any, tuple[Cell, ...]]] = {}
        self._ledgers = (
            [Suggestions(store, _identity(search, study), _words(search, study)) for study in studies]
            if search.is_adaptive
            else []
        )
        self._askers: dict[int, Asker] = {}
        self._planned = suggestions

    @property
    def count(self) -> int:
        """How many trials there are to be."""
        if self.search.is_adaptive:
            return (self.search.trials or 0) * len(self.studies)
        return sum(map(len, self._planned))

    @property
    def suggestions(self) -> list[str]:
        """Keys of what the store keeps of adaptive samplers for this search."""
        return [key for ledger in self._ledgers for key in ledger.kept]

    def notes(self, trials: Sequence[Trial], *, is_over: bool = False) -> tuple[str, ...]:
        """Say how far the search is.

        Args:
            trials: Those that are asked for.
            is_over: Whether the time of the search is over.
        """
        unasked = self.count - len(trials)
        if not unasked:
            return ()
        why = f": its {self.search.timeout:g} s were over" if is_over else ""
        return (f"{unasked:,} of {self.count:,} trials of the search were not asked for yet{why}",)

    def known(self) -> list[Trial]:
        """List the trials that the store knows, as far as their order goes, trial after trial."""
        return self._walk(lambda: False)

    def asked(self, go_on: Callable[[], bool]) -> list[Trial]:
        """List the trials, with those that may be asked for now.

        Args:
            go_on: Whether to ask for one more.

        Raises:
            StoreError: The store cannot be written.
        """
        return self._walk(go_on)

    def _walk(self, go_on: Callable[[], bool]) -> list[Trial]:
        self.scores.forget()
        for ledger in self._ledgers:
            ledger.reload()
        walk = self._adaptive if self.search.is_adaptive else self._fixed
        trials = []
        for place, study in enumerate(self.studies):
            if self._cutter is not None:
                self._cutter.start()
            trials += walk(place, study, go_on)
        return sorted(trials, key=lambda trial: trial.number)

    def _fixed(self, place: int, study: Study, go_on: object) -> list[Trial]:
        made = [self._trial(place, number, each) for number, each in enumerate(self._planned[place])]
        self.scores.read(cell.configuration for trial in made for cell in trial.cells)
        return [self._scored(trial) for trial in made]

    def _adaptive(self, place: int, study: Study, go_on: Callable[[], bool]) -> list[Trial]:
        ledger, trials = self._ledgers[place], list[Trial]()
        past = ledger.start()
        for number in range(self.search.trials or 0):
            before = number - self.search.lag
            if before >= 0:
                if trials[before].status == "open":
                    break
                past.append(trials[before].told)
            found = ledger.get(past.key)
            if found is None:
                if not go_on():
                    break
                found = self._suggested(place, past)
                ledger.put(past.key, number, found)
            past.append(Asked(found))
            trials.append(self._scored(self._trial(place, number, study.decoded(found))))
        return trials

    def _suggested(self, place: int, past: Past) -> Any:
        from paribus.engine.search.asking import Asker

        if place not in self._askers:
            self._askers[place] = Asker(self.search, self.studies[place])
        return self._askers[place].suggest(past.events)

    def _trial(self, place: int, number: int, suggestion: Suggestion) -> Trial:
        """Fill a trial's cells; they are kept, since to resolve them costs more than to look them up."""
        filled = self._filled.get((place, number))
        if filled is None or filled[0] != suggestion:
            arm = self.studies[place].arms[suggestion.arm]
            filled_cells = (self._filler.fill(cell, suggestion.values) for cell in arm.cells)
            cells = tuple(replace(cell, adaptive=self.search.is_adaptive) for cell in filled_cells)
            filled = self._filled[place, number] = suggestion, cells
        return Trial(place, number, suggestion, filled[1])

    def _scored(self, trial: Trial) -> Trial:
        metrics = self.search.metrics
        if self._cutter is not None:
            cut = self._cutter.cut([cell.configuration for cell in trial.cells])
            trial = replace(trial, cut=cut)
            if cut.status != "over":
                return replace(trial, status=cut.status)
        scores = [self.scores.of(cell.configuration, metrics) for cell in trial.cells]
        return replace(trial, status=_status(scores), values=_means(scores))


def _status(scores: Sequence[Score]) -> str:
    statuses = {score.status for score in scores}
    found = next((status for status in ("open", "failed", "diverged") if status in statuses), "done")
    return "failed" if found == "done" and not all(score.values for score in scores) else found


def _means(scores: Sequence[Score]) -> tuple[float, ...]:
    if not all(score.status == "done" and score.values for score in scores):
        return ()
    return tuple(sum(column) / len(scores) for column in zip(*(s.values for s in scores), strict=True))


def _identity(search: Search, study: Study) -> bytes:
    from paribus.engine.search.samplers import identity_of

    return digest((identity_of(search.sampler), search.seed, search.lag, search.directions, study.identity))


def _words(search: Search, study: Study) -> str:
    sampler = (
        search.sampler
        if isinstance(search.sampler, str)
        else getattr(search.sampler, "__name__", type(search.sampler).__name__)
    )
    return f"{sampler}, seed {search.seed}, lag {search.lag}, {study.identity.hex()}"


def read_search(
    search: object,
    cells: Sequence[Cell],
    is_open: bool,
    filler: Filler,
    metrics: Sequence[Metric],
    opened: Callable[[], Store],
) -> tuple[Trials | None, list[Cell]]:
    """Read ``search=``; return the trials, and the cells that no search fills.

    Args:
        search: What the user gave.
        cells: The cells of the grid, perhaps open.
        is_open: Whether the grid has search dimensions.
        filler: Fills open cells.
        metrics: What the logger records.
        opened: Opens the store, once; it is left alone where the search is refused.

    Raises:
        ConfigurationError: There are dimensions and no search, or a search and no dimension, or a metric is
            recorded by no logger, or not at the last step.
    """
    if search is None:
        if is_open:
            raise ConfigurationError(
                "Experiment: the grid has a search dimension and no search=; give one, as in "
                "search=Search('test/loss', 'minimize', trials=16)"
            )
        return None, list(cells)
    if not isinstance(search, Search):
        raise ConfigurationError(
            f"Experiment: search={search!r}; expected Search('test/loss', 'minimize', trials=16)"
        )
    studies, plain = read_studies(cells, search, filler)
    digests = check_metrics(search.metrics, metrics, cells[0].configuration)
    suggestions = [] if search.is_adaptive else planned(studies, search)
    ends = ends_of(studies, filler) if search.is_adaptive else []
    cutter = None
    if search.pruner is not None:
        given = search.pruner
        metric, direction = given.metric or search.metrics[0], given.direction or search.directions[0]
        pruner = replace(given, metric=metric, direction=direction)  # type: ignore[arg-type]  # it was checked
        learners = [cell.configuration for cell in cells]
        cutter = make_cutter(pruner, metrics, learners, opened)
    scores = Scores(opened(), digests)
    return Trials(search, studies, filler, scores, opened(), cutter, suggestions, ends), plain


def cells_of(plain: Iterable[Cell], trials: Iterable[Trial]) -> list[Cell]:
    """List the cells of an experiment: those without dimensions, then trial after trial."""
    return [*plain, *(cell for trial in trials for cell in trial.cells)]

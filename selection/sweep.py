"""The loop: propose a cohort, train it on every fold at once, record it, until the budget is spent.

A cohort is one event of the record: killed at any moment, the study goes on with the cohort it was
in and ends with the trials of the uninterrupted study.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from selection.errors import SelectionError
from selection.search import CohortPruner, propose
from selection.store.records import Records
from selection.store.study_record import StudyRecord
from selection.study.setting import Setting
from selection.study.spec import StudySpec
from selection.study.trial import FoldResult, Params, Trial, TrialResult, TrialState
from selection.train.fit import EpochNews, Trainer


@dataclass(frozen=True)
class SweepNews:
    """Say how far a study is: its finished trials, and the cohort that trains now."""

    budget: int
    finished: Sequence[Trial]
    cohort: int
    training: int
    epoch: EpochNews | None


Watch = Callable[[SweepNews], None]


def run_sweep(
    spec: StudySpec,
    study: StudyRecord,
    records: Records,
    trainer: Trainer,
    watch: Watch,
) -> None:
    """Train cohort after cohort until the budget of trials or of seconds is spent.

    An interrupt releases the running cohort; what is finished stays.
    """
    sweep = _Sweep(spec, study, records, trainer, watch)
    try:
        while sweep.run_cohort():
            pass
    except BaseException:
        # Where even that fails, the trials stay running, and the next run takes them up as well.
        with suppress(SelectionError):
            records.release(study)
        raise


def train_cohort(
    spec: StudySpec,
    trainer: Trainer,
    told: Sequence[Trial],
    cohort: Mapping[int, Params],
    recall: Callable[[Trial], TrialResult],
    tell: Callable[[int, EpochNews], None],
) -> dict[int, TrialResult]:
    """Train every setting not seen before; recall the result of those that were.

    The scores of a trial are a pure function of its setting, so training one again would only
    repeat them. tell is told how many trials train, epoch by epoch.
    """
    settings = {place: spec.setting(params) for place, params in cohort.items()}
    seen: dict[Setting, Trial] = {}
    for trial in filter(_is_settled, told):
        seen.setdefault(spec.setting(trial.params), trial)
    first: dict[Setting, int] = {}
    for place, setting in settings.items():
        if setting not in seen:
            first.setdefault(setting, place)
    places = list(first.values())
    pruner = CohortPruner(spec, told, {place: cohort[place] for place in places})

    def decide(epoch: int, means: Mapping[int, float]) -> list[int]:
        by_number = {places[index]: mean for index, mean in means.items()}
        return [places.index(place) for place in pruner.decide(epoch, by_number)]

    trained = trainer.train(list(first), decide, lambda news: tell(len(places), news))
    results = dict(zip(places, trained, strict=True))
    for place, setting in settings.items():
        if setting in seen:
            results[place] = _repeated(recall(seen[setting]), seen[setting].number)
        elif place not in results:
            results[place] = _repeated(results[first[setting]], first[setting])
    return dict(sorted(results.items()))


class _Sweep:
    def __init__(
        self,
        spec: StudySpec,
        study: StudyRecord,
        records: Records,
        trainer: Trainer,
        watch: Watch,
    ) -> None:
        self.spec = spec
        self.study = study
        self.records = records
        self.trainer = trainer
        self.watch = watch
        trials = records.trials(study)
        self.told = [trial for trial in trials if trial.state.is_finished]
        self.unfinished = {trial.cohort for trial in trials if not trial.state.is_finished}
        self.next_cohort = max((trial.cohort for trial in self.told), default=-1) + 1

    def run_cohort(self) -> bool:
        """Train one more cohort; return False where the budget is spent."""
        number = self.next_cohort
        cohort = self._take_up(number) if number in self.unfinished else self._begin(number)
        if not cohort:
            return False
        self._tell(number, len(cohort), None)
        results = train_cohort(
            self.spec,
            self.trainer,
            self.told,
            cohort,
            self._from_record,
            lambda training, epoch: self._tell(number, training, epoch),
        )
        self.records.finish_cohort(self.study, results)
        self.told += [
            trial_of(place, number, cohort[place], result) for place, result in results.items()
        ]
        self.next_cohort += 1
        self._tell(number, 0, None)
        return True

    def _take_up(self, number: int) -> dict[int, Params]:
        return dict(self.records.restart_cohort(self.study, number))

    def _begin(self, number: int) -> dict[int, Params]:
        """Ask for the next cohort and write it down; nothing where the budget is spent."""
        search = self.spec.sections.search
        n = min(search.cohort, self.spec.budget - len(self.told))
        # The clock is the record's, so that a study that ran out of time stays so when run again.
        seconds = self.records.elapsed_seconds(self.study)
        if n <= 0 or (self.told and 0 < search.timeout_seconds <= seconds):
            return {}
        proposed = propose(self.spec, self.told, n, number)
        numbers = self.records.begin_cohort(self.study, number, proposed, self.spec.space)
        return dict(zip(numbers, proposed, strict=True))

    def _from_record(self, trial: Trial) -> TrialResult:
        folds = self.records.curves(self.study, trial.number, outputs=True)
        return TrialResult(trial.state, trial.reason, folds, trial.epochs, 0.0)

    def _tell(self, cohort: int, training: int, epoch: EpochNews | None) -> None:
        self.watch(SweepNews(self.spec.budget, tuple(self.told), cohort, training, epoch))


def _is_settled(trial: Trial) -> bool:
    """Say whether training the same setting again could only repeat this trial."""
    return trial.state is not TrialState.FAILED or not trial.reason.startswith("out of memory")


def _repeated(result: TrialResult, number: int) -> TrialResult:
    reason = f"same setting as trial {number}"
    if result.reason:
        reason = f"{result.reason} ({reason})"
    return replace(result, reason=reason, seconds=0.0)


def trial_of(number: int, cohort: int, params: Params, result: TrialResult) -> Trial:
    """Return the trial that the record will tell of this result."""
    folds: tuple[FoldResult, ...] = result.folds
    return Trial(
        number=number,
        state=result.state,
        params=params,
        cohort=cohort,
        reason=result.reason,
        value=result.value,
        fold_scores=tuple(fold.score for fold in folds),
        train_scores=tuple(fold.train_score for fold in folds),
        fold_means=result.fold_means,
        epochs=result.epochs,
        seconds=result.seconds,
    )

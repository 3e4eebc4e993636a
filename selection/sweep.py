"""The loop: propose a cohort, train it on every fold at once, record it, until the budget is spent.

A cohort is one event of the record: killed at any moment, the study goes on with the cohort it was
in and ends with the trials of the uninterrupted study.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from selection.data.dataset import Dataset, load_development
from selection.data.folds import (
    FoldPlan,
    duplicate_rows_across_folds,
    fold_identity,
    fold_kind,
    make_splits,
)
from selection.data.prepare import prepare_folds
from selection.errors import Fault, SelectionError, StudyStateError
from selection.search import CohortPruner, propose
from selection.store.records import Records
from selection.store.study_record import StudyRecord
from selection.study.setting import Setting
from selection.study.spec import StudySpec, differences
from selection.study.trial import FoldResult, Params, Trial, TrialResult, TrialState
from selection.train.device import Device, describe_device
from selection.train.fit import EpochNews, Trainer

VERSIONS = ("selection", "torch", "optuna", "scikit-learn", "numpy")


@dataclass(frozen=True)
class SweepNews:
    """Say how far a study is: its finished trials, and the cohort that trains now."""

    budget: int
    finished: Sequence[Trial]
    cohort: int
    training: int
    epoch: EpochNews | None


Watch = Callable[[SweepNews], None]


@dataclass(frozen=True, eq=False)
class StudyData:
    """Hold the development rows of a study and their folds."""

    dataset: Dataset
    plan: FoldPlan
    facts: Mapping[str, Any]


def load_study_data(spec: StudySpec, folder: Path) -> StudyData:
    """Load the development rows and split them; nothing is written.

    Raises: DataError if the rows cannot be had or break a rule of the study.
    """
    dataset = load_development(spec, folder)
    plan = make_splits(dataset, spec)
    warnings = [*dataset.warnings, *plan.warnings]
    duplicates = duplicate_rows_across_folds(dataset, plan.splits)
    if duplicates:
        warnings.append(
            f"{duplicates} development rows have an exact copy in another fold: copies leak. "
            "Give copies one group, or drop them."
        )
    facts = {
        "rows": len(dataset),
        "held_out_rows": dataset.held_out_rows,
        "features": dataset.features.shape[1] + len(dataset.categories),
        "class_counts": dataset.class_counts,
        "fold_kind": fold_kind(dataset, spec),
        "folds": [fold_identity(split) for split in plan.splits],
        "duplicate_rows": duplicates,
        "warnings": warnings,
    }
    return StudyData(dataset, plan, facts)


def enter_study(spec: StudySpec, data: StudyData, records: Records, device: Device) -> StudyRecord:
    """Return the record of a study, begun now or earlier with the same file and the same rows.

    Raises: StudyStateError if the study began with another file or other rows.
    """
    dataset = data.dataset
    study = records.find_study(spec.name)
    if study is None:
        environment = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            **describe_device(device),
            "versions": {name: version(name) for name in VERSIONS},
        }
        return records.create_study(
            spec, dataset.fingerprint, dataset.held_out_fingerprint, data.facts, environment
        )
    where = f"study {spec.name}"
    if changed := differences(dict(study.spec_json), spec.to_json()):
        raise StudyStateError(
            Fault(
                where,
                "a study that has begun keeps its file",
                "; ".join(changed),
                "Give the changed study another name, or put the file back.",
            )
        )
    before = (study.data_fingerprint, study.held_out_fingerprint, list(study.facts["folds"]))
    now = (dataset.fingerprint, dataset.held_out_fingerprint, data.facts["folds"])
    if before != now:
        raise StudyStateError(
            Fault(
                where,
                "a study that has begun keeps its rows and folds",
                "rows with another content",
                "Put the data back, or give the study another name.",
            )
        )
    return study


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


def make_trainer(spec: StudySpec, data: StudyData, device: Device, max_members: int) -> Trainer:
    """Prepare the folds and bring them to the device."""
    folds = prepare_folds(data.dataset, data.plan.splits, spec)
    return Trainer(folds, spec.task, spec.metric, spec.seed, device, max_members=max_members)


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
        results = self._train(number, cohort)
        self.records.finish_cohort(self.study, results)
        self.told += [
            _trial(place, number, cohort[place], result) for place, result in results.items()
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

    def _train(self, number: int, cohort: Mapping[int, Params]) -> dict[int, TrialResult]:
        """Train every setting not seen before; answer the others from the record.

        The scores of a trial are a pure function of its setting, so training one again would only
        repeat them.
        """
        settings = {place: self.spec.setting(params) for place, params in cohort.items()}
        seen: dict[Setting, Trial] = {}
        for trial in filter(_is_settled, self.told):
            seen.setdefault(self.spec.setting(trial.params), trial)
        first: dict[Setting, int] = {}
        for place, setting in settings.items():
            if setting not in seen:
                first.setdefault(setting, place)
        places = list(first.values())
        pruner = CohortPruner(self.spec, self.told, {place: cohort[place] for place in places})

        def decide(epoch: int, means: Mapping[int, float]) -> list[int]:
            by_number = {places[index]: mean for index, mean in means.items()}
            return [places.index(place) for place in pruner.decide(epoch, by_number)]

        trained = self.trainer.train(
            list(first), decide, lambda news: self._tell(number, len(places), news)
        )
        results = dict(zip(places, trained, strict=True))
        for place, setting in settings.items():
            if setting in seen:
                results[place] = self._from_record(seen[setting])
            elif place not in results:
                results[place] = _repeated(results[first[setting]], first[setting])
        return dict(sorted(results.items()))

    def _from_record(self, trial: Trial) -> TrialResult:
        folds = self.records.curves(self.study, trial.number, outputs=True)
        result = TrialResult(trial.state, trial.reason, folds, trial.epochs, 0.0)
        return _repeated(result, trial.number)

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


def _trial(number: int, cohort: int, params: Params, result: TrialResult) -> Trial:
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

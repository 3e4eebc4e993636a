"""How one cohort trains: which of its settings are new, what they score, what the others repeat.

The scores of a trial are a pure function of its setting, so training one again would only repeat
them. Nothing here reads or writes a record, and a task may be trained by another process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from selection.search import CohortPruner, shared_start
from selection.study.setting import Setting
from selection.study.spec import StudySpec
from selection.study.trial import Params, Trial, TrialResult, TrialState
from selection.train.fit import EpochNews, Watch
from selection.train.lockstep import Decide

Recall = Callable[[Trial], TrialResult]


class CohortTrainer(Protocol):
    """Train the settings of a cohort on all folds; asks_ahead says that it does so very fast."""

    @property
    def asks_ahead(self) -> bool: ...
    def train(
        self, settings: Sequence[Setting], decide: Decide, watch: Watch
    ) -> list[TrialResult]: ...


@dataclass(frozen=True, eq=False)
class CohortTask:
    """Hold what a process needs to train a cohort, beside the rows of its study.

    settings are those to train, by the number of their trial; the pruner knows the trials that
    finished before, and without one nothing is pruned.
    """

    cohort: int
    settings: Mapping[int, Setting]
    pruner: CohortPruner | None

    def train(
        self, trainer: CohortTrainer, watch: Callable[[EpochNews], None]
    ) -> dict[int, TrialResult]:
        """Train every setting on all folds; watch is called after every epoch."""
        numbers = list(self.settings)

        def decide(epoch: int, means: Mapping[int, float]) -> list[int]:
            if self.pruner is None:
                return []
            by_number = {numbers[index]: mean for index, mean in means.items()}
            return [numbers.index(number) for number in self.pruner.decide(epoch, by_number)]

        trained = trainer.train(list(self.settings.values()), decide, watch)
        return dict(zip(numbers, trained, strict=True))


@dataclass(frozen=True)
class CohortPlan:
    """Hold the task of a cohort, and which of its trials need no training.

    Both are keyed by the trial's number: recalled has the earlier trial with the same setting,
    repeated the number of the trial of this cohort with the same setting.
    """

    task: CohortTask
    recalled: Mapping[int, Trial]
    repeated: Mapping[int, int]

    def complete(
        self, trained: Mapping[int, TrialResult], recall: Recall
    ) -> dict[int, TrialResult]:
        """Return the results of all trials by number, given those of the task."""
        results = dict(trained)
        for number, trial in self.recalled.items():
            results[number] = _repeated(recall(trial), trial.number)
        for number, first in self.repeated.items():
            results[number] = _repeated(results[first], first)
        return dict(sorted(results.items()))


class Memory:
    """Remember the settings of finished trials from cohort to cohort, so that each is read once."""

    def __init__(self, spec: StudySpec) -> None:
        self._spec = spec
        self._finished: list[Trial] = []
        self._first: dict[Setting, Trial] = {}

    def seen(self, finished: Sequence[Trial]) -> Mapping[Setting, Trial]:
        """Return the first settled trial of each setting; finished is ordered by number."""
        kept = shared_start(self._finished, finished)
        for trial in self._finished[kept:]:
            setting = self._spec.setting(trial.params)
            if self._first.get(setting) is trial:
                del self._first[setting]
        news = finished[kept:]
        for trial in filter(is_settled, news):
            self._first.setdefault(self._spec.setting(trial.params), trial)
        self._finished[kept:] = news
        return self._first


def plan_cohort(
    spec: StudySpec,
    number: int,
    cohort: Mapping[int, Params],
    finished: Sequence[Trial],
    memory: Memory,
) -> CohortPlan:
    """Plan a cohort: every setting that was not seen before is trained once.

    finished are the trials that the cohort knows, ordered by number. A memory that is kept between
    cohorts saves time and changes nothing.
    """
    settings = {trial: spec.setting(params) for trial, params in cohort.items()}
    seen = memory.seen(finished)
    first: dict[Setting, int] = {}
    for trial, setting in settings.items():
        if setting not in seen:
            first.setdefault(setting, trial)
    new = {trial: setting for setting, trial in first.items()}
    pruner = CohortPruner(spec, finished, {trial: cohort[trial] for trial in new})
    return CohortPlan(
        CohortTask(number, new, pruner),
        {trial: seen[setting] for trial, setting in settings.items() if setting in seen},
        {
            trial: first[setting]
            for trial, setting in settings.items()
            if setting not in seen and trial not in new
        },
    )


def trial_of(begun: Trial, result: TrialResult) -> Trial:
    """Return the trial that the record will have of this result; begun is the running one."""
    return replace(
        begun,
        state=result.state,
        reason=result.reason,
        value=result.value,
        fold_scores=tuple(fold.score for fold in result.folds),
        train_scores=tuple(fold.train_score for fold in result.folds),
        fold_means=result.fold_means,
        epochs=result.epochs,
        seconds=result.seconds,
        best_epoch=result.best_epoch,
    )


def is_settled(trial: Trial) -> bool:
    """Say whether training the same setting again could only repeat this trial."""
    return trial.state is not TrialState.FAILED or not trial.reason.startswith("out of memory")


def _repeated(result: TrialResult, number: int) -> TrialResult:
    reason = f"same setting as trial {number}"
    if result.reason:
        reason = f"{result.reason} ({reason})"
    return replace(result, reason=reason, seconds=0.0)

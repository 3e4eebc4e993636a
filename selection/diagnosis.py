"""Does a trial of a study under- or overfit? The rule of assess/diagnose.py on the record."""

from __future__ import annotations

from collections.abc import Sequence

from selection.assess.compare import validation_ratio
from selection.assess.diagnose import Diagnosis, diagnose, negligible_loss
from selection.store.books import Books
from selection.store.study_record import StudyRecord
from selection.study.spec import StudySpec
from selection.study.trial import FoldResult, Trial, TrialState

# A trial is held against so many of the best others.
REFERENCES = 3


def diagnose_trial(
    study: StudyRecord, spec: StudySpec, books: Books, trial: Trial, ranked: Sequence[Trial]
) -> Diagnosis | None:
    """Return the diagnosis of a trial; None unless it is complete and rows were kept.

    ranked are the complete trials of the study, best first.

    Raises: StorageError where a row is damaged.
    """
    facts = books.evidence.rows(study)
    if facts is None or trial.state is not TrialState.COMPLETE:
        return None
    others = [other.number for other in ranked if other.number != trial.number][:REFERENCES]
    references = {f"trial {each}": _losses(books.records.curves(study, each)) for each in others}
    cv = spec.sections.cv
    return diagnose(
        [fold.curve for fold in books.records.curves(study, trial.number)],
        references,
        negligible=negligible_loss(
            spec.task,
            facts.targets,
            is_standardized=spec.sections.data.prepare == "standardize",
        ),
        ratio=validation_ratio(cv.folds, is_time_series=cv.kind == "time_series"),
        level=spec.sections.assessment.level,
    )


def _losses(folds: Sequence[FoldResult]) -> list[float]:
    """Return the validation loss of each fold after the last epoch."""
    return [float(fold.curve.column("validation_loss")[-1]) for fold in folds]

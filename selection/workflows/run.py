"""What `selection run` does to a study: the sweep, then all that its verdict rests on.

Each part is skipped where the record has it, so a killed study goes on with the part it was in.
"""

from __future__ import annotations

from collections.abc import Callable

from selection.store.repository import Repository
from selection.store.retry import retry
from selection.store.study_record import StudyRecord
from selection.store.trial_reader import ENDINGS
from selection.study.spec import StudySpec
from selection.train.device import Device
from selection.train.fit import Trainer
from selection.workflows.audit import audit_pruned
from selection.workflows.baselines import score_baselines
from selection.workflows.nested_cv import score_procedure
from selection.workflows.study_data import StudyData


def run_procedure(
    spec: StudySpec,
    study: StudyRecord,
    data: StudyData,
    repository: Repository,
    trainer: Trainer,
    device: Device,
    say: Callable[[str], None],
    sweep: Callable[[], None],
) -> None:
    """Sweep, audit, then train the baselines, and the outer folds if the study asks for them.

    A study whose held-out set was opened takes no more trials.
    """
    if not repository.ledger.evaluations(study):
        sweep()
        audit_pruned(spec, study, repository, trainer, say)
    if not repository.evidence.baselines(study):
        say("baselines: training linear models on the same folds")
        baselines = score_baselines(spec, data, trainer)
        retry(lambda: repository.evidence.keep_baselines(study, baselines), say)
    # Outer folds run the whole budget: they would speak of another procedure than one cut short.
    is_cut = any(
        trial.reason in ENDINGS for trial in repository.records.trials(study, with_curves=False)
    )
    if spec.sections.assessment.nested and not is_cut:
        score_procedure(spec, data, study, repository.evidence, device, say)
